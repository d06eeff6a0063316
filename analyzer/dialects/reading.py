"""Reading: the format of an input and how its columns are mapped, settled before any of it is converted."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analyzer import dialects
from analyzer.dialects import Dialect, Row, files, mapping
from analyzer.dialects.files import Recognized
from analyzer.dialects.layout import FILE, REWARD_NAMES, Layout, parse_columns, paste
from analyzer.dialects.lookup import root
from analyzer.dialects.table import OURS
from analyzer.errors import ConfigError, InputError
from analyzer.files import foreign, inputs, storage
from analyzer.schema import ORIGINAL, REQUIRED_COLUMNS

_OF_ONE_POLICY = {"data_source", "dataset", "seed", "shard", "part", "rank", "worker"}
"""Names of folders (`seed=1`) whose rollouts are one policy's."""

OWN = "own"
"""The name of a layout that --columns alone describes."""


class Request(NamedTuple):
    """How the user wants an input to be read."""

    spec: str
    input_format: str = "auto"
    columns: str | Mapping[str, Any] | None = None
    join: str | None = None
    join_on: str | None = None
    recursive: bool = False
    rows: str | None = None
    pool: bool = False
    rescore: bool = False
    scored_without_gold: bool = False  # a reward was named that may need no ground truth
    model_path: str | None = None
    trust_remote_code: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing is asked of the reading."""
        return self.columns is None and self.join is None and self.rows is None


class Reading(NamedTuple):
    """What an input is and how it is read: settled before any of it is converted."""

    dialect: Dialect
    layout: Layout
    paths: tuple[str, ...]
    unread: tuple[str, ...]
    asked: tuple[str, ...] = ()  # the keys of --columns: what they name must be there
    once: bool = False  # leave out steps that hold the rollouts of the step before
    repeated: tuple[str, ...] = ()  # files that are left out for that
    as_is: bool = False  # ours, and by their first records in need of no conversion


def settle(request: Request, as_is: bool = True) -> Reading:
    """What the files are read as; without `as_is` those of ours are converted, too.

    Raises InputError where they are of no known layout, or of two, with the --columns to paste.
    """
    chosen = None if request.input_format == "auto" else dialects.find(request.input_format)
    columns = parse_columns(request.columns) if request.columns is not None else {}
    found = files.find(request.spec, request.recursive)
    for path in found.paths:
        if not storage.is_remote(path):
            inputs.stat(path)  # refuses a pipe, which would be waited for when it is opened
        foreign.refuse(path)
        if not path.endswith(files.SUFFIXES):
            foreign.refuse_unnamed(path)
    for path in found.others:
        foreign.refuse_packed(path)  # a shard that would be missed
    whole = "response" in columns or "samples" in columns
    # With response and the like named by the user, files of unknown layout are fine, and two known ones no
    # conflict.
    if whole and chosen is None:
        try:
            seen = files.recognise(found, None, request.spec)
        except InputError:
            seen = Recognized(None, found.paths, found.others, {})
    else:
        seen = files.recognise(found, chosen, request.spec)
    dialect = seen.dialect
    if dialect is None and whole:
        dialect = Dialect(name=OWN, framework="rollouts by --columns", file="")
    if dialect is None:
        raise unknown(request.spec, seen, columns)
    # What only a conversion reads.
    special = files.partitions(request.spec, found.paths) or all(path.endswith(files.JSON) for path in found.paths)
    if as_is and dialect.name == OURS and request.plain and not special and _is_whole(seen.row):
        ours = tuple(path for path in found.paths if path.endswith(inputs.INPUT_SUFFIXES))
        unread = tuple(path for path in (*found.paths, *found.others) if path not in ours) if ours else ()
        return Reading(dialect, dialect.layout, ours or found.paths, unread, as_is=True)
    if type(dialect).prepared is not Dialect.prepared:
        settings = dialects.Settings(request.model_path, request.trust_remote_code, request.pool)
        dialect = _prepared(dialect, seen.paths, settings)
    layout = _settled(dialect, seen)
    asked = tuple(key for key, value in columns.items() if value is not None)
    layout = _partitioned(layout.with_columns(columns), request.spec, seen)
    # Ours are told apart by data_idx and sample_idx.
    if not request.pool and (dialect.name != OURS or "data_idx" not in seen.row):
        files.check_runs(request.spec, layout, seen.paths)
    # Steps that are picked with --rows are read as they stand; pooled, the same rollouts would count several times.
    once = request.pool and dialect.repeats
    repeated = files.repeats_of(seen.paths) if once else ()
    paths = tuple(path for path in seen.paths if path not in repeated)
    return Reading(dialect, layout, paths, seen.unread, asked, once, repeated)


def _settled(dialect: Dialect, seen: Recognized) -> Layout:
    """The dialect's layout, set to the files."""
    layout = dialect.layout
    # One file does not number the samples of its problems.
    if layout.sample == FILE and len(seen.paths) == 1:
        layout = dataclasses.replace(layout, sample=None)
    if dialect.name == OWN:
        # Columns with our names are what they say: rollouts of ours with one column renamed need that one named.
        layout = layout.with_columns({"prompt": "prompt", "group": "data_idx", "sample": "sample_idx"})
    # Without data_idx they are grouped, and two policies told apart, as those of any other program.
    if dialect.name == OURS and "data_idx" not in seen.row:
        layout = dataclasses.replace(layout, group=None, steps=("step", "global_step", "model"))
    return layout


