"""What a generation is asked for: one frozen dataclass whose fields are the flags and the YAML keys."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from analyzer import storage
from analyzer.errors import ConfigError

PARQUET, JSONL = "parquet", "jsonl"
DEFAULT_URL = "http://localhost:8000/v1"
ALIASES = {"vllm_url": "vllm_base_url", "max_concurrent": "vllm_max_concurrent"}
"""Second names that some fields answer to, as flags and as keys."""


def _setting(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def _required(text: str) -> Any:
    return dataclasses.field(metadata={"help": text})


@dataclass(frozen=True)
class GenerationSettings:
    """One generation. `metadata["help"]` of each field is its documentation; `check` says whether they fit."""

    data_path: str = _required("training data: parquet or jsonl (.gz, .zst), a file, folder, glob or URL")
    output_path: str = _required("the rollouts file to write; what is unfinished is kept beside it")
    use_vllm: bool = _setting(False, "ask an OpenAI-compatible server; without it a local transformers model generates")
    vllm_url: str = _setting(DEFAULT_URL, "the server, or several with commas between them")
    model_path: str | None = _setting(None, "local model (folder or hub name); with a server, its tokenizer's place")
    vllm_model_name: str | None = _setting(None, "the model's name on the server; asked from /v1/models when not given")
    num_samples: int = _setting(8, "rollouts per prompt")
    temperature: float = _setting(0.7, "sampling temperature; 0 is greedy")
    top_p: float = _setting(0.9, "nucleus sampling: share of the probability that is sampled from")
    max_tokens: int = _setting(512, "longest response in tokens")
    max_concurrent: int = _setting(100, "requests in flight, over all servers together")
    prompt_key: str = _setting("prompt", "column that holds the prompts, text or chat lists")
    endpoint: Literal["auto", "chat", "completions"] = _setting(
        "auto", "auto: completions for text, chat for chat lists; or all prompts through one of them"
    )
    output_format: Literal["parquet", "jsonl"] | None = _setting(
        None, "format of the rollouts file; by its ending when not given"
    )
    batch_size: int = _setting(8, "rollouts that the local model generates together")
    seed: int | None = _setting(None, "makes sampling repeatable as far as the server or model is")
    limit: int | None = _setting(None, "only the first N prompts")
    api_key_env: str | None = _setting(None, "environment variable that holds the server's key; no other is read")
    trust_remote_code: bool = _setting(False, "run code that comes with the model")
    extra_body: dict[str, Any] | None = _setting(  # it calls dataclasses.field
        None, "further fields of each request, such as {top_k: 20} or {stop: ['###']}"
    )
    request_timeout: float = _setting(1800.0, "seconds one request may take, queueing on the server included")
    max_attempts: int = _setting(5, "times a request that broke is made before its prompt is reported as failed")
    patience: float = _setting(600.0, "seconds to wait for servers that are down or busy before stopping (exit 75)")
    cache_dir: str | None = _setting(None, "where jsonl input is kept as parquet; the user's cache folder by default")
    overwrite: bool = _setting(False, "start anew where output_path holds, or began, another generation")
    dry_run: bool = _setting(False, "show counts and the first prompt as the model will see it; generate nothing")

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, without doubles, in the order given."""
        return tuple(dict.fromkeys(url.strip().rstrip("/") for url in self.vllm_url.split(",") if url.strip()))

    @property
    def format(self) -> str:
        """parquet or jsonl."""
        return self.output_format or (JSONL if self.output_path.endswith(".jsonl") else PARQUET)

    def check(self) -> None:
        """Raise ConfigError for the first value that does not fit, with what would."""
        for name, least in (("num_samples", 1), ("max_tokens", 1), ("max_concurrent", 1), ("batch_size", 1)):
            self._at_least(name, least)
        for name in ("max_attempts", "limit"):
            self._at_least(name, 1)
        for name in ("temperature", "request_timeout", "patience"):
            self._at_least(name, 0)
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top_p {self.top_p}: must be above 0 and at most 1")
        if storage.is_remote(self.output_path):
            raise ConfigError(f"--output_path {self.output_path}: must be a local file, copy it when it is whole")
        if os.path.isdir(self.output_path):
            raise ConfigError(f"--output_path {self.output_path}: is a folder; give a file, rollouts.parquet in it say")
        self._check_source()

    def _at_least(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise ConfigError(f"--{name} {value}: must be at least {least}")

    def _check_source(self) -> None:
        if not self.use_vllm and not self.model_path:
            raise ConfigError(
                "nothing to generate with: give --use_vllm for a server, or --model_path for a local model"
            )
        if self.use_vllm and not self.urls:
            raise ConfigError("--vllm_url: no address in it")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"--vllm_url {url}: must begin with http:// or https://")
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ConfigError(
                f"--api_key_env {self.api_key_env}: there is no such environment variable, or it is empty"
            )

    def identity(self) -> Mapping[str, Any]:
        """The settings that decide what the rollouts are; a generation is resumed only where all are equal."""
        names = ["prompt_key", "num_samples", "temperature", "top_p", "max_tokens", "endpoint", "seed", "limit"]
        if not self.use_vllm:
            names.append("model_path")
        found = {name: getattr(self, name) for name in names}
        found["extra_body"] = (self.extra_body or None) if self.use_vllm else None
        return {"use_vllm": self.use_vllm, "output_format": self.format, **found}
