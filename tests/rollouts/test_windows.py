"""Windows pass each row on once, with the rows of a problem side by side, and whole where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rollouts import windows
from analyzer.rollouts.sizes import Sizes


class FakeReader:
    """Rows of problems with responses of given lengths, in batches cut anywhere."""

    def __init__(self, ids: Sequence[int], lengths: Sequence[int], cuts: Sequence[int]) -> None:
        self._table = pa.table({"data_idx": pa.array(ids, pa.int64()), "response": ["x" * n for n in lengths]})
        self._edges = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})

    def batches(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        for first, last in zip(self._edges, self._edges[1:], strict=False):
            (batch,) = self._table.slice(first, last - first).combine_chunks().to_batches()
            yield first, batch


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 400)), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=8),
    st.booleans(),
)
def test_windows_pass_on_each_row_once_with_problems_side_by_side_and_whole_where_they_fit(
    rows: list[tuple[int, int]], cuts: list[int], together: bool
) -> None:
    if together:
        rows.sort()
    ids, lengths = [idx for idx, _ in rows], [length for _, length in rows]
    reader: Any = FakeReader(ids, lengths, cuts)
    passed = list(windows.windows(reader, [(0, len(rows))], together, Sizes(window=500, largest_window=2000)))
    order = [row for window in passed for row in window.rows.tolist()]
    assert sorted(order) == list(range(len(rows)))
    for window in passed:
        assert window.table["data_idx"].to_pylist() == [ids[row] for row in window.rows.tolist()]
        assert window.table["response"].to_pylist() == ["x" * lengths[row] for row in window.rows.tolist()]
        names = window.table["data_idx"].to_pylist()
        assert len(list(_runs(names))) == len(set(names)), "side by side"
        for name in set(names):
            mine = [row for row in window.rows.tolist() if ids[row] == name]
            assert mine == sorted(mine), "in input order"
    if together:
        assert order == list(range(len(rows)))
        split = [idx for idx in set(ids) if sum(idx in window.table["data_idx"].to_pylist() for window in passed) > 1]
        for idx in split:
            size = sum(length + 16 for name, length in rows if name == idx)
            assert size >= 2000 - 416, "a problem is split only where it does not fit"


def _runs(values: Sequence[Any]) -> Iterator[Any]:
    yield from (value for at, value in enumerate(values) if at == 0 or value != values[at - 1])
