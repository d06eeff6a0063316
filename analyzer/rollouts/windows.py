"""Windows: the rollouts of one shard, a bounded number of bytes at a time, the rows of a problem side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.rollouts.neighbours import changed
from analyzer.rollouts.sizes import USUAL, Sizes
from analyzer.schema import DATA_IDX

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.rollouts.dataset import Reader

ROW = "__row__"
"""Column of spilled rollouts: the row number in the input."""


class Window(NamedTuple):
    """Some rollouts of a shard, the rows of a problem side by side."""

    rows: NDArray[np.int64]  # (n,) global row numbers
    table: pa.Table  # (n rows)

    def only(self, rows: NDArray[np.int64]) -> Window:
        """What of it is among these rows."""
        import pyarrow as pa

        among = np.isin(self.rows, rows)
        return Window(self.rows[among], self.table.filter(pa.array(among)).combine_chunks())


def windows(
    reader: Reader, ranges: Sequence[tuple[int, int]], together: bool, sizes: Sizes = USUAL
) -> Iterator[Window]:
    """The rows of `ranges`, cut between problems wherever a problem fits a window.

    `together`: the rows of each problem stand together in the file; where they do not, they are sorted here (stable,
    so the rollouts of a problem stay in input order).
    """
    import pyarrow as pa

    # Rows that stand together may be cut after any problem. Scattered ones are sorted within their window: the larger
    # it is, the more rows of a problem meet in it and share their grades.
    enough = sizes.window if together else sizes.largest_window
    held: list[Window] = []
    size = 0
    for first, batch in reader.batches(ranges):
        table = pa.Table.from_batches([batch])
        spilled = ROW in table.column_names
        held.append(Window(table[ROW].to_numpy() if spilled else np.arange(first, first + batch.num_rows), table))
        # Of a slice nbytes counts its rows alone. get_total_buffer_size would count the batch behind it, once for each
        # slice.
        size += batch.nbytes
        if size >= enough:
            whole, rest = _cut(_joined(held), together, size >= sizes.largest_window)
            if len(whole.rows):
                yield _sorted(whole, together)
            held, size = ([rest], rest.table.nbytes) if len(rest.rows) else ([], 0)
    if held:
        yield _sorted(_joined(held), together)


def _joined(held: Sequence[Window]) -> Window:
    import pyarrow as pa

    if len(held) == 1:
        return held[0]
    return Window(np.concatenate([w.rows for w in held]), pa.concat_tables([w.table for w in held]))


def _cut(window: Window, together: bool, full: bool) -> tuple[Window, Window]:
    """A window in two: all whole problems, and the last problem, whose end is not in sight yet.

    Only a problem that fills a window alone is split, and so are those whose rows do not stand together.
    """
    last = int(np.flatnonzero(changed(window.table[DATA_IDX].combine_chunks()))[-1]) if together else 0
    if not together or (last == 0 and full):
        last = len(window.rows)
    return (
        Window(window.rows[:last], window.table.slice(0, last)),
        Window(window.rows[last:], window.table.slice(last)),
    )


def _sorted(window: Window, together: bool) -> Window:
    import pyarrow as pa

    if together:
        return window
    table = window.table.combine_chunks()
    column = table[DATA_IDX].combine_chunks()
    # Any order of the problems will do as long as rows of one stand together, so codes are sorted and not texts.
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    # The last key is the first that counts: by problem, and within one by row.
    order = np.lexsort((window.rows, column.indices.to_numpy()))
    return Window(window.rows[order], table.take(pa.array(order)))
