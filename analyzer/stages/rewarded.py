"""rewarded: the rollouts with what the analysis adds to each, put together as the rows pass by.

It is what rollouts_with_rewards.parquet holds. The writer copies it to that file. The report reads it here where no
copy of the text is wanted, and where the input is small enough to stay in memory after the writer has read it; of a
larger one nothing is held but the columns that are ours.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.rollouts import dataset, json_columns
from analyzer.rollouts.dataset import NARROW_ROWS, Dataset, Reader
from analyzer.rollouts.json_text import load_json
from analyzer.schema import (
    NOT_COUNTED,
    NOTHING,
    RESPONSE_TOKENS,
    REWARD,
    REWARD_ANSWER,
    REWARD_EXTRA,
    REWARD_STATUS,
    STATUSES,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


HELD_BYTES = 1 << 26
"""Of an input in memory that the report reads there after the writer: some ten thousand rollouts."""


class RowValues(NamedTuple):
    """What is written beside the input columns; arrays of shape (rollouts,), in input order."""

    rewards: NDArray[np.floating]  # NaN: null
    statuses: NDArray[np.int8]
    tokens: NDArray[np.int32]  # NOT_COUNTED: null
    answers: NDArray[np.int32]  # position in `texts`; -1: none
    texts: pa.LargeStringArray
    extra: NDArray[np.int32] | None  # position in `extra_texts`, -1: none; None: no rollout has any
    extra_texts: pa.LargeStringArray  # further columns as JSON objects
    parts: Mapping[str, NDArray[np.float64]] = NOTHING  # further columns of numbers, by name; NaN: null


class Rewarded:
    """The analyzed rollouts of an input, with all its columns and ours.

    Columns of the input keep their order and types; a column of ours that the input already has is replaced in place.
    Rows are numbered among the analyzed ones.
    """

    def __init__(self, rollouts: Dataset, kept: Sequence[tuple[int, int]], values: RowValues) -> None:
        """`kept`: the global rows that are analyzed, ascending ranges."""
        import pyarrow as pa

        self._input, self._kept, self._values = rollouts, list(kept), values
        self.rows = len(values.rewards)
        self.bytes = rollouts.bytes * self.rows // max(rollouts.rows, 1)
        self._read: list[tuple[slice, pa.RecordBatch]] = []
        self.held = False
        """Whether all rows are in memory, which `all` has read."""
        self._extra = [load_json(text) for text in values.extra_texts.to_pylist()]
        seen = json_columns.observe(self._extra[at] for at in _by_first_row(values.extra, len(self._extra)))
        self._kinds = {name: json_columns.kind_of(column) for name, column in seen.items()}
        # A few names, taken by code: no string is made for each of the rows.
        self._status = pa.array([str(status) for status in STATUSES])
        fields = [pa.field(REWARD, pa.float64()), pa.field(REWARD_STATUS, pa.string())]
        fields.append(pa.field(RESPONSE_TOKENS, pa.int32()))
        if len(values.texts):
            fields.append(pa.field(REWARD_ANSWER, pa.string()))
        fields += [pa.field(name, pa.float64()) for name in values.parts]
        held = (json_columns.arrow_field(REWARD_EXTRA + name, kind) for name, kind in self._kinds.items())
        fields += map(json_columns.shown_field, held)
        self._ours = frozenset(field.name for field in fields)
        schema = rollouts.schema
        for field in fields:
            at = schema.get_field_index(field.name)
            schema = schema.append(field) if at < 0 else schema.set(at, field)
        self.schema: pa.Schema = schema

    def all(self) -> Iterator[tuple[slice, pa.RecordBatch, pa.Table]]:
        """The places of some rows, these rows as the input has them, and with all columns of `schema`."""
        done, held = 0, 0
        for _, batch in Reader(self._input.files, None, threads=True).batches(self._kept):
            rows = slice(done, done + batch.num_rows)
            done = rows.stop
            if held <= HELD_BYTES:
                held += batch.nbytes if _is_valid(batch) else HELD_BYTES + 1
                self._read = [*self._read, (rows, batch)] if held <= HELD_BYTES else []
            yield rows, batch, self._table(batch, rows, self.schema)
        self.held = held <= HELD_BYTES

    def read(
        self, columns: Sequence[str], ranges: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first row, batch) of some columns; of all rows, or of ascending and disjoint ranges of them.

        Of all rows, columns of a few bytes a row are expected; texts may come as dictionaries.
        """
        import pyarrow as pa

        # A column of ours that the input has too is taken from memory: the input's is replaced.
        stored = [name for name in columns if name not in self._ours]
        everything = ranges is None
        for rows, batch in self._stored(stored, [(0, self.rows)] if ranges is None else ranges, everything):
            schemas = [self.schema if batch is None or name in self._ours else batch.schema for name in columns]
            wanted = pa.schema([schema.field(name) for schema, name in zip(schemas, columns, strict=True)])
            yield rows.start, self._table(batch, rows, wanted).to_batches()[0]

    def _stored(
        self, columns: Sequence[str], ranges: Sequence[tuple[int, int]], narrow: bool
    ) -> Iterator[tuple[slice, pa.RecordBatch | None]]:
        if not columns:  # all that is wanted is in memory: no file need be opened
            for start, stop in ranges:
                for first in range(start, stop, NARROW_ROWS):
                    yield slice(first, min(first + NARROW_ROWS, stop)), None
            return
        if self.held:
            yield from self._from_memory(columns, ranges)
            return
        kept, before = self._kept_places()
        pieces: list[tuple[int, int]] = []
        for start, stop in ranges:
            low, high = np.searchsorted(before, start, side="right") - 1, np.searchsorted(before, stop, side="left")
            for at in range(int(low), int(high)):
                first, last = max(start, int(before[at])), min(stop, int(before[at + 1]))
                pieces.append((int(kept[at, 0]) + first - int(before[at]), int(kept[at, 0]) + last - int(before[at])))
        for row, batch in Reader(self._input.files, columns, threads=True, narrow=narrow).batches(pieces):
            at = int(np.searchsorted(kept[:, 0], row, side="right")) - 1
            first = int(before[at]) + row - int(kept[at, 0])
            yield slice(first, first + batch.num_rows), batch

    def _from_memory(
        self, columns: Sequence[str], ranges: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[slice, pa.RecordBatch]]:
        starts = [rows.start for rows, _ in self._read]
        for start, stop in ranges:
            for rows, batch in self._read[max(bisect.bisect_right(starts, start) - 1, 0) :]:
                if rows.start >= stop:
                    break
                first, last = max(start, rows.start), min(stop, rows.stop)
                yield slice(first, last), batch.slice(first - rows.start, last - first).select(list(columns))

    def pieces(self) -> NDArray[np.int64]:
        """(pieces,) the rows of each part of the input that is decoded as one."""
        kept, before = self._kept_places()
        edges = dataset.edges(self._input.files)
        at = np.searchsorted(kept[:, 0], edges, side="right") - 1
        # An edge in a gap between two ranges is where the first of them ends, and one before all is at 0.
        within = np.minimum(edges - kept[at, 0], kept[at, 1] - kept[at, 0])
        sizes = np.diff(np.where(at < 0, 0, before[at] + within))
        return sizes[sizes > 0]

    def _kept_places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ranges, 2) the global rows that are analyzed, and (ranges + 1,) the places of the first of each."""
        kept = np.array(self._kept, np.int64).reshape(-1, 2)
        return kept, np.append(0, np.cumsum(kept[:, 1] - kept[:, 0]))

    def _table(self, batch: pa.RecordBatch | None, rows: slice, wanted: pa.Schema) -> pa.Table:
        """The rows of one batch with these columns of `schema`."""
        import pyarrow as pa

        values = self._values
        ours: dict[str, Callable[[], pa.Array]] = {
            # from_pandas: NaN becomes null. Not scored is not a number, and a mean over the column must leave it out.
            REWARD: lambda: pa.array(values.rewards[rows], pa.float64(), from_pandas=True),
            REWARD_STATUS: lambda: self._status.take(pa.array(values.statuses[rows])),
            RESPONSE_TOKENS: lambda: pa.array(values.tokens[rows], mask=values.tokens[rows] == NOT_COUNTED),
            REWARD_ANSWER: lambda: _taken(values.texts, values.answers[rows]).cast(pa.string()),
        }
        extra: pa.RecordBatch | None = None
        columns = []
        for field in wanted:
            name = field.name
            if name not in self._ours:
                assert batch is not None
                columns.append(batch.column(name))
            elif name.startswith(REWARD_EXTRA) and name.removeprefix(REWARD_EXTRA) in self._kinds:
                extra = self._extra_columns(rows) if extra is None else extra
                columns.append(extra.column(list(self._kinds).index(name.removeprefix(REWARD_EXTRA))))
            elif name in values.parts:
                columns.append(pa.array(values.parts[name][rows], from_pandas=True))
            else:
                columns.append(ours[name]())
        return pa.Table.from_arrays(columns, schema=wanted)

    def _extra_columns(self, rows: slice) -> pa.RecordBatch:
        """The columns that a reward returned beside the reward."""
        assert self._values.extra is not None
        codes = self._values.extra[rows].tolist()
        records = [self._extra[code] if code >= 0 else {} for code in codes]
        return json_columns.shown_batch(json_columns.columns_to_arrow(records, self._kinds))


def _is_valid(batch: pa.RecordBatch) -> bool:
    """Whether its texts are UTF-8, which a copy need not be, and what is shown must."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _by_first_row(codes: NDArray[np.int32] | None, texts: int) -> list[int]:
    """The codes of texts in the order of the first rows that have them; codes: (rollouts,), -1 for none."""
    if codes is None:
        return []
    first = np.full(texts + 1, len(codes))  # the last one takes what has none
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of several values for one place the last stays: the first row
    return [code for code in np.argsort(first[:-1], kind="stable").tolist() if first[code] < len(codes)]


def _taken(texts: pa.LargeStringArray, codes: NDArray[np.integer]) -> pa.LargeStringArray:
    """A text for each code, null for -1."""
    import pyarrow as pa

    return texts.take(pa.array(codes, mask=codes < 0))