def _partitioned(layout: Layout, spec: str, seen: Recognized) -> Layout:
    """The layout with what folders named `name=value` tell, of which other policies must be told apart."""
    paths = [path for key, path in layout.paths() if key in ("group", "sample", "tasks") and path != FILE]
    named = {root(one.strip()) for path in paths for one in path.split("|")}
    found = {name: regex for name, regex in files.partitions(spec, seen.paths).items() if name not in seen.row}
    policies = (name for name in found if name not in named | _OF_ONE_POLICY)
    return dataclasses.replace(layout, file=(*layout.file, *found.items()), steps=(*layout.steps, *policies))


def _prepared(dialect: Dialect, paths: Sequence[str], settings: dialects.Settings) -> Dialect:
    """The dialect set to these files. Raises InputError, with its place, for a record that is none of the dialect."""
    of_path = files.path_columns(dialect.layout, paths)
    place = paths[0]

    def rows(path: str, tells: Row) -> Iterator[Row]:
        nonlocal place
        for record in files.records(path):
            place = record.place
            yield {**record.row, **tells}

    # Of each file, with what its path tells; read as they are asked for.
    by_file = (rows(path, {name: values[at] for name, values in of_path.items()}) for at, path in enumerate(paths))
    try:
        return dialect.prepared(by_file, settings)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise files.no_record(dialect, place, error) from None


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row of ours needs no conversion: all columns are there, training columns with their prefix."""
    # A training column without the prefix must be renamed, which is a conversion.
    bare = [name for name in mapping.TRAINING_COLUMNS if name in row and ORIGINAL + name not in row]
    return all(name in row for name in REQUIRED_COLUMNS) and not bare and not isinstance(row["data_idx"], float)


def unknown(spec: str, seen: Recognized, columns: Mapping[str, Any]) -> InputError:
    """The error for files of no known layout, or of several: the --columns to paste, filled with the nearest names.

    columns: what --columns already names.
    """
    names = list(seen.row)
    if seen.fitting:
        shown = ", ".join(seen.fitting)
        return InputError(f"{spec}: may be any of {shown}; name one with --input_format, such as {seen.fitting[0]}")
    missing = next((name for name in ("response", "prompt") if name not in names), None)
    missing = missing or "response"
    guess: dict[str, str] = {}
    for key in _LIKELY:
        # A column is one thing: `original_reward_model` is near the reward, too, but holds the ground truth.
        if (near := _nearest(key, [name for name in names if name not in guess.values()])) is not None:
            guess[key] = near
    if "response" not in guess and guess.get("prompt") == "messages":
        guess["response"] = "messages"  # a chat that the answer is part of
    for key in ("prompt", "response"):
        guess.setdefault(key, "COLUMN")
    guess = {key: guess[key] for key in _LIKELY if key in guess}
    guess |= _exploded(guess, seen.row) | dict(columns)
    # Only what nothing but training data has: a bare `prompt` and `answer` may be rollouts of some other program.
    if guess["response"] == "COLUMN" and "prompt" in names and not {"reward_model", "data_source"}.isdisjoint(names):
        return InputError(
            f"{spec}: this is training data, prompts without responses; sample responses first with generate_rollouts "
            "--data_path, and give its output as --rollouts"
        )
    return InputError(
        f"{spec}: there is no column {missing!r}, and the columns are of no format that --input_format list knows: "
        f"{', '.join(names[:40])}; say which column is which: {paste(guess)}"
    )


def _exploded(guess: Mapping[str, str], row: Row) -> dict[str, Any]:
    """The keys for responses, and rewards, that are lists in each row; none where a response is text or a chat."""
    lists = {key: row[guess[key]] for key in ("response", "reward") if isinstance(row.get(guess.get(key, "")), list)}
    item = next(iter(lists.get("response") or ()), None)
    if "response" not in lists or (isinstance(item, Mapping) and "role" in item):
        return {}
    found: dict[str, Any] = {"explode": [guess[key] for key in lists]}
    # Of choices of OpenAI and outputs of vLLM the text is a part.
    part = next((name for name in ("text", "message", "content") if isinstance(item, Mapping) and name in item), None)
    return found | ({"response": f"{guess['response']}.{part}"} if part else {})


_LIKELY = {
    "prompt": ("prompt", "input", "question", "problem", "query", "instruction", "messages"),
    "response": (
        *("response", "output", "completion", "generation", "answer_text", "prediction", "predict", "choices"),
        *("samples", "text"),
    ),
    "ground_truth": (
        "ground_truth",
        "reward_model",
        "gts",
        "gold",
        "answer",
        "solution",
        "target",
        "label",
        "expected_answer",
    ),
    "reward": REWARD_NAMES,
    "group": ("data_idx", "problem_id", "task_id", "question_id", "uid", "id", "idx", "index"),
}


def _nearest(key: str, names: Sequence[str]) -> str | None:
    lowered = {name.lower(): name for name in names}
    for likely in _LIKELY[key]:
        if likely in lowered:
            return lowered[likely]
    for likely in _LIKELY[key]:
        for low, name in lowered.items():
            # Parts of names only for longer words: "id" and "acc" are in half of all names.
            if len(likely) > 3 and likely.rstrip("s") in low and low != "reward_model":
                return name
    return None


# ---------------------------------------------------------------- the key


@functools.cache
def code_digest() -> str:
    """sha256 of the code that converts, so that what an earlier version made is never taken for that of this one."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    # All the code that a conversion runs. A list of files would miss the next one that is added.
    for file in sorted(
        [*Path(__file__).parent.glob("*.py"), *package.glob("rollouts/*.py"), *package.glob("expression/*.py")]
    ):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def key_of(reading: Reading, request: Request, identities: Any) -> str:
    """A name for what the conversion makes: everything that can change it. `identities`: of all files it reads."""
    decoded = request.model_path if reading.dialect.name == "open_instruct" else None
    asked = (request.rows, request.pool, request.rescore, request.join_on, request.scored_without_gold, decoded)
    # The paths are part of it where they say something: the step, the number of a sample.
    is_numbered = reading.layout.sample == FILE
    paths = [
        (
            [match[1] for _, regex in reading.layout.file if (match := re.search(regex, os.path.abspath(path)))],
            os.path.basename(path) if is_numbered else "",
        )
        for path in reading.paths
    ]
    # repr() of frozen dataclasses is stable across processes, as they hold no sets.
    parts = (code_digest(), identities, reading.dialect.name, repr(reading.layout), asked, paths)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def check_request(request: Request) -> None:
    """Raise ConfigError for flags that do not go together."""
    if request.join_on and not request.join:
        raise ConfigError("--join_on says how --join finds its rows; give --join too")
