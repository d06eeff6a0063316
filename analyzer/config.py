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
from analyzer.schema import PASS_THRESHOLD

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from analyzer.dialects.reading import Request
    from analyzer.grading import Limits
    from analyzer.workers.backends import Backend

MISSING: Any = dataclasses.MISSING
# verl's own name for the column; other frameworks' are found by their dialect.
DEFAULT_REWARD_FN_KEY = "reward_model"
# int64 is what arrow, numpy and orjson hold: a larger number would fail where it is first used, and not here.
_LARGEST = (1 << 63) - 1


def option(
    text: str,
    default: Any = MISSING,
    choices: Sequence[str] | None = None,
    *,
    aliases: Sequence[str] = (),
    least: float = -math.inf,
    most: float = math.inf,
    unset: int | None = None,
) -> Any:
    """A field of a settings class: its help text, default (none: required), the values it may take, further names.

    `unset`: a value that means the same as not giving the flag.
    """
    # In the metadata of the field, so that flags, YAML keys, help and checks come from one place and cannot differ.
    metadata = {
        "help": text,
        "required": default is MISSING,
        "choices": tuple(choices) if choices else None,
        "aliases": tuple(aliases),
        "range": (least, most),
        "unset": unset,
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
    n_jobs: int | None = option(
        "worker processes; all cores this process may use unless given, or -1", None, least=1, unset=-1
    )
    data_source: str | None = option("data source of all rollouts, for data without original_data_source", None)
    reward_fn: str | None = option(
        "reward for all rollouts instead of the one of their data source: a name (list: all of them), or your own as "
        "file.py:function",
        None,
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
    pass_threshold: float = option("a rollout passes when its reward is at least this", PASS_THRESHOLD)
    top_up: int | None = option(
        "write topup.parquet: how to spend N further rollouts so that the most problems settle in their bucket",
        None,
        least=1,
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
    no_report: bool = option("leave out report.html, the page to look at", False)
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


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """The flags of select_problems."""

    analysis: str | None = option("output folder of analyze_rollouts or filter_difficulty", None)
    output: str | None = option("file to write; its ending, .parquet or .jsonl, decides the type", None)
    where: str | None = option(
        "which problems to keep: \"0.2 <= pass_rate <= 0.8 and flag == ''\"; any metric or column of the training data",
        None,
    )
    recipe: str | None = option("a published rule by name; 'list' shows them with their sources", None)
    nearest: float | None = option("take the problems whose pass rate is nearest to this (with --take)", None)
    take: int | None = option("keep N problems: the nearest, the first by --sort, or random ones", None, least=1)
    per: str | None = option("--take N of each value of this column: data_source for instance", None)
    sort: str | None = option("order of the output: a column, -column for descending, or random", None)
    weights: str | None = option(
        "YAML file of pools, [{where: ..., weight: ...}, ...]: a column difficulty_weight instead of dropping", None
    )
    format: str | None = option(
        "who reads the file: verl, trl, openrlhf, nemo_rl, slime, skyrl, roll, swift, sft, dpo, kto, or rows for the "
        "rows of problems.parquet; verl where the rows are verl's, else rows",
        None,
    )
    pick: str = option(
        "which responses of a problem sft, dpo and kto take", "shortest", ("shortest", "best", "random", "all")
    )
    per_problem: int = option("responses (sft), pairs (dpo) or responses of each label (kto) per problem", 1, least=1)
    group_size: int = option("size of the groups of recipe informative", 8, least=2)
    control: str | None = option("also write this file: as many other problems, chosen at random", None)
    seed: int = option("seed of what is random", 42, least=0, most=(1 << 32) - 2)
    overwrite: bool = option("replace --output if it is something else", False)
    dry_run: bool = option("show what would be kept and write nothing", False)


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """The flags of view_analysis."""

    analysis: str = option("output folder of analyze_rollouts or filter_difficulty")
    port: int = option("port of the viewer on 127.0.0.1; 0 takes a free one", 0, least=0, most=65535)
    report_only: bool = option("write report.html in the folder anew and end", False)
    show: str | None = option("print problems of this bucket or flag in the terminal and end; 'all': of any", None)
    n: int = option("how many problems --show prints, chosen at random (-n 5)", 5, least=1)
    seed: int = option("seed of what is random", 42, least=0, most=(1 << 32) - 2)


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """The flags of compare_analyses."""

    analyses: list[str] = option("two output folders of analyze_rollouts or more, the earliest policy first")
    output_dir: str = option("folder for compare.json, compare.parquet and report.html")
    overwrite: bool = option("replace such files of another comparison in output_dir", False)
    seed: int = option("seed of what is random", 42, least=0, most=(1 << 32) - 2)


# ---------------------------------------------------------------- the parser

Settings = TypeVar("Settings")


def make_parser(cls: type[Any], prog: str, description: str) -> ArgumentParser:
    """A parser with one flag for each field of the settings class."""
    from jsonargparse import ArgumentParser

    from analyzer import __version__

    # exit_on_error: errors are ours to word. default_env: a variable of a batch system must not become a setting.
    # allow_abbrev: what --model means today, another flag would change tomorrow.
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
        elif kind == list[str]:
            parser.add_argument(*flags, type=str, nargs="+", default=field.default, help=text)
        elif choices := field.metadata.get("choices"):
            parser.add_argument(*flags, choices=choices, default=field.default, help=text)
        else:
            parser.add_argument(*flags, type=kind, default=field.default, help=text)
    return parser


def parse(cls: type[Settings], argv: Sequence[str], prog: str, description: str) -> Settings:
    """The settings of a command line. Raises ConfigError, one line, for what does not fit; SystemExit for --help."""
    parser = make_parser(cls, prog, description)
    configs, flags = _configs_and_flags(argv)
    names = {alias: field.name for field in dataclasses.fields(cls) for alias in field.metadata.get("aliases", ())}  # type: ignore[arg-type]  # a dataclass
    spelled = [word[2:].partition("=")[0] for word in flags if word.startswith("--")]
    # argparse takes the last of two and says nothing: half of a user's files would be left out without a word.
    for name, number in Counter(names.get(flag, flag) for flag in spelled).items():
        if number > 1:
            advice = ", and for several files a folder or a glob" if name in ("rollouts", "data_path") else ""
            raise ConfigError(f"--{name} is given {number} times; give it once{advice}")
    places: dict[str, str] = {}  # key -> the file that it was last in
    for path in (word.removeprefix("--config=") for word in configs if word != "--config"):
        places |= dict.fromkeys(_keys_of(path, _known_keys(cls)), path)
    if configs:  # alone first: what is wrong then is wrong in a file, though a flag may win over it
        _parsed(cls, lambda: parser.parse_args(configs), places)
    given = {word.partition("=")[0].removeprefix("--") for word in flags}
    places = {key: path for key, path in places.items() if key not in given}
    return _settings(cls, lambda: parser.parse_args(configs + flags), places)


def from_values(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings class with these values, checked as flags are; paths may be Path objects. Raises ConfigError."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
    # The same parser as for a command line: a value is right or wrong in the same way from Python.
    parser = make_parser(cls, "", "")
    return _settings(cls, lambda: parser.parse_object(plain))


def _settings(cls: type[Settings], parsed: Callable[[], Any], places: Mapping[str, str] | None = None) -> Settings:
    """The settings that a parser gives, checked; `places`: the file of each key that a file sets."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # a dataclass
    places = places or {}
    said = _parsed(cls, parsed, places)
    values = {field.name: getattr(said, field.name) for field in fields}
    missing = [field for field in fields if field.metadata.get("required") and values[field.name] in (None, "")]
    if len(missing) == 1:
        raise ConfigError(f"--{missing[0].name} is required: {missing[0].metadata['help']}")
    if missing:
        flags = [f"--{field.name}" for field in missing]
        raise ConfigError(f"{', '.join(flags[:-1])} and {flags[-1]} are required; see --help")
    for field in fields:
        value = values[field.name]
        if value is not None and value == field.metadata.get("unset"):
            values[field.name] = None
            continue
        least, most = field.metadata.get("range", (-math.inf, math.inf))
        if isinstance(value, int | float) and not least <= value <= most:
            bounds = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise ConfigError(f"{_flag(field.name, places)} {value}: must be {bounds}")
        if (large := _too_large(value)) is not None:
            raise ConfigError(f"{_flag(field.name, places)}: {large} is larger than {_LARGEST}")
    return cls(**values)


def _parsed(cls: type[Any], parse: Callable[[], Any], places: Mapping[str, str]) -> Any:
    """What `parse` returns. Raises ConfigError for what a parser refuses."""
    import argparse

    from jsonargparse import ArgumentError

    try:
        return parse()
    except (ArgumentError, argparse.ArgumentError) as error:
        raise ConfigError(_explain(str(error), _known_keys(cls), places)) from None


def _too_large(value: Any) -> int | None:
    """An integer in a value, at any depth, that no file of ours can hold; None where there is none."""
    if isinstance(value, int):
        return None if -_LARGEST <= value <= _LARGEST else value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((large for one in inner if (large := _too_large(one)) is not None), None)


def _flag(name: str, places: Mapping[str, str]) -> str:
    """A setting as the user gave it: a flag, or a key of a file."""
    return f"{places[name]}: {name}" if name in places else f"--{name}"


def _known_keys(cls: type[Any]) -> list[str]:
    fields = dataclasses.fields(cls)
    names = [name for field in fields for name in (field.name, *field.metadata.get("aliases", ()))]
    return [*names, "config", "print_config", "version", "help"]


def _keys_of(path: str, known: Sequence[str]) -> list[str]:
    """The keys of a YAML file. Raises ConfigError, with the file and where it can be the line, for one that is none."""
    import yaml

    # jsonargparse reads the file again afterwards. Reading it here gives the line of an error, and each key's file,
    # which it does not keep.
    class Loader(yaml.SafeLoader):
        """Refuses a key that is there twice, of which YAML would take the last without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            # Before the merge of `<<`, whose keys may be given again on purpose.
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for at, key in enumerate(keys):
                if key in keys[:at] and key != "<<":
                    line = node.value[at][0].start_mark.line + 1
                    raise ConfigError(f"{path}, line {line}: the key {key!r} is there twice")
            return super().construct_mapping(node, deep)

    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.load(file, Loader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: not UTF-8 (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"--config {path}: the file must hold keys and values, one a line, such as `rollouts: rollouts.parquet`"
        )
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}: there is no key {key!r}{did_you_mean(str(key), known)}; see --help")
    return list(values)


def _configs_and_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every --config apart, to go in front: to the parser what comes last wins, and that must be the flag."""
    configs: list[str] = []
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):  # --model-path is --model_path; a value keeps its minus signs
            name, equals, value = word.partition("=")
            word = "--" + name[2:].replace("-", "_") + equals + value  # noqa: PLW2901
        if word == "--config":
            configs += [word, *itertools.islice(rest, 1)]
        else:
            (configs if word.startswith("--config=") else flags).append(word)
    return configs, flags


def _explain(message: str, names: Sequence[str], places: Mapping[str, str]) -> str:
    """A parser's message as one line, with the nearest name where one is not known."""
    # The messages of argparse and jsonargparse name their internals and run over several lines. One that no pattern
    # here knows is shown as it is.
    unknown = re.search(r"[Uu]nrecognized arguments: --([^\s=]+)", message) or re.search(
        r"Option '([^']+)' is not accepted", message
    )
    if unknown:
        return f"there is no flag or key {unknown[1]!r}{did_you_mean(unknown[1], names)}; see --help"
    if stray := re.search(r"[Uu]nrecognized arguments: (.+)", message):
        return f"{stray[1]!r} belongs to no flag; see --help"
    if wrong := re.search(r'Parser key "([^"]+)":', message):
        expected = re.findall(r"Expected (?:a |an )?(?:<class ')?([\w\[\], ]+)'?", message)
        kinds = " or ".join(dict.fromkeys(kind for kind in expected if kind != "NoneType"))
        given = re.search(r"(?:Given|Got) value: (.*)", message)
        if given and kinds:
            return f"{_flag(wrong[1], places)}: {given[1].strip()!r} is not of the type {kinds}"
        message = f"{_flag(wrong[1], places)}: {message[wrong.end() :].strip()}"
    return " ".join(re.sub(r"^argument --", "--", message).split())
