"""Joining: the training row of each rollout, with what the trainer did not write: chat prompt, ground truth, source.

Rows are matched by a key that both sides have, or by the prompt: a training row fits where its last user message is
contained in the rendered prompt, and of several the longest wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.dialects import files
from analyzer.dialects.lookup import Column, Rows, look_up, python_values, rows_of
from analyzer.dialects.mapping import GROUND_TRUTH, JOIN
from analyzer.dialects.values import content_text, text_of
from analyzer.errors import InputError, counted, printable
from analyzer.files import storage
from analyzer.rollouts.json_columns import columns_to_arrow, is_encoded, kinds_of
from analyzer.rollouts.types import Difference, common_schema
from analyzer.schema import DATA_IDX, ORIGINAL, PROMPT

if TYPE_CHECKING:
    import pyarrow as pa

GOLD_NAMES = ("reward_model", "ground_truth", "answer", "solution", "expected_answer", "final_answer", "label")
GOLDS = frozenset(ORIGINAL + name for name in GOLD_NAMES)
LEAST_MATCHED = 0.99
"""Of the rollouts, fewer of which with a training row are an error."""

PROMPT_KEY = "prompt"
_KEYS = ("extra_info.index", "index", "id", "uuid", "custom_id", "task_id")
_REQUEST = "body.messages"  # the prompt in the request file of a batch
# Long enough to be rare in a prompt, short enough for the shortest questions.
_WINDOW = 24  # characters by which messages are looked up
_EXAMPLES = 3
_SHOWN = 100


class Training(NamedTuple):
    """The training data that is joined."""

    paths: tuple[str, ...]
    rows: Rows
    schema: pa.Schema
    join_on: str | None  # as the user gave it


class _Matched(NamedTuple):
    row: int  # of the training data, -1 for none
    shown: str  # what was looked for, for a person


def load(spec: str, join_on: str | None) -> Training:
    """Read training data, parquet or jsonl, or several such files one after another. Raises InputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = list(files.find(spec, recursive=False).paths)
    tables = []
    for path in paths:
        if files.suffix_of(path) == files.PARQUET:
            try:
                tables.append(pq.read_table(path))
            except (pa.ArrowException, OSError) as error:
                storage.check_of_the_file(error, path)
                raise InputError(f"{path}: not a readable parquet file ({' '.join(str(error).split())})") from None
        else:
            rows = [dict(record.row) for record in files.records(path)]
            tables.append(pa.Table.from_batches([columns_to_arrow(rows, kinds_of(rows))]))
    common = common_schema([table.schema for table in tables])
    if isinstance(common, Difference):
        raise InputError(
            f"{paths[common.file]}: its columns differ from those of {paths[0]}: {common.sentence}; the files to join "
            "must have the same columns"
        )
    # One chunk, so that row numbers are indices; training data is small beside rollouts.
    table = pa.concat_tables([table.select(common.names).cast(common) for table in tables]).combine_chunks()
    if table.num_rows == 0:
        raise InputError(f"{spec}: has no rows to join")
    batch = table.to_batches()[0]
    return Training(tuple(paths), rows_of(batch), batch.schema, join_on)


def specs_of(spec: str | None) -> list[str]:
    """The inputs that --join names, several with commas between them: each is joined to what the one before it gave."""
    # A path that exists may hold a comma.
    if spec is None or os.path.exists(spec):
        return [spec] if spec else []
    return [part.strip() for part in spec.split(",") if part.strip()]


def paths_of(spec: str | None) -> tuple[str, ...]:
    """The files that --join reads."""
    return tuple(path for part in specs_of(spec) for path in files.find(part, recursive=False).paths)


def key_of(training: Training, names: Sequence[str]) -> str | None:
    """The path of the key in the rollouts; None for the data_idx or the prompt. `names`: columns of the rollouts."""
    if training.join_on is not None:
        return training.join_on if training.join_on != PROMPT_KEY else None
    return next(
        (key for key in _KEYS if key.partition(".")[0] in names and look_up(training.rows, key) is not None), None
    )


