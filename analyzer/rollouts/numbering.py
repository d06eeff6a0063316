"""Problems by number and rollouts by shard: the records that the plan makes and later stages follow."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


RENUMBER = (
    "renumber the problems, for example with pandas df['data_idx'] = df['prompt'].astype(str).factorize()[0] and "
    "df['sample_idx'] = df.groupby('data_idx').cumcount()"
)
"""What to do where two problems have one data_idx."""


@dataclass(frozen=True)
class Numbering:
    """The problems of an input, numbered in order of first appearance, and where their rows are."""

    ids: pa.Array  # data_idx of each analyzed problem, (problems,), int64 or string
    run_starts: Ints  # (runs,) first global row of each run
    run_codes: Ints  # (runs,) its problem; -1 for one left out by --limit
    rows: int  # rows of the input

    @property
    def problems(self) -> int:
        """Number of problems that are analyzed."""
        return len(self.ids)

    def run_stops(self) -> Ints:
        """(runs,) the row after each run's last."""
        return np.append(self.run_starts[1:], self.rows)

    def most_rows(self) -> int:
        """Rows of the problem with the most."""
        kept = self.run_codes >= 0
        lengths = (self.run_stops() - self.run_starts)[kept]
        return int(np.bincount(self.run_codes[kept], lengths, self.problems).max(initial=0))

    def kept_ranges(self) -> list[tuple[int, int]]:
        """The row ranges of all analyzed problems, ascending and merged."""
        kept = self.run_codes >= 0
        starts, stops = self.run_starts[kept], self.run_stops()[kept]
        if len(starts) == 0:
            return []
        # Nearly always all runs are kept and this is one range: a loop over millions of them would take seconds.
        joined = starts[1:] == stops[:-1]
        first, last = starts[np.append(True, ~joined)], stops[np.append(~joined, True)]
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def first_rows(self) -> Ints:
        """(problems,) the first global row of each problem, by number."""
        # Numbered in order of first appearance: a run is the first of its problem where no number so far is as high.
        before = np.append(-1, np.maximum.accumulate(self.run_codes)[:-1])
        return self.run_starts[self.run_codes > before]

    def last_rows(self) -> Ints:
        """(problems,) the last global row of each problem, by number."""
        kept = self.run_codes >= 0
        last = np.zeros(self.problems, dtype=np.int64)
        last[self.run_codes[kept]] = self.run_stops()[kept] - 1  # of several runs of a problem the last one stays
        return last

    def positions(self, rows: Ints) -> Ints:
        """Places of global rows, all analyzed, among the analyzed rows."""
        ranges = np.array(self.kept_ranges(), dtype=np.int64)
        before = np.append(0, np.cumsum(ranges[:, 1] - ranges[:, 0]))
        at = np.searchsorted(ranges[:, 0], rows, side="right") - 1
        return np.asarray(before[at] + rows - ranges[at, 0], dtype=np.int64)

    def row_codes(self) -> NDArray[np.int32]:
        """(rows,) int32, the problem of each row, -1 for a row left out."""
        # The largest array of a run. No input has 2^31 problems, and half of 8 bytes for each of 100 million rows is
        # 400 MB.
        return np.repeat(self.run_codes.astype(np.int32), self.run_stops() - self.run_starts)

    def together(self) -> bool:
        """Whether the rows of each problem stand together."""
        # As many runs as problems: no problem has a second one.
        return int(np.count_nonzero(self.run_codes >= 0)) == self.problems

    def order(self) -> Ints:
        """(problems,) the problems by ascending data_idx: numbers by value, text by code point."""
        return self._order

    @functools.cached_property
    def _order(self) -> Ints:
        import pyarrow.compute as pc

        return np.asarray(pc.sort_indices(self.ids).to_numpy(), dtype=np.int64)


class Shards(NamedTuple):
    """The rollouts cut into shards of whole problems."""

    offsets: Ints  # (shards + 1,) into ranges
    ranges: Ints  # (ranges, 2) global rows [start, stop), ascending within a shard

    @property
    def total(self) -> int:
        """Number of shards."""
        return len(self.offsets) - 1

    def rows(self, parts: int | None = None) -> Ints:
        """(shards,) the rollouts of each shard; (parts,) where neighbours are joined to so many."""
        sizes = self.ranges[:, 1] - self.ranges[:, 0]
        # No shard is empty: reduceat would give an empty one the size of the range after it, and no error.
        rows = np.add.reduceat(sizes, self.offsets[:-1])
        return rows if parts is None else np.bincount(self.part_of(parts), rows, parts).astype(np.int64)

    def part_of(self, parts: int) -> Ints:
        """(shards,) which part each shard belongs to where neighbours are joined to so many parts."""
        # Whole numbers throughout: every node that works on a run must come to the same parts.
        return np.arange(self.total) * parts // self.total

    def of(self, shard: int) -> list[tuple[int, int]]:
        """The row ranges of one shard, ascending."""
        ranges = self.ranges[self.offsets[shard] : self.offsets[shard + 1]]
        return [(int(start), int(stop)) for start, stop in ranges]


def whole_files(rows: Sequence[int]) -> Shards:
    """Shards that are a whole file each. rows: of each file, (files,)."""
    stops = np.cumsum(rows).astype(np.int64)
    return Shards(np.arange(len(rows) + 1), np.column_stack([np.append(0, stops[:-1]), stops]).astype(np.int64))
