"""Layouts: where rollouts of another program keep what ours call prompt, response, reward: what `--columns` says.

    {prompt: input, response: output, ground_truth: gts, reward: score, group: [input, gts]}

A value is a path into a row (`a.b[0].c`, `content[0][-1]`, `scores["exact match"]`, `difficulty.*` for the one member
of a struct), or several with `|` between them, of which the first that exists is taken (`id|problem`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean
from analyzer.schema import REWARD

if TYPE_CHECKING:
    import pyarrow as pa

Step = str | int
Path = tuple[Step, ...]

FILE = "$file"
"""As `sample`: the number in the name of the file, where each file holds one sample of every problem."""

ANY = "*"
"""In a path: the one member of a struct. As `reward`: the one numeric column that the dialect does not know."""

_STEP = re.compile(
    r"""(?:^|\.)(?P<name>[^.\[\]"']+) | \[(?P<index>-?\d+)\] | \[(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\]""",
    re.VERBOSE,
)


class Group(NamedTuple):
    """What makes rollouts those of one problem."""

    columns: tuple[str, ...]  # several, or `hashed`: the digest of their values; one: its value is the data_idx
    regex: str = ""  # the first group of its match in the one column is the data_idx
    hashed: bool = False

    def __str__(self) -> str:
        if self.regex:
            return f"{self.columns[0]} (the part that {self.regex} captures)"
        return f"({', '.join(self.columns)})" if len(self.columns) > 1 else self.columns[0]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where our columns are in the rows of another program; None: nowhere."""

    prompt: str | None = None
    response: str | None = None
    ground_truth: str | None = None
    reward: str | None = None
    data_source: str | None = None
    extra_info: str | None = None
    finish_reason: str | None = None
    max_tokens: str | None = None
    model: str | None = None
    reward_status: str | None = None
    group: Group | None = None  # None: the digest of prompt and ground truth
    sample: str | None = None  # None: numbered in order
    explode: tuple[str, ...] = ()  # lists of equal length that become a row for each item
    transpose: bool = False  # a row holds lists that are columns of rows
    drop: tuple[str, ...] = ()  # columns that are not read
    rows: str | None = None  # a condition on rows, as --rows
    # Counts without rollouts: `samples` (a path or a number) with one of the others.
    samples: str | int | None = None
    passes: str | None = None
    fails: str | None = None
    pass_rate: str | None = None
    fail_rate: str | None = None
    out_of: float = 1.0  # what a rate of 1 is written as, 100 for percent
    # What only dialects say.
    steps: tuple[str, ...] = ()  # two values of these are two policies
    tasks: tuple[str, ...] = ()  # two values of these are two sets of problems
    file: tuple[tuple[str, str], ...] = ()  # (column, regex on the path of the file): its first group is the value
    training: bool = False  # columns not named here are those of the training data: original_*
    rollout: tuple[str, ...] = ()  # ... but these

    @property
    def counted(self) -> bool:
        """Whether a row is a problem with its counts, not a rollout."""
        return self.samples is not None

    @property
    def answered_in_prompt(self) -> bool:
        """Whether the response is the last message of the very chat that the prompt is taken from."""
        rest = (self.response or "").removeprefix(self.prompt or "")
        return bool(self.prompt) and rest != self.response and rest[:1] in ("", "[")

    def paths(self) -> Iterator[tuple[str, str]]:
        """(key, path) of everything that is read from a row."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _PATHS and isinstance(value, str):
                yield field.name, value
        for name in ("explode", "steps", "tasks"):
            yield from ((name, path) for path in getattr(self, name))
        if self.group is not None:
            yield from (("group", path) for path in self.group.columns)

    def with_columns(self, columns: Mapping[str, Any]) -> Layout:
        """This layout with what --columns says; null takes a key out. Raises ConfigError for what it cannot say."""
        return dataclasses.replace(self, **{key: _value(key, value) for key, value in columns.items()})


_PATHS = frozenset(
    {"prompt", "response", "ground_truth", "reward", "data_source", "extra_info", "finish_reason", "max_tokens"}
    | {"model", "reward_status", "sample", "samples", "passes", "fails", "pass_rate", "fail_rate"}
)
_LISTS = frozenset({"explode", "drop", "steps", "tasks", "rollout"})
KEYS = tuple(field.name for field in dataclasses.fields(Layout))


def _value(key: str, value: Any) -> Any:
    """The value of a key of --columns as the field of that name holds it."""
    if key not in KEYS:
        raise ConfigError(f"--columns: there is no key {key!r}{did_you_mean(key, KEYS)}; there are: {', '.join(KEYS)}")
    if value is None:
        return next(field.default for field in dataclasses.fields(Layout) if field.name == key)
    if key == "group":
        return _group(value)
    if key in _LISTS and (isinstance(value, str) or _is_texts(value)):
        values = (value,) if isinstance(value, str) else tuple(value)
        return tuple(_checked(key, path) for path in values) if key not in ("drop", "rollout") else values
    if key == "file" and isinstance(value, Mapping):
        return tuple((str(name), str(regex)) for name, regex in value.items())
    if key in ("transpose", "training") and isinstance(value, bool):
        return value
    if key == "out_of" and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    if key == "samples" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if key == "rows" and isinstance(value, str):
        return value
    if key in _PATHS and isinstance(value, str):
        return _checked(key, value)
    wanted = "a list of paths" if key in _LISTS else "a path"
    raise ConfigError(f"--columns: {key}: {value!r} is not {wanted}, such as {key}: reward_model.ground_truth")


def _is_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(item, str) for item in value)