class Joiner:
    """Adds to rollouts the columns of their training rows, as original_*."""

    def __init__(self, training: Training, schema: pa.Schema, spec: str, prompts: bool) -> None:
        """`schema`: of the rollouts; `prompts`: whether they have any. Raises InputError for a missing key."""
        import pyarrow as pa

        self._training = training
        self._spec = spec
        self._has_key = JOIN in schema.names
        self._gold = GROUND_TRUTH if GROUND_TRUTH in schema.names else None
        self._request = look_up(training.rows, _REQUEST) is not None
        self.rollouts = self.matched = 0
        self._golds = _golds(training)
        self._asked = _last_messages(training) if prompts and self._prompt_column() is not None else None
        # What a rollout has otherwise than its training row: rollouts, and an example.
        self._differing: dict[str, tuple[int, str]] = {}
        self._looked_at: dict[tuple[int, str | None], dict[str, str]] = {}
        self.missed: dict[str, None] = {}
        # Rollouts of a problem have one prompt: it is looked for once and not for each sample.
        self._known: dict[Any, _Matched] = {}
        self._index: dict[str, list[int]] = {}
        self._messages: _Messages | None = None
        self._by_id = not prompts and not self._has_key and training.join_on is None and not self._request
        self.by = "id" if self._by_id else self._key()
        if self.by == PROMPT_KEY:
            self._messages = _Messages(_last_messages(training), _golds(training))
        elif not self._by_id:
            self._index = _numbered(training, self.by)
        self._added = self._columns()
        replaced = {name for name, _ in self._added} | {JOIN}
        if any(name in GOLDS for name, _ in self._added):
            replaced.add(GROUND_TRUTH)
        kept = [field for field in schema if field.name not in replaced]
        prompt = self._prompt_column()
        if prompt is not None:
            kept = [prompt.field.with_name(PROMPT) if field.name == PROMPT else field for field in kept]
        self.schema = pa.schema([*kept, *(column.field.with_name(name) for name, column in self._added)])

    def _choose_id(self, ids: Sequence[str | None]) -> None:
        """Settle by the first rollouts, which have no prompts, which column of the training data holds their ids."""
        self._by_id = False
        # Any of them: the first batch of rollouts may hold problems that the training data lacks.
        wanted = {name for name in ids if name is not None}
        for key in _KEYS:
            index = _numbered(self._training, key) if look_up(self._training.rows, key) is not None else {}
            if not wanted.isdisjoint(index):
                self.by, self._index = key, index
                return
        raise InputError(
            f"{self._training.paths[0]}: none of {', '.join(_KEYS)} holds the ids of the rollouts "
            f"({', '.join(sorted(wanted)[:_EXAMPLES])}), which have no prompts; "
            "name the column that does with --join_on"
        )

    def _key(self) -> str:
        """The key on the training side."""
        training, wanted = self._training, self._training.join_on
        if wanted == PROMPT_KEY:
            return PROMPT_KEY
        if wanted is not None:
            if wanted != "index" and look_up(training.rows, wanted) is None:
                names = ", ".join(training.schema.names)
                raise InputError(f"{training.paths[0]}: there is no {wanted!r} for --join_on; the columns are: {names}")
            return wanted
        if self._has_key:
            return next(key for key in _KEYS if look_up(training.rows, key) is not None)
        return "custom_id" if self._request else PROMPT_KEY

    def _prompt_column(self) -> Column | None:
        if self._request:
            return look_up(self._training.rows, _REQUEST)
        return look_up(self._training.rows, "prompt|messages|problem|question|instruction|input")

    def _columns(self) -> list[tuple[str, Column]]:
        """(name in the outputs, column) of the training data, but for the prompt and a request's body."""
        found = []
        for name, column in self._training.rows.columns.items():
            if name == "prompt" or (self._request and name in ("body", "method", "url")):
                continue
            found.append((name if name.startswith(ORIGINAL) else ORIGINAL + name, column))
        return found

    def join(self, table: pa.Table) -> pa.Table:
        """The rows of a table that have a training row, with its columns."""
        import pyarrow as pa

        at = np.array([match.row for match in self._matches(table)], dtype=np.int64)
        there = np.flatnonzero(at >= 0)
        self.rollouts += len(at)
        self.matched += len(there)
        table, at = table.take(pa.array(there)), at[there]
        added = dict(self._added)
        prompt = self._prompt_column()
        columns = []
        for field in self.schema:
            if field.name == PROMPT and prompt is not None:
                columns.append(prompt.array.take(pa.array(at)))
            elif field.name in added:
                columns.append(added[field.name].array.take(pa.array(at)))
            else:
                columns.append(table[field.name])
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _matches(self, table: pa.Table) -> list[_Matched]:
        """The training row of each rollout."""
        # The ground truth settles which of several rows with one prompt it is.
        golds = table[GROUND_TRUTH].combine_chunks() if self._gold else None
        gold_texts = text_of(Column(golds, table.schema.field(GROUND_TRUTH))).to_pylist() if golds is not None else None
        if self.by == PROMPT_KEY:
            prompts = Column(table[PROMPT].combine_chunks(), table.schema.field(PROMPT))
            values = python_values(prompts)
            keys = [value if isinstance(value, str) else _last_message(value) for value in values]
        else:
            keys = table[JOIN if self._has_key else DATA_IDX].cast("string").to_pylist()
            if self._by_id:
                self._choose_id(keys)
        found = []
        rendered = table[PROMPT] if PROMPT in table.column_names else None
        if rendered is not None and is_encoded(table.schema.field(PROMPT)):
            rendered = None  # JSON, in which a line end is written otherwise
        for at, key in enumerate(keys):
            gold = gold_texts[at] if gold_texts is not None else None
            if (key, gold) not in self._known:
                self._known[key, gold] = self._match(key, gold)
            found.append(self._known[key, gold])
            if (row := found[-1].row) >= 0:
                # Once for each training row: all rollouts of a problem have one prompt.
                if (row, gold) not in self._looked_at:
                    asked = rendered[at].as_py() if rendered is not None else None
                    self._looked_at[row, gold] = self._differences(row, gold, asked)
                for what, example in self._looked_at[row, gold].items():
                    number, first = self._differing.get(what, (0, example))
                    self._differing[what] = number + 1, first
            if found[-1].row < 0 and len(self.missed) < _EXAMPLES:
                self.missed.setdefault(found[-1].shown)
        return found

    def _differences(self, row: int, gold: str | None, prompt: Any) -> dict[str, str]:
        """What a rollout has otherwise than the training row it is joined with: an example by what it is."""
        found = {}
        theirs = self._golds[row] if self._golds is not None else None
        if gold is not None and theirs is not None and gold.strip() != theirs.strip():
            found["ground truth"] = f"{_short(gold)}, not {_short(theirs)}"
        if self._asked is not None and isinstance(prompt, str) and self._asked[row] not in prompt:
            found["prompt"] = f"{_short(prompt)} without {_short(self._asked[row])}"
        return found

    def _match(self, key: str | None, gold: str | None) -> _Matched:
        shown = printable(repr((key or "")[-_SHOWN:]))
        if key is None:
            return _Matched(-1, "null")
        if self._messages is not None:
            return _Matched(self._messages.find(key, gold), shown)
        rows = self._index.get(key, [])
        if len(rows) > 1:
            raise InputError(
                f"{self._training.paths[0]}: {self.by} {key!r} occurs {len(rows)} times; join on a unique key"
            )
        return _Matched(rows[0] if rows else -1, shown)

    def check(self) -> None:
        """Raise InputError where too few rollouts have a training row."""
        # 1 % may be missing: trainers filter prompts that are too long. More is the wrong file.
        if self.matched < LEAST_MATCHED * self.rollouts:
            raise InputError(
                f"{self._spec}: {self.rollouts - self.matched} of {self.rollouts} rollouts have no row in "
                f"{self._training.paths[0]} (joined on {self.by}), more than 1 %: {'; '.join(self.missed)}; "
                "is this the right training data? --join_on names the key"
            )

    def notes(self) -> list[str]:
        """What was joined, by what."""
        name = os.path.basename(self._training.paths[0])
        return [f"joined with {name} on {self.by}: {self.matched} of {self.rollouts} rollouts have a training row"]

    def warnings(self) -> list[str]:
        """That rollouts were left out, or are of another problem than their training row."""
        name = os.path.basename(self._training.paths[0])
        found = [
            f"{number} of {counted(self.matched, 'rollout')} joined on {self.by} differ in the {what} from their row "
            f"in {name}, which is taken: {example}. Is this the right file and key?"
            for what, (number, example) in self._differing.items()
        ]
        if lost := self.rollouts - self.matched:
            missed = "; ".join(self.missed)
            found.append(f"{lost} of {counted(self.rollouts, 'rollout')} left out, without a training row: {missed}.")
        return found


