"""What a generation is asked for: one frozen dataclass whose fields are the flags and the YAML keys."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analyzer.config import option
from analyzer.errors import ConfigError
from analyzer.files import storage

PARQUET, JSONL = "parquet", "jsonl"
DEFAULT_URL = "http://localhost:8000/v1"


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """One generation. `metadata["help"]` of each field is its documentation; `check` says whether they fit."""

    data_path: str = option("training data: parquet or jsonl (.gz, .zst), a file, folder, glob or URL")
    output_path: str = option("the rollouts file to write; what is unfinished is kept beside it")
    use_vllm: bool = option("ask an OpenAI-compatible server; without it a local transformers model generates", False)
    vllm_url: str = option("the server, or several with commas between them", DEFAULT_URL, aliases=("vllm_base_url",))
    model_path: str | None = option("local model (folder or hub name); with a server, its tokenizer's place", None)
    vllm_model_name: str | None = option("the model's name on the server; asked from /v1/models when not given", None)
    num_samples: int = option("rollouts per prompt", 8)
    temperature: float = option("sampling temperature; 0 is greedy", 0.7)
    top_p: float = option("nucleus sampling: share of the probability that is sampled from", 0.9)
    max_tokens: int = option("longest response in tokens", 512)
    max_concurrent: int = option("requests in flight, over all servers together", 100, aliases=("vllm_max_concurrent",))
    prompt_key: str = option("column that holds the prompts, text or chat lists", "prompt")
    endpoint: str = option(
        "auto: completions for text, chat for chat lists; or all prompts through one of them",
        "auto",
        ("auto", "chat", "completions"),
    )
    output_format: str | None = option(
        "format of the rollouts file; by its ending when not given", None, (PARQUET, JSONL)
    )
    batch_size: int = option("rollouts that the local model generates together", 8)
    seed: int | None = option("makes sampling repeatable as far as the server or model is", None)
    limit: int | None = option("only the first N prompts", None)
    api_key_env: str | None = option("environment variable that holds the server's key; no other is read", None)
    trust_remote_code: bool = option("run code that comes with the model", False)
    extra_body: dict[str, Any] | None = option("further fields of each request, such as {top_k: 20}", None)
    request_timeout: float = option("seconds one request may take, queueing on the server included", 1800.0)
    max_attempts: int = option("times a request that broke is made before its prompt is reported as failed", 5)
    patience: float = option("seconds to wait for servers that are down or busy before stopping (exit 75)", 600.0)
    cache_dir: str | None = option("where jsonl input is kept as parquet; the user's cache folder by default", None)
    overwrite: bool = option("start anew where output_path holds, or began, another generation", False)
    dry_run: bool = option("show counts and the first prompt as the model will see it; generate nothing", False)

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
        for name, choices in (("endpoint", ("auto", "chat", "completions")), ("output_format", (None, PARQUET, JSONL))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"--{name} {getattr(self, name)}: must be one of {', '.join(filter(None, choices))}")
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

    def check_client(self) -> None:
        """Raise ConfigError where what asks servers is not installed."""
        missing = [name for name in ("openai", "aiohttp", "tenacity") if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"--use_vllm needs the extra [generate]: pip install 'rollout-analyzer[generate]' "
                f"({', '.join(missing)} not found)"
            )

    def identity(self) -> Mapping[str, Any]:
        """The settings that decide what the rollouts are; a generation is resumed only where all are equal."""
        names = ["prompt_key", "num_samples", "temperature", "top_p", "max_tokens", "endpoint", "seed", "limit"]
        if not self.use_vllm:
            names.append("model_path")
        found = {name: getattr(self, name) for name in names}
        found["extra_body"] = (self.extra_body or None) if self.use_vllm else None
        return {"use_vllm": self.use_vllm, "output_format": self.format, **found}
