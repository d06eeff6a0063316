"""Rows that pass by once and are needed in another order: kept in a temporary Arrow file, read back by memory map.

Memory does not grow with the rows: what is mapped are pages of a file, which the system drops when it needs room.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from analyzer.files import storage, temporaries

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Spool:
    """Rows of one schema, in a temporary file in `folder` that is gone when the context ends."""

    def __init__(self, schema: pa.Schema, folder: str | os.PathLike[str]) -> None:
        import pyarrow as pa

        self.schema = schema
        self.rows = 0
        self._path = os.path.join(folder, temporaries.name_for("rows.arrow"))
        self._edges = [0]  # first row of each batch, then the number of rows
        self._batches: list[pa.RecordBatch] = []
        with storage.storage_errors(self._path):
            # The stream format, not the file format: its batches may have dictionaries of their own
            self._writer: Any = pa.ipc.new_stream(self._path, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches = []
        # Also where writing has failed: an open writer would keep the descriptor until the collector comes by.
        if self._writer is not None:
            self._writer.close()
        temporaries.remove(self._path)

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raises StorageError where the disk is full."""
        if batch.num_rows:
            with storage.storage_errors(self._path):
                self._writer.write_batch(batch)
            self.rows += batch.num_rows
            self._edges.append(self.rows)

    def finish(self) -> None:
        """No more rows are added from here on, and `take` may be called."""
        import pyarrow as pa

        with storage.storage_errors(self._path):
            self._writer.close()
        self._writer = None
        # The batches point into the mapping: this reads their headers and no rows.
        self._batches = list(pa.ipc.open_stream(pa.memory_map(self._path)))

    def take(self, rows: NDArray[np.integer]) -> pa.Table:
        """The rows of these numbers, 0 for the first one added, in the order given; shape (rows,)."""
        import pyarrow as pa

        if len(rows) and (np.diff(rows) == 1).all():
            # Neighbours, as they are where the input is sorted: a view of the mapped file, and nothing is copied.
            start, stop = int(rows[0]), int(rows[-1]) + 1
            begin = int(np.searchsorted(self._edges, start, side="right")) - 1
            end = int(np.searchsorted(self._edges, stop, side="left"))
            table = pa.Table.from_batches(self._batches[begin:end], self.schema)
            return table.slice(start - self._edges[begin], stop - start)
        # One take for each batch and one to bring them into order: take() on the whole would first join all batches,
        # that is, read the file into memory.
        edges = np.array(self._edges)
        batch_of = np.searchsorted(edges, rows, side="right") - 1
        # stable: equal numbers stay as given, so that `back` is the exact inverse of this order.
        order = np.argsort(batch_of, kind="stable")
        parts = []
        for number in np.unique(batch_of).tolist():
            those = rows[order[batch_of[order] == number]] - edges[number]
            parts.append(self._batches[number].take(pa.array(those)))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.Table.from_batches(parts, self.schema).combine_chunks().take(pa.array(back))
