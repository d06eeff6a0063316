"""Floor: a plain pyarrow program that reads the input once and writes its rows twice, and analyses nothing.

    python copy_floor.py INPUT.parquet OUTPUT_FOLDER

Once to one file and once split in four by data_idx, each by a thread of its own, with the compression, the level and
the row groups of the program's outputs.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_BYTES = 16 << 20
BATCH_BYTES = 4 << 20
PARTS = 4


class Writer(threading.Thread):
    """Writes the tables it is given to one file, or to one for each remainder of data_idx."""

    def __init__(self, paths: list[Path], schema: pa.Schema) -> None:
        super().__init__()
        self.tables: queue.Queue[pa.Table | None] = queue.Queue(2)
        self._held: list[list[pa.Table]] = [[] for _ in paths]
        plain = ("prompt", "response")
        self._files = [
            pq.ParquetWriter(
                path,
                schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in schema.names if name not in plain],
                write_page_checksum=True,
            )
            for path in paths
        ]

    def run(self) -> None:
        while (table := self.tables.get()) is not None:
            parts = [table] if len(self._files) == 1 else split(table, len(self._files))
            for number, part in enumerate(parts):
                self._held[number].append(part)
                if sum(held.nbytes for held in self._held[number]) >= GROUP_BYTES:
                    self._flush(number)
        for number, file in enumerate(self._files):
            self._flush(number)
            file.close()

    def _flush(self, number: int) -> None:
        if self._held[number]:
            group = pa.concat_tables(self._held[number])
            self._files[number].write_table(group, row_group_size=max(1, group.num_rows))
            self._held[number] = []


def split(table: pa.Table, parts: int) -> list[pa.Table]:
    remainder = table["data_idx"].to_numpy() % parts
    return [table.filter(pa.array(remainder == part)) for part in range(parts)]


def main() -> None:
    source, folder = pq.ParquetFile(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    schema, meta = source.schema_arrow, source.metadata
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    rows = max(1, meta.num_rows * BATCH_BYTES // size)
    writers = [
        Writer([folder / "all.parquet"], schema),
        Writer([folder / f"part-{part}.parquet" for part in range(PARTS)], schema),
    ]
    for writer in writers:
        writer.start()
    for batch in source.iter_batches(batch_size=rows, use_threads=True):
        for writer in writers:
            writer.tables.put(pa.Table.from_batches([batch]))
    for writer in writers:
        writer.tables.put(None)
        writer.join()
    print(json.dumps({"rollouts": meta.num_rows, "engine": f"pyarrow {pa.__version__}"}))


if __name__ == "__main__":
    main()