def _short(text: str) -> str:
    return printable(repr(text[-_SHOWN:]))


def _numbered(training: Training, key: str) -> dict[str, list[int]]:
    column = look_up(training.rows, key)
    values: Iterable[Any] = range(training.rows.size) if column is None else text_of(column).to_pylist()
    index: dict[str, list[int]] = {}
    # As text on both sides: an index is an int in one file and a string in the other.
    for row, value in enumerate(values):
        if value is not None:
            index.setdefault(str(value), []).append(row)
    return index


def _golds(training: Training) -> list[str | None] | None:
    column = look_up(training.rows, "reward_model.ground_truth|ground_truth|answer|solution|expected_answer")
    return None if column is None else text_of(column).to_pylist()


def _last_messages(training: Training) -> list[str]:
    """The last user message of each training row, or its prompt where that is text."""
    column = look_up(training.rows, "prompt|messages|problem|question|instruction|input")
    if column is None:
        raise InputError(f"{training.paths[0]}: has no prompt to join on; name a key with --join_on")
    return [_last_message(value) for value in python_values(column)]


def _last_message(value: Any) -> str:
    if isinstance(value, list):
        # The last user message: system prompts and few-shot turns before it are the template's, equal in all
        # rows.
        asked = [message for message in value if isinstance(message, dict) and message.get("role") == "user"]
        return content_text(asked[-1].get("content")).strip() if asked else ""
    return "" if value is None else str(value).strip()