def _checked(key: str, path: str) -> str:
    if path != FILE:
        for one in path.split("|"):
            parse_path(one.strip(), key)
    return path


def _group(value: Any) -> Group:
    if isinstance(value, str):
        return Group((_checked("group", value),))
    if _is_texts(value):
        return Group(tuple(_checked("group", path) for path in value), hashed=True)
    if isinstance(value, Mapping) and set(value) == {"regex", "of"} and all(isinstance(v, str) for v in value.values()):
        try:
            # Exactly one: with several it would not be clear which of them names the problem.
            groups = re.compile(value["regex"]).groups
        except re.error as error:
            raise ConfigError(f"--columns: group: {value['regex']!r} is not a regular expression ({error})") from None
        if groups != 1:
            raise ConfigError(f"--columns: group: {value['regex']!r} must have one group, such as '^(.*)_[0-9]+$'")
        return Group((_checked("group", value["of"]),), value["regex"])
    raise ConfigError(
        f"--columns: group: {value!r} is neither a column, nor a list of columns to hash, "
        "nor {regex: '^(.*)_[0-9]+$', of: uid}"
    )


def parse_columns(text: str | Mapping[str, Any]) -> dict[str, Any]:
    """The keys and values of --columns, given as YAML or JSON text or as a mapping. Raises ConfigError."""
    given: Any = text
    if isinstance(text, str):
        try:
            # JSON is YAML, so either can be pasted. safe_load: the text may come from a configuration that
            # somebody sent.
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--columns: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"--columns: {text!r} must be keys and paths, such as '{{prompt: input, response: output}}'")
    Layout().with_columns(given)
    return dict(given)


REWARD_NAMES = ("reward", "score", "correct", "is_correct", "acc", "passed")
"""What others call the reward of a rollout, likeliest first."""


def unread_reward(schema: pa.Schema) -> str | None:
    """A column of a schema of ours without rewards that may hold them under another name; None if there is none."""
    import pyarrow as pa

    number = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    kinds = {field.name.lower(): field for field in schema}
    if REWARD in kinds:
        return None
    found = (kinds[name] for name in REWARD_NAMES if name in kinds)
    return next((field.name for field in found if any(fits(field.type) for fits in number)), None)


def parse_path(text: str, key: str = "path") -> Path:
    """`a.b[0].c` as ("a", "b", 0, "c"). Raises ConfigError that shows where it is not a path."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ConfigError(f"--columns: {key}: {text[:at]}^{text[at:]} is not a path, such as a.b[0].c")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(next(part for part in match.group("name", "double", "single") if part is not None))
        at = match.end()
    # A path begins in a column, which has a name.
    if not steps or isinstance(steps[0], int):
        raise ConfigError(f"--columns: {key}: {text!r} is not a path, such as a.b[0].c")
    return tuple(steps)


def paste(columns: Mapping[str, Any]) -> str:
    """`--columns '{...}'` as a user can paste it into a shell."""
    # One line however long, and single quotes closed and opened again around each apostrophe, as a POSIX shell
    # needs it.
    text = yaml.safe_dump(dict(columns), default_flow_style=True, sort_keys=False, width=10**6).strip()
    return "--columns '" + text.replace("'", "'\\''") + "'"
