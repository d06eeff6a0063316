"""Settings: frozen dataclasses whose fields are the flags of a command and the keys of its YAML files.

    rollouts: rollouts.parquet
    model_path: Qwen/Qwen3-8B
    output_dir: analysis

A flag wins over the file. An unknown flag or key is an error that names the nearest one.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from analyzer.dialects.reading import Request
    from analyzer.grading import Limits
    from analyzer.workers.backends import Backend

MISSING: Any = dataclasses.MISSING
DEFAULT_REWARD_FN_KEY = "reward_model"


def option(
    text: str,
    default: Any = MISSING,
    choices: Sequence[str] | None = None,
    *,
    aliases: Sequence[str] = (),
    least: float = -math.inf,
    most: float = math.inf,
) -> Any:
    """A field of a settings class: its help text, default (none: required), the values it may take, further names."""
    metadata = {
        "help": text,
        "required": default is MISSING,
        "choices": tuple(choices) if choices else None,
        "aliases": tuple(aliases),
        "range": (least, most),
    }
    return dataclasses.field(default=None if default is MISSING else default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """The flags of analyze_rollouts."""

    rollouts: str = option("file, folder, glob or URL of rollouts, in any format that --input_format list names")
    model_path: str | None = option(
        "folder or cached hub name of the policy's tokenizer; may be left out where the rollouts bring rewards along",
        None,
    )
    output_dir: str = option("folder for the outputs")
    bucketing_strategy: str = option(
        "how problems are put into buckets by difficulty: percentile, pass_rate, mean_reward or adaptive", "percentile"
    )
    reward_fn_key: str = option("key in the data that holds the reward information", DEFAULT_REWARD_FN_KEY)
    n_jobs: int | None = option("worker processes; all cores this process may use unless given", None, least=1)
    data_source: str | None = option("data source of all rollouts, for data without original_data_source", None)
    reward_fn: str | None = option(
        "reward for all rollouts instead of the one of their data source: a name, or your own as file.py:function", None
    )
    reward_kwargs: dict[str, Any] | None = option("options of --reward_fn as JSON or YAML", None)
    reward_routes: dict[str, Any] | None = option(
        "data source patterns and the reward of each, by name or as {name: ..., options: {...}}", None
    )
    reward_timeout: float = option("CPU seconds that the grading of one rollout may take", 5.0, least=0.001)
    reward_memory: float = option("GB of memory that grading may take", 2.0, least=0.01)
    allow_code_execution: bool = option("let rewards for code run programs that a model wrote, in a sandbox", False)
    sandbox: str = option(
        "how well such programs are kept in: strict, landlock or rlimits; auto is the strictest that works", "auto"
    )
    code_timeout: float = option("seconds that one test of a program may take", 6.0, least=0.001)
    limit: int | None = option("analyse the first N problems only", None, least=1)
    seed: int = option("seed of clustering and of samples", 42, least=0, most=(1 << 32) - 2)
    trust_remote_code: bool = option("run tokenizer code that comes with the model", False)
    audit: bool = option("compare the reward with a second grader on a sample of the rollouts", False)
    max_unscored: float = option(
        "share of rollouts without a reward, 0 to 1, above which the run exits with 3", 0.01, least=0, most=1
    )
    rescore: bool = option("score rollouts anew that already have a reward", False)
    input_format: str = option(
        "which program wrote the rollouts; auto tells by their columns, list shows all that are known", "auto"
    )
    columns: dict[str, Any] | None = option(
        "where prompt, response, ground_truth, reward, group, ... are in the rollouts, as YAML: docs/input_formats.md",
        None,
    )
    join: str | None = option("training data to take chat prompts, ground truths and data sources from", None)
    join_on: str | None = option(
        "what joins a rollout to its training row: a column (index, extra_info.index, id, ...) or prompt", None
    )
    recursive: bool = option("read the folders in a folder of rollouts, too", False)
    rows: str | None = option('read only the rows of which this holds, such as "step == 200"', None)
    pool: bool = option("take rollouts of several steps, models or tasks as those of one policy", False)
    backend: str = option("where shards are scored", "loky", ("loky", "dask", "ray", "sequential"))
    dask_scheduler: str | None = option("address of a dask scheduler; a local cluster unless given", None)
    ray_address: str | None = option("address of a ray cluster; a local one unless given", None)
    part: str | None = option(
        "I/N: score the I-th of N shares of the shards into the cache, and write no outputs", None
    )
    cache_dir: str | None = option("folder of the run directories; the user's cache directory unless given", None)
    shared_cache: bool = option(
        "use a cache_dir that other users may write to, and believe the files of its owner in it beside your own", False
    )
    overwrite: bool = option("replace outputs of another input or other settings in output_dir", False)
    dry_run: bool = option("show what would be done and score nothing", False)
    explain_cache: bool = option(
        "say which cached run this is, or how it differs from the nearest, and score nothing", False
    )

    @property
    def limits(self) -> Limits:
        """What the grading of one rollout may use."""
        from analyzer.grading import Limits

        return Limits(cpu_seconds=self.reward_timeout, memory_bytes=int(self.reward_memory * (1 << 30)))

    @property
    def workers(self) -> Backend:
        """Where the shards are scored."""
        from analyzer.workers.backends import Backend

        return Backend(self.backend, self.n_jobs, self.dask_scheduler, self.ray_address)

    @property
    def shards_of_part(self) -> slice:
        """Which shards --part I/N takes: every N-th from the I-th; all without it. Raises ConfigError."""
        if self.part is None:
            return slice(None)
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", self.part)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"--part {self.part}: must be I/N with 1 <= I <= N, as 3/16")
        return slice(int(match[1]) - 1, None, int(match[2]))

    @property
    def reading(self) -> Request:
        """How the rollouts are to be read."""
        from analyzer.dialects.reading import Request

        return Request(
            spec=self.rollouts,
            input_format=self.input_format,
            columns=self.columns,
            join=self.join,
            join_on=self.join_on,
            recursive=self.recursive,
            rows=self.rows,
            pool=self.pool,
            rescore=self.rescore,
            scored_without_gold=bool(self.reward_fn or self.reward_routes),
            model_path=self.model_path,
            trust_remote_code=self.trust_remote_code,
        )


def keywords(cls: type[Any]) -> list[inspect.Parameter]:
    """The flags of a settings class as keyword parameters; a required one has no default."""
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.metadata.get("required") else field.default,
            annotation=field.type,
        )
        for field in dataclasses.fields(cls)
    ]


# ---------------------------------------------------------------- the parser

Settings = TypeVar("Settings")


def make_parser(cls: type[Any], prog: str, description: str) -> ArgumentParser:
    """A parser with one flag for each field of the settings class."""
    from jsonargparse import ArgumentParser

    from analyzer import __version__

    parser = ArgumentParser(
        prog=prog,
        description=description,
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
        version=__version__,
    )
    parser.add_argument("--config", action="config", help="YAML file with the same keys as these flags; a flag wins")
    types = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, text = types[field.name], field.metadata["help"]
        flags = [f"--{name}" for name in (field.name, *field.metadata.get("aliases", ()))]
        if kind is bool:
            parser.add_argument(*flags, action="store_true", default=field.default, help=text)
        elif choices := field.metadata.get("choices"):
            parser.add_argument(*flags, choices=choices, default=field.default, help=text)
        else:
            parser.add_argument(*flags, type=kind, default=field.default, help=text)
    return parser


def parse(cls: type[Settings], argv: Sequence[str], prog: str, description: str) -> Settings:
    """The settings of a command line. Raises ConfigError, one line, for what does not fit; SystemExit for --help."""
    parser = make_parser(cls, prog, description)
    configs, flags = _configs_and_flags([_underscored(word) for word in argv])
    _check_once(cls, flags)
    named = " ".join(word.removeprefix("--config=") for word in configs if word != "--config")
    return _settings(cls, lambda: parser.parse_args(configs + flags), named)


def from_values(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings class with these values, checked as flags are; paths may be Path objects. Raises ConfigError."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
    parser = make_parser(cls, "", "")
    return _settings(cls, lambda: parser.parse_object(plain))


def _settings(cls: type[Settings], parsed: Callable[[], Any], configs: str = "") -> Settings:
    import argparse

    from jsonargparse import ArgumentError

    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # a dataclass
    names = [field.name for field in fields]
    try:
        said = parsed()
    except (ArgumentError, argparse.ArgumentError) as error:
        known = [*names, "config", "print_config", "version", "help"]
        raise ConfigError(_explain(str(error), known, f"--config {configs}".rstrip())) from None
    for field in fields:
        value = getattr(said, field.name)
        if field.metadata.get("required") and value in (None, ""):
            raise ConfigError(f"--{field.name} is required: {field.metadata['help']}")
        least, most = field.metadata.get("range", (-math.inf, math.inf))
        if isinstance(value, int | float) and not least <= value <= most:
            bounds = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise ConfigError(f"--{field.name} {value}: must be {bounds}")
    return cls(**{name: getattr(said, name) for name in names})


def _configs_and_flags(words: list[str]) -> tuple[list[str], list[str]]:
    """Every --config apart, to go in front: to the parser what comes last wins, and that must be the flag."""
    configs: list[str] = []
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--config":
            configs += [word, *itertools.islice(rest, 1)]
        else:
            (configs if word.startswith("--config=") else flags).append(word)
    return configs, flags


def _check_once(cls: type[Any], words: Sequence[str]) -> None:
    """Raise ConfigError for a flag that is given twice: the parser would take the last and say nothing."""
    names = {alias: field.name for field in dataclasses.fields(cls) for alias in field.metadata.get("aliases", ())}
    flags = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
    counts = Counter(names.get(flag, flag) for flag in flags)
    for name, number in counts.items():
        if number > 1:
            raise ConfigError(f"--{name} is given {number} times; give it once")


def _underscored(word: str) -> str:
    """--model-path as --model_path; values are left alone."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _explain(message: str, names: Sequence[str], config: str) -> str:
    """A parser's message as one line, with the nearest name where one is not known."""
    unknown = re.search(r"[Uu]nrecognized arguments: --([^\s=]+)", message) or re.search(
        r"Option '([^']+)' is not accepted", message
    )
    if unknown:
        return f"there is no flag or key {unknown[1]!r}{did_you_mean(unknown[1], names)}; see --help"
    if stray := re.search(r"[Uu]nrecognized arguments: (.+)", message):
        return f"{stray[1]!r} belongs to no flag; see --help"
    if "Unexpected config" in message:
        return f"{config}: the file must hold keys and values, one a line, such as `rollouts: rollouts.parquet`"
    if wrong := re.search(r'Parser key "([^"]+)":', message):
        expected = re.findall(r"Expected (?:a |an )?(?:<class ')?([\w\[\], ]+)'?", message)
        kinds = " or ".join(dict.fromkeys(kind for kind in expected if kind != "NoneType"))
        given = re.search(r"(?:Given|Got) value: (.*)", message)
        if given and kinds:
            return f"--{wrong[1]}: {given[1].strip()!r} is not of the type {kinds}"
        message = f"--{wrong[1]}: {message[wrong.end() :].strip()}"
    message = re.sub(r"^Problems parsing config:", lambda _: f"{config}: not valid YAML,", message)
    return " ".join(re.sub(r"^argument --", "--", message).split())
