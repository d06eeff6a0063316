"""What a generation is asked for: one frozen dataclass whose fields are the flags and the YAML keys."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from analyzer.config import Group, option
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
# What servers put in the place of --max_tokens (vLLM, llama.cpp), so that the rollouts' column would be wrong.
_OTHER_NAMES = ("max_completion_tokens", "max_new_tokens", "n_predict")
TEMPLATE_VALUES = "chat_template_kwargs"
"""The field of --extra_body with what vLLM and SGLang give the chat template, beside the messages."""
DEFAULT_URL = "http://localhost:8000/v1"


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """One generation. `metadata["help"]` of each field is its documentation; `check` says whether they fit."""

    data_path: str = option(
        Group.INPUT, "training data: parquet or jsonl (.gz, .zst); a file, folder, glob or URL", metavar="PATH"
    )
    prompt_key: str = option(Group.INPUT, "column of the prompts, text or chat lists", "prompt", metavar="COLUMN")
    limit: int | None = option(Group.INPUT, "the first N prompts only; may be raised later", None)

    use_vllm: bool = option(
        Group.SERVER, "use an OpenAI-compatible server; without it, a model in this process generates", False
    )
    vllm_url: str = option(
        Group.SERVER,
        "address of the server, or several separated by commas",
        DEFAULT_URL,
        aliases=("vllm_base_url",),
        metavar="URL",
    )
    vllm_model_name: str | None = option(
        Group.SERVER, "name of the model on the server; default: the one in /v1/models", None, metavar="NAME"
    )
    api_key_env: str | None = option(
        Group.SERVER, "environment variable with the server's key; no other is read", None, metavar="VARIABLE"
    )
    max_concurrent: int = option(
        Group.SERVER, "requests in flight, over all servers together", 100, aliases=("vllm_max_concurrent",)
    )
    endpoint: str = option(
        Group.SERVER,
        "auto sends text to completions and chat lists to chat; the others send all prompts to one",
        "auto",
        ("auto", "chat", "completions"),
    )
    extra_body: dict[str, Any] | None = option(Group.SERVER, "further fields of each request: '{top_k: 20}'", None)
    same_model: bool = option(Group.SERVER, "treat models that servers loaded from different places as one", False)

    model_path: str | None = option(
        Group.LOCAL,
        "model to run: a folder or hub name; with --use_vllm, only its tokenizer is used",
        None,
        metavar="MODEL",
    )
    batch_size: int = option(Group.LOCAL, "rollouts generated together", 8)
    trust_remote_code: bool = option(Group.LOCAL, "run code that comes with the model", False)

    num_samples: int = option(Group.SAMPLING, "rollouts per prompt; may be raised later", 8)
    temperature: float = option(Group.SAMPLING, "sampling temperature; 0 is greedy", 0.7)
    top_p: float = option(
        Group.SAMPLING, "nucleus sampling: share of the probability to sample from", 0.9, metavar="SHARE"
    )
    max_tokens: int = option(Group.SAMPLING, "longest response, in tokens", 512)
    seed: int | None = option(Group.SAMPLING, "seed of sampling; repeatable as far as the server or model is", None)
    top_up: str | None = option(
        Group.SAMPLING,
        "topup.parquet of analyze_rollouts --top_up: sample what it lists, instead of --num_samples for every prompt",
        None,
        metavar="FILE",
    )

    request_timeout: float = option(
        Group.RETRIES, "seconds for one request, with its time in the server's queue", 1800.0, metavar="SECONDS"
    )
    max_attempts: int = option(Group.RETRIES, "attempts at a failing request before its prompt counts as failed", 5)
    patience: float = option(
        Group.RETRIES, "seconds to wait for servers that are down or busy; then exit with 75", 600.0, metavar="SECONDS"
    )

    output_path: str = option(Group.OUTPUT, "rollouts file to write; unfinished work is kept beside it", metavar="FILE")
    output_format: str | None = option(
        Group.OUTPUT, "format of the rollouts file; default: by its ending", None, (PARQUET, JSONL)
    )
    overwrite: bool = option(Group.OUTPUT, "replace another generation at --output_path, finished or not", False)
    dry_run: bool = option(
        Group.OUTPUT, "print counts and the first prompt as the model will see it; generate nothing", False
    )

    cache_dir: str | None = option(
        Group.CACHE, "where jsonl input is kept as parquet; default: in the user's cache folder", None, metavar="DIR"
    )
    shared_cache: bool = option(
        Group.CACHE, "use a --cache_dir that other users can write to, and trust its owner's files", False
    )

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
    def template_values(self) -> Mapping[str, Any]:
        """What a chat template is given beside the messages: {"enable_thinking": False}."""
        found = (self.extra_body or {}).get(TEMPLATE_VALUES) if self.use_vllm else None
        return found or {}

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
        if not self.request_timeout:
            raise ConfigError("--request_timeout 0: must be above 0")
        for name, choices in (("endpoint", ("auto", "chat", "completions")), ("output_format", (None, PARQUET, JSONL))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"--{name} {getattr(self, name)}: must be one of {', '.join(filter(None, choices))}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top_p {self.top_p}: must be above 0 and at most 1")
        if storage.is_remote(self.output_path):
            raise ConfigError(f"--output_path {self.output_path}: must be a local file, copy it when it is complete")
        ending = os.path.splitext(self.output_path)[1].lower()
        if ending in OTHER_FORMATS:
            raise ConfigError(
                f"--output_path {self.output_path}: rollouts are written as parquet or jsonl, not as {ending}; "
                "give a name that ends in .parquet or .jsonl"
            )
        if os.path.isdir(self.output_path):
            raise ConfigError(
                f"--output_path {self.output_path}: is a folder; give a file in it, such as rollouts.parquet"
            )
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
        elif self.vllm_url not in ("", DEFAULT_URL):
            raise ConfigError(
                "--vllm_url needs --use_vllm; without it the model of --model_path generates in this process"
            )
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ConfigError(
                f"--api_key_env {self.api_key_env}: there is no such environment variable, or it is empty"
            )
        if taken := OWN_KEYS & (self.extra_body or {}).keys():
            raise ConfigError(
                f"--extra_body: {', '.join(sorted(taken))} {'is' if len(taken) == 1 else 'are'} set by flags and "
                "data (--temperature, --top_p, --max_tokens, --num_samples, --seed, --vllm_model_name)"
            )
        if not isinstance((self.extra_body or {}).get(TEMPLATE_VALUES) or {}, dict):
            raise ConfigError(f"--extra_body: {TEMPLATE_VALUES} must be a dictionary, as {{enable_thinking: false}}")
        for name in _OTHER_NAMES:
            if name in (self.extra_body or {}):
                raise ConfigError(f"--extra_body: {name} is set by --max_tokens")
        if (self.extra_body or {}).get("echo"):
            raise ConfigError("--extra_body: echo puts the prompt into the response, where a reward would read it")

    def _check_urls(self) -> None:
        given = self._given_urls()
        if not given:
            raise ConfigError("--vllm_url: no address given")
        for url in given:
            shown = re.sub(r"[^/@]*@", "***@", url)  # an address may hold a password, whatever is wrong with it
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"--vllm_url {shown}: must begin with http:// or https://")
            try:
                parts = urlsplit(url)
                host = parts.hostname or ""
                # `port` raises if it is not a number from 0 to 65535
                usable = bool(host) and not re.search(r"[\s\\]", parts.netloc) and parts.port != 0
            except ValueError:
                usable = False
            if not usable:
                raise ConfigError(f"--vllm_url {shown}: is not an address such as {DEFAULT_URL}")
            if parts.query or parts.fragment:
                raise ConfigError(f"--vllm_url {shown}: must end with the path, without ? and #")
        if self.credentials and self.api_key_env:
            raise ConfigError(
                "--vllm_url has a user and password and --api_key_env names a key: a request has only one"
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
        found["extra_body"] = (_without_secrets(self.extra_body or {}) or None) if self.use_vllm else None
        return {"use_vllm": self.use_vllm, "output_format": self.format, **found}


def _without_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request as they may stand in a file: of what looks like a key only whether it is the same."""
    from analyzer.cache.masking import looks_secret

    kept = dict[str, Any]()
    for name, value in given.items():
        if looks_secret(name) and isinstance(value, str):
            kept[name] = "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:16]
        else:
            kept[name] = _without_secrets(value) if isinstance(value, Mapping) else value
    return kept


def _without_user(url: str) -> str:
    """An address without "user:password@"."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