class _Messages:
    """Finds the longest of many messages that a text contains: by their first characters, at each place of the text."""

    def __init__(self, messages: Sequence[str], golds: Sequence[str | None] | None) -> None:
        self._rows: dict[str, list[int]] = {}
        for row, message in enumerate(messages):
            if message:
                self._rows.setdefault(message, []).append(row)
        self._golds = golds
        # As short as the shortest message, or that one could never be found.
        self._width = min([_WINDOW, *map(len, self._rows)])
        self._starts: dict[str, list[str]] = {}
        # Longest first under each beginning, so the first that fits is the longest there.
        for message in sorted(self._rows, key=len, reverse=True):
            self._starts.setdefault(message[: self._width], []).append(message)

    def find(self, text: str, gold: str | None) -> int:
        """The row of the longest message in the text, -1 for none or where several rows of it cannot be told apart."""
        best = ""
        # One look-up per place of the text, whatever the number of messages: a search for each would be their
        # product.
        for at in range(len(text) - self._width + 1):
            for message in self._starts.get(text[at : at + self._width], ()):
                if len(message) > len(best) and text.startswith(message, at):
                    best = message
                    break
        rows = self._rows.get(best, [])
        if len(rows) > 1 and self._golds is not None and gold is not None:
            golds = self._golds
            rows = [row for row in rows if golds[row] == gold]
        if len(rows) > 1 and self._golds is not None and len({self._golds[row] for row in rows}) > 1:
            return -1  # the same prompt with several ground truths
        return rows[0] if rows else -1
