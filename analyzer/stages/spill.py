"""spill: one pass that brings scattered rollouts together, for inputs whose shards would be read many times over.

Rows go to a file per shard (or per few shards), with the columns that scoring reads and the row number in the input.
Memory is bounded by `Sizes.spill_buffer` and a few record batches, whatever the input.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer import proc
from analyzer.files import storage
from analyzer.plan import SPILL, Plan
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.input import Input
from analyzer.rollouts.numbering import Numbering, Shards
from analyzer.rollouts.windows import ROW

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray


def spill(plan: Plan, opened: Input, numbering: Numbering, folder: str) -> None:
    """Gather scattered rows in files of their own in the run directory `folder`; nothing where the plan has none.

    What an earlier call or another driver has made there is taken as it is. Raises InputError where the input was
    changed while it was read, StorageError on a full disk.
    """
    if not plan.spilled:
        return

    def build(temporary: str) -> None:
        _write(plan, opened.dataset, numbering, Path(temporary))
        opened.still_same()

    storage.build_folder(Path(folder) / SPILL, build)
    proc.give_back_memory()


def _write(plan: Plan, rollouts: Dataset, numbering: Numbering, folder: Path) -> None:
    import pyarrow as pa

    columns = list(plan.all_columns)
    held = dataset.schema_of(rollouts.files[0])
    schema = pa.schema([pa.field(ROW, pa.int64()), *(held.field(name) for name in columns)])
    files = _Files(folder, plan.total, schema, plan.sizes.spill_buffer)
    part_of = _Lookup(plan.cut, plan.total)
    reader = Reader(rollouts.files, columns, threads=True, held=True, batch_bytes=plan.sizes.batch)
    try:
        for first, batch in reader.batches(numbering.kept_ranges()):
            rows = np.arange(first, first + batch.num_rows)
            part = part_of(rows)
            # stable: the rollouts of a problem stay in the order of the input, as they are where nothing is spilled.
            order = np.argsort(part, kind="stable")
            arrays = {name: batch.column(name) for name in columns} | {ROW: pa.array(rows)}
            table = pa.table([arrays[name] for name in schema.names], schema=schema).take(pa.array(order))
            files.add(table, part[order])
    finally:
        files.close()


class _Lookup:
    """Row number -> part."""

    def __init__(self, shards: Shards, parts: int) -> None:
        # Ranges are disjoint, so a row lies in the last one that starts at or before it: a sorted array and a binary
        # search, where a table of all rows would take 8 bytes a row.
        shard = np.repeat(np.arange(shards.total), np.diff(shards.offsets))
        order = np.argsort(shards.ranges[:, 0])
        self._starts = shards.ranges[order, 0]
        self._parts = shards.part_of(parts)[shard[order]]

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._parts[np.searchsorted(self._starts, rows, side="right") - 1]
        return found


class _Files:
    """The part files. All are flushed together: a slice kept for one part would keep its whole batch in memory."""

    def __init__(self, folder: Path, parts: int, schema: pa.Schema, buffer: int) -> None:
        import pyarrow.parquet as pq

        self._writers: list[pq.ParquetWriter] = [
            # lz4 and no dictionaries: these files are read once, and soon.
            pq.ParquetWriter(folder / f"part-{part:05d}.parquet", schema, compression="lz4", use_dictionary=False)
            for part in range(parts)
        ]
        self._held: list[list[pa.Table]] = [[] for _ in range(parts)]
        self._bytes, self._buffer = 0, buffer

    def add(self, table: pa.Table, part: NDArray[np.int64]) -> None:
        """Rows sorted by part."""
        edges = np.flatnonzero(np.append(True, part[1:] != part[:-1]))
        for start, stop in zip(edges, np.append(edges[1:], len(part)), strict=True):
            self._held[int(part[start])].append(table.slice(int(start), int(stop - start)))
        self._bytes += table.nbytes
        if self._bytes >= self._buffer:
            self._flush()

    def close(self) -> None:
        """Write what is held and the footers."""
        self._flush()
        for writer in self._writers:
            writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        for writer, held in zip(self._writers, self._held, strict=True):
            if held:
                # One row group for each flush, whatever the sizes of the batches were.
                table = pa.concat_tables(held).combine_chunks()
                writer.write_table(table, row_group_size=table.num_rows)
                held.clear()
        self._bytes = 0
