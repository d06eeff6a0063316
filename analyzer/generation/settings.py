"""What a generation is asked for: one frozen dataclass whose fields are the flags and the YAML keys."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from analyzer.config import option
from analyzer.errors import ConfigError, to_install
from analyzer.files import storage

PARQUET, JSONL = "parquet", "jsonl"
OTHER_FORMATS = frozenset(
    {
        ".csv",
        ".tsv",
        ".json",
        ".txt",
        ".xlsx",
        ".xls",
        ".pkl",
        ".arrow",
        ".feather",
        ".npz",
        ".gz",
        ".zst",
        ".bz2",
        ".zip",
    }
)
OWN_KEYS = frozenset({"model", "n", "temperature", "top_p", "max_tokens", "stream", "seed", "messages", "prompt"})
"""The fields of a request that flags and data decide; --extra_body is for others."""
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
    same_model: bool = option("take what the servers serve for one model, though they load it from other places", False)
    num_samples: int = option("rollouts per prompt", 8)
    top_up: str | None = option(
        "topup.parquet of analyze_rollouts --top_up: sample what it lists (data_idx, samples, first_sample_idx), "
        "not --num_samples of every prompt",
        None,
    )
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
    shared_cache: bool = option(
        "use a cache_dir that other users may write to, and believe the files of its owner in it beside your own", False
    )
    overwrite: bool = option("start anew where output_path holds, or began, another generation", False)
    dry_run: bool = option("show counts and the first prompt as the model will see it; generate nothing", False)

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, without doubles and without user and password, in the order given."""
        return tuple(dict.fromkeys(_without_user(url) for url in self._given_urls()))

    @property
    def credentials(self) -> Mapping[str, tuple[str, str]]:
        """scheme://host:port of a server -> user and password, of addresses that hold them."""
        found = {}
        for url in self._given_urls():
            parts = urlsplit(url)
            if "@" in parts.netloc:
                cleaned = urlsplit(_without_user(url))
                found[f"{cleaned.scheme}://{cleaned.netloc}"] = (
                    unquote(parts.username or ""),
                    unquote(parts.password or ""),
                )
        return found

    def _given_urls(self) -> list[str]:
        return [url.strip().rstrip("/") for url in self.vllm_url.split(",") if url.strip()]

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
        ending = os.path.splitext(self.output_path)[1].lower()
        if ending in OTHER_FORMATS:
            raise ConfigError(
                f"--output_path {self.output_path}: rollouts are written as parquet or jsonl, not as {ending}; "
                "give a name that ends in .parquet or .jsonl"
            )
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
        if self.use_vllm:
            self._check_urls()
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ConfigError(
                f"--api_key_env {self.api_key_env}: there is no such environment variable, or it is empty"
            )
        if taken := OWN_KEYS & (self.extra_body or {}).keys():
            raise ConfigError(
                f"--extra_body: {', '.join(sorted(taken))} {'is' if len(taken) == 1 else 'are'} decided by flags and "
                "data (--temperature, --top_p, --max_tokens, --num_samples, --seed, --vllm_model_name)"
            )

    def _check_urls(self) -> None:
        given = self._given_urls()
        if not given:
            raise ConfigError("--vllm_url: no address in it")
        for url in given:
            shown = _masked(url)
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"--vllm_url {shown}: must begin with http:// or https://")
            try:
                parts = urlsplit(url)
                usable = bool(parts.hostname) and parts.port != 0  # `port` raises for what is no port
            except ValueError:
                usable = False
            if not usable:
                raise ConfigError(f"--vllm_url {shown}: is no address such as {DEFAULT_URL}")
            if parts.query or parts.fragment:
                raise ConfigError(f"--vllm_url {shown}: must end with the path, without ? and #")
        if self.credentials and self.api_key_env:
            raise ConfigError(
                "--vllm_url has a user and password and --api_key_env names a key: a request can hold one"
            )

    def missing_libraries(self) -> list[str]:
        """What asks servers and is not installed."""
        return [name for name in ("aiohttp", "tenacity") if importlib.util.find_spec(name) is None]

    def check_client(self) -> None:
        """Raise ConfigError where what asks servers is not installed."""
        if missing := self.missing_libraries():
            raise ConfigError(
                f"--use_vllm needs the extra [generate]: {to_install('generate')} ({', '.join(missing)} not found)"
            )

    def identity(self) -> Mapping[str, Any]:
        """The settings that decide what the rollouts are; a generation is resumed only where all are equal."""
        names = ["prompt_key", "temperature", "top_p", "max_tokens", "endpoint", "seed", "limit"]
        if not self.use_vllm:
            names.append("model_path")
        found = {name: getattr(self, name) for name in names}
        found["num_samples"] = self.num_samples if self.top_up is None else None  # else the file says how many
        found["extra_body"] = (self.extra_body or None) if self.use_vllm else None
        return {"use_vllm": self.use_vllm, "output_format": self.format, **found}


def _without_user(url: str) -> str:
    """An address without "user:password@"."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _masked(url: str) -> str:
    """An address as it may be shown, whatever is wrong with it."""
    return re.sub(r"[^/@]*@", "***@", url)
