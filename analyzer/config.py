"""Settings: frozen dataclasses whose fields are the flags of a command and the keys of its YAML files.

    rollouts: rollouts.parquet
    model_path: Qwen/Qwen3-8B
    output_dir: analysis

All that is known of a flag stands in its field: group, help text, default, values. --help, docs/flags.md, shell
completion and the checks are made from it (commands/parsing.py).
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from analyzer.errors import ConfigError
from analyzer.schema import DEFAULT_REWARD_FN_KEY, PASS_THRESHOLD

if TYPE_CHECKING:
    from analyzer.dialects.reading import Request
    from analyzer.grading import Limits
    from analyzer.workers.backends import Backend

MISSING: Any = dataclasses.MISSING
# verl's own name for the column; other frameworks' are found by their dialect.


class Group(Enum):
    """The headings of --help and docs/flags.md, in their order."""

    INPUT = "input"
    SERVER = "server"
    LOCAL = "local model"
    SAMPLING = "sampling"
    RETRIES = "retries"
    REWARDS = "rewards"
    CODE = "model-written code"
    BUCKETS = "difficulty and buckets"
    SELECTION = "selection"
    TRAINING_FILE = "training file"
    OUTPUT = "output"
    WHERE_IT_RUNS = "where it runs"
    CACHE = "cache"


def option(
    group: Group,
    text: str,
    default: Any = MISSING,
    choices: Sequence[str] | None = None,
    *,
    metavar: str = "",
    listed: bool = False,
    aliases: Sequence[str] = (),
    least: float = -math.inf,
    most: float = math.inf,
    unset: int | None = None,
) -> Any:
    """A field of a settings class: its group and help text, default (none: required), values, further names.

    metavar: what --help calls the value. listed: the value `list` prints the names that can be given
    (commands/lists.py). unset: a value that means the same as not giving the flag.
    """
    # In the metadata of the field, so that flags, YAML keys, help and checks come from one place and cannot differ.
    metadata = {
        "group": group,
        "help": text,
        "required": default is MISSING,
        "choices": tuple(choices) if choices else None,
        "metavar": metavar,
        "listed": listed,
        "aliases": tuple(aliases),
        "range": (least, most),
        "unset": unset,
    }
    return dataclasses.field(default=None if default is MISSING else default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """The flags of analyze_rollouts."""

    rollouts: str = option(
        Group.INPUT, "file, folder, glob or URL of rollouts, in any format of --input_format list", metavar="PATH"
    )
    model_path: str | None = option(
        Group.INPUT,
        "the policy's tokenizer: a folder, or a hub name that is cached or reachable; optional if the rollouts have "
        "rewards",
        None,
        metavar="MODEL",
    )
    input_format: str = option(
        Group.INPUT,
        "format of the rollouts; auto recognizes it by the columns",
        "auto",
        metavar="NAME",
        listed=True,
    )
    columns: dict[str, Any] | None = option(
        Group.INPUT,
        "columns that hold prompt, response, ground_truth, reward, group, ...: '{response: output, ground_truth: "
        "answer}'; see docs/input_formats.md",
        None,
    )
    rows: str | None = option(
        Group.INPUT, 'read only the rows for which this holds, such as "step == 200"', None, metavar="RULE"
    )
    join: str | None = option(
        Group.INPUT,
        "training data to take chat prompts, ground truths and data sources from",
        None,
        metavar="PATH",
    )
    join_on: str | None = option(
        Group.INPUT,
        "key that joins a rollout to its training row: a column (index, extra_info.index, id, ...) or prompt",
        None,
        metavar="COLUMN",
    )
    data_source: str | None = option(
        Group.INPUT,
        "data source of all rollouts, for data without original_data_source or in its place",
        None,
        metavar="NAME",
    )
    reward_fn_key: str = option(
        Group.INPUT, "column with the ground truth, without original_", DEFAULT_REWARD_FN_KEY, metavar="COLUMN"
    )
    limit: int | None = option(Group.INPUT, "analyze only the first N problems", None, least=1)
    recursive: bool = option(Group.INPUT, "also read the folders inside a folder of rollouts", False)
    pool: bool = option(
        Group.INPUT, "treat rollouts of several steps, models or tasks as rollouts of one policy", False
    )
    trust_remote_code: bool = option(Group.INPUT, "run tokenizer code that comes with the model", False)

    reward_fn: str | None = option(
        Group.REWARDS,
        "one reward for all rollouts instead of the reward of each data source: a name, or your own function as "
        "file.py:function",
        None,
        metavar="NAME",
        listed=True,
    )
    reward_kwargs: dict[str, Any] | None = option(Group.REWARDS, "options of --reward_fn: '{recipe: trl}'", None)
    reward_routes: dict[str, Any] | None = option(
        Group.REWARDS, "reward of each data source or pattern: '{openai/gsm8k: math_verify}'", None
    )
    rescore: bool = option(Group.REWARDS, "replace rewards in the input by new ones", False)
    audit: bool = option(Group.REWARDS, "compare the reward with a second grader on a sample of the rollouts", False)
    max_unscored: float = option(
        Group.REWARDS,
        "exit with code 3 if more than this share of the rollouts, 0 to 1, has no reward",
        0.01,
        least=0,
        most=1,
        metavar="SHARE",
    )
    reward_timeout: float = option(
        Group.REWARDS, "CPU seconds for grading one rollout", 5.0, least=0.001, most=10**6, metavar="SECONDS"
    )
    reward_memory: float = option(Group.REWARDS, "memory for grading, in GB", 2.0, least=0.01, most=10**6, metavar="GB")

    allow_code_execution: bool = option(Group.CODE, "let rewards for code run model-written programs", False)
    sandbox: str = option(
        Group.CODE,
        "sandbox level; auto is strict, else landlock",
        "auto",
        ("auto", "strict", "landlock", "rlimits"),
    )
    code_timeout: float = option(
        Group.CODE, "CPU seconds for one test of a program", 6.0, least=0.001, most=10**6, metavar="SECONDS"
    )

    bucketing_strategy: str = option(
        Group.BUCKETS,
        "percentile, pass_rate, mean_reward or adaptive",
        "percentile",
        metavar="NAME",
        listed=True,
    )
    pass_threshold: float = option(
        Group.BUCKETS, "a rollout passes when its reward is at least this", PASS_THRESHOLD, metavar="REWARD"
    )
    top_up: int | None = option(
        Group.BUCKETS,
        "also write topup.parquet: how to spend N more rollouts so that most problems settle in their bucket",
        None,
        least=1,
    )
    seed: int = option(Group.BUCKETS, "seed of every random choice", 42, least=0, most=(1 << 32) - 2)

    output_dir: str = option(Group.OUTPUT, "folder for the outputs", metavar="DIR")
    overwrite: bool = option(
        Group.OUTPUT, "replace the outputs of another input or other settings in --output_dir", False
    )
    outputs: str = option(
        Group.OUTPUT,
        "problems leaves out rollouts_*.parquet, the two copies of the text",
        "all",
        ("all", "problems"),
    )
    no_report: bool = option(Group.OUTPUT, "do not write report.html", False)
    dry_run: bool = option(Group.OUTPUT, "print the plan and score nothing", False)

    n_jobs: int | None = option(
        Group.WHERE_IT_RUNS, "worker processes; default: all cores that this process may use", None, least=1, unset=-1
    )
    backend: str = option(
        Group.WHERE_IT_RUNS,
        "what runs the workers",
        "loky",
        ("loky", "dask", "ray", "sequential"),
        listed=True,
    )
    dask_scheduler: str | None = option(
        Group.WHERE_IT_RUNS, "address of a dask scheduler; default: a cluster on this machine", None, metavar="ADDRESS"
    )
    ray_address: str | None = option(
        Group.WHERE_IT_RUNS, "address of a ray cluster; default: a cluster on this machine", None, metavar="ADDRESS"
    )
    part: str | None = option(
        Group.WHERE_IT_RUNS,
        "score share I of N into the cache and write no outputs, such as 3/16",
        None,
        metavar="I/N",
    )

    cache_dir: str | None = option(
        Group.CACHE, "folder of the cached scores; default: in the user's cache folder", None, metavar="DIR"
    )
    shared_cache: bool = option(
        Group.CACHE, "use a --cache_dir that other users can write to, and trust its owner's files", False
    )
    explain_cache: bool = option(
        Group.CACHE, "print which cached run matches, or how the nearest differs, and score nothing", False
    )

    @property
    def limits(self) -> Limits:
        """What the grading of one rollout may use."""
        from analyzer.grading import Limits

        return Limits(cpu_seconds=self.reward_timeout, memory_bytes=int(self.reward_memory * (1 << 30)))

    @property
    def workers(self) -> Backend:
        """Where the shards are scored. Raises ConfigError for the address of another cluster than --backend's."""
        from analyzer.workers.backends import Backend

        for flag, address, backend in (
            ("--dask_scheduler", self.dask_scheduler, "dask"),
            ("--ray_address", self.ray_address, "ray"),
        ):
            if address is not None and self.backend != backend:
                raise ConfigError(f"{flag} needs --backend {backend}; --backend {self.backend} would not use it")
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

    analysis: str = option(Group.INPUT, "output folder of analyze_rollouts or filter_difficulty", metavar="DIR")
    where: str | None = option(
        Group.SELECTION,
        "keep the problems for which this holds: \"0.2 <= pass_rate <= 0.8 and flag == ''\"; names are metrics and "
        "columns of the training data",
        None,
        metavar="RULE",
    )
    recipe: str | None = option(
        Group.SELECTION,
        "a published rule: skywork, polaris, dapo, ...",
        None,
        metavar="NAME",
        listed=True,
    )
    nearest: float | None = option(
        Group.SELECTION,
        "keep the problems with the pass rate nearest to this, 0 to 1 (with --take)",
        None,
        metavar="RATE",
        least=0,
        most=1,
    )
    take: int | None = option(
        Group.SELECTION, "keep N problems: the nearest, the first by --sort, or random ones", None, least=1
    )
    per: str | None = option(
        Group.SELECTION, "apply --take to each value of this column, such as data_source", None, metavar="COLUMN"
    )
    weights: str | None = option(
        Group.SELECTION,
        "YAML file of pools, [{where: ..., weight: ...}, ...]: write a column difficulty_weight; a problem in no pool "
        "is dropped",
        None,
        metavar="FILE",
    )
    group_size: int = option(Group.SELECTION, "group size for the recipe informative", 8, least=2)
    seed: int = option(Group.SELECTION, "seed of every random choice", 42, least=0, most=(1 << 32) - 2)

    format: str | None = option(
        Group.TRAINING_FILE,
        "trainer that reads the file: verl, trl, openrlhf, nemo_rl, sft, dpo, ...; default: verl for training data in "
        "verl's layout, else rows",
        None,
        metavar="NAME",
        listed=True,
    )
    sort: str | None = option(
        Group.TRAINING_FILE, "order of the problems: a column, -column (descending) or random", None, metavar="COLUMN"
    )
    pick: str = option(
        Group.TRAINING_FILE,
        "which responses of a problem sft, dpo and kto take first",
        "shortest",
        ("shortest", "best", "random", "all"),
    )
    per_problem: int = option(
        Group.TRAINING_FILE,
        "responses (sft), pairs (dpo) or responses of each label (kto) per problem",
        1,
        least=1,
    )

    output: str | None = option(
        Group.OUTPUT, "file to write, .parquet or .jsonl; not needed with --dry_run", None, metavar="FILE"
    )
    control: str | None = option(
        Group.OUTPUT, "also write this file: the same number of other problems, at random", None, metavar="FILE"
    )
    overwrite: bool = option(Group.OUTPUT, "replace existing files that hold something else", False)
    dry_run: bool = option(Group.OUTPUT, "print what the rule keeps and write nothing", False)


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """The flags of view_analysis."""

    analysis: str = option(Group.INPUT, "output folder of analyze_rollouts or filter_difficulty", metavar="DIR")
    port: int = option(
        Group.SERVER, "port of the viewer on 127.0.0.1; 0 takes a free one", 0, least=0, most=65535, metavar="PORT"
    )
    show: str | None = option(
        Group.OUTPUT,
        "print problems of this bucket or flag in the terminal, or of any with 'all', and exit",
        None,
        metavar="NAME",
    )
    n: int = option(Group.OUTPUT, "number of problems that --show prints, chosen at random (short: -n)", 5, least=1)
    seed: int = option(Group.OUTPUT, "seed of every random choice", 42, least=0, most=(1 << 32) - 2)
    report_only: bool = option(Group.OUTPUT, "write report.html in the folder again, and exit", False)


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """The flags of compare_analyses."""

    analyses: list[str] = option(
        Group.INPUT, "two or more output folders of analyze_rollouts, the earliest policy first", metavar="DIR"
    )
    output_dir: str = option(Group.OUTPUT, "folder for compare.json, compare.parquet and report.html", metavar="DIR")
    overwrite: bool = option(Group.OUTPUT, "replace the files of another comparison in --output_dir", False)
    seed: int = option(Group.OUTPUT, "seed of every random choice", 42, least=0, most=(1 << 32) - 2)
