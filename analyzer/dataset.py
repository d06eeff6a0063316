"""The rollouts as the stages read them: parquet files of one schema, addressed by a global row number.

Row numbers run from 0 over all files in order; a stage asks for ranges of them and of columns, and gets record
batches of a few megabytes. Nothing is read whole: a row group larger than `STREAMED_GROUP` bytes is decoded
page by page.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer import jsonl, storage
from analyzer.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_BYTES = 4 << 20
BATCH_ROWS = 8192
STREAMED_GROUP = 64 << 20
_OPEN_FILES = 64


class InputFile(NamedTuple):
    """One parquet file and the shape of its row groups."""

    path: str
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]  # uncompressed bytes of all columns
    size: int  # of the file, bytes
    mark: str  # changes when the file is written again
    name: str  # the file as the user has it: the path, or the jsonl file that it was made from

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.group_rows)


class Dataset(NamedTuple):
    """Parquet files of one schema, in order."""

    files: tuple[InputFile, ...]
    schema: pa.Schema

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Uncompressed bytes in all files."""
        return sum(sum(file.group_bytes) for file in self.files)


class Block(NamedTuple):
    """Row groups of one file that are decoded together: one, or a run of tiny ones."""

    path: str
    groups: range
    start: int  # first global row
    rows: int
    bytes: int  # uncompressed, all columns


def describe(path: str, name: str | None = None) -> tuple[InputFile, pa.Schema]:
    """Read a parquet footer; `name`: what the user calls the file.

    Raises InputError when the file is empty, truncated or not parquet.
    """
    size, mark = storage.stat(path)
    file = open_parquet(path)
    meta = file.metadata
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    rows, sizes = tuple(g.num_rows for g in groups), tuple(g.total_byte_size for g in groups)
    return InputFile(path, rows, sizes, size, mark, name or path), file.schema_arrow


def still_same(file: InputFile) -> None:
    """Raise InputError when a file was changed or removed since it was described."""
    storage.still_same(file.path, file.size, file.mark)


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a parquet file. Raises InputError when it is empty, truncated or not parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if storage.stat(path)[0] == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        source = storage.open_binary(path) if storage.is_remote(path) else pa.OSFile(storage.local(path))
        return pq.ParquetFile(source, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable parquet file ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def ranges_with_nulls(files: Sequence[InputFile], leaf: str) -> list[tuple[int, int]]:
    """Global row ranges of the row groups whose statistics tell of nulls in a column (a.b: member b of struct a)."""
    found: list[tuple[int, int]] = []
    start = 0
    for file in files:
        meta = open_parquet(file.path).metadata
        for number, rows in enumerate(file.group_rows):
            group = meta.row_group(number)
            columns = (group.column(i) for i in range(group.num_columns))
            if any(c.path_in_schema == leaf and c.statistics and c.statistics.null_count for c in columns):
                found.append((start, start + rows))
            start += rows
    return found


class _OpenFiles(threading.local):
    """Open files of this thread, so that a footer is parsed once per worker and not once per shard."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, bool], Any] = {}

    def get(self, path: str, streamed: bool) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        key = (path, streamed)
        if key not in self.files:
            while len(self.files) >= _OPEN_FILES:
                self.files.pop(next(iter(self.files))).close(force=True)
            file = open_parquet(path)
            if streamed:
                source = storage.open_binary(path)
                file = pq.ParquetFile(
                    source, metadata=file.metadata, buffer_size=1 << 20, page_checksum_verification=True
                )
            self.files[key] = file
        return self.files[key]


_open_files = _OpenFiles()


def close_files() -> None:
    """Close what this thread holds open: a file of that name may be another one by the next run."""
    for file in _open_files.files.values():
        file.close(force=True)
    _open_files.files.clear()


def blocks(files: Sequence[InputFile]) -> list[Block]:
    """All row groups in order, tiny neighbours of a file joined up to BATCH_BYTES."""
    found: list[Block] = []
    start = 0
    for file in files:
        joinable = False
        for group, (rows, size) in enumerate(zip(file.group_rows, file.group_bytes, strict=True)):
            if rows == 0:
                continue
            if joinable and found[-1].bytes + size <= BATCH_BYTES:
                last = found.pop()
                found.append(
                    Block(
                        file.path, range(last.groups.start, group + 1), last.start, last.rows + rows, last.bytes + size
                    )
                )
            else:
                found.append(Block(file.path, range(group, group + 1), start, rows, size))
            joinable = True
            start += rows
    return found


class Reader:
    """Reads row ranges of parquet files, some columns of them; `threads`: with arrow's threads."""

    def __init__(self, files: Sequence[InputFile], columns: Sequence[str] | None, threads: bool = False) -> None:
        self.columns = list(columns) if columns is not None else None
        self.threads = threads
        self.files = tuple(files)
        self.blocks = blocks(files)
        self.starts = [block.start for block in self.blocks]
        self.stop = sum(file.rows for file in files)

    def batches(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first global row, batch) over ascending, disjoint [start, stop) ranges. Raises InputError."""
        for block, wanted in self._by_block(ranges):
            yield from self._cut(block, wanted)

    def files_of(self, ranges: Sequence[tuple[int, int]]) -> list[InputFile]:
        """The files that these ranges lie in."""
        paths = {block.path for block, _ in self._by_block(ranges)}
        return [file for file in self.files if file.path in paths]

    def all(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first global row, batch) over everything."""
        return self.batches([(0, self.stop)])

    def _by_block(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[Block, list[tuple[int, int]]]]:
        current, wanted = -1, list[tuple[int, int]]()
        for start, stop in ranges:
            index = bisect.bisect_right(self.starts, start) - 1
            while index < len(self.blocks) and self.blocks[index].start < stop:
                block = self.blocks[index]
                piece = (max(start, block.start), min(stop, block.start + block.rows))
                if piece[0] < piece[1]:
                    if index != current and wanted:
                        yield self.blocks[current], wanted
                        wanted = []
                    current = index
                    wanted.append(piece)
                index += 1
        if wanted:
            yield self.blocks[current], wanted

    def _cut(self, block: Block, wanted: list[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        position = 0
        for first, batch in self._decode(block):
            last = first + batch.num_rows
            while position < len(wanted) and wanted[position][0] < last:
                start, stop = wanted[position]
                low, high = max(start, first), min(stop, last)
                if low < high:
                    yield low, batch.slice(low - first, high - low)
                if stop > last:
                    break
                position += 1
            if position == len(wanted):
                return

    def _decode(self, block: Block) -> Iterator[tuple[int, pa.RecordBatch]]:
        import pyarrow as pa

        row = block.start
        try:
            file = _open_files.get(block.path, block.bytes > STREAMED_GROUP)
            for batch in file.iter_batches(
                batch_size=batch_rows(block),
                row_groups=list(block.groups),
                columns=self.columns,
                use_threads=self.threads,
            ):
                if self.columns is not None:  # their text will be looked at; what is only copied need not be UTF-8
                    batch.validate(full=True)
                yield row, batch
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            where = f"{block.path}: row group {block.groups.start}"
            raise InputError(f"{where} is damaged ({_first_line(error)})") from None


def is_text(kind: pa.DataType) -> bool:
    """Whether an arrow type holds strings, plain or dictionary-encoded."""
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def batch_rows(block: Block) -> int:
    """Rows of a batch of about BATCH_BYTES, by the average row of its block."""
    return max(16, min(BATCH_ROWS, BATCH_BYTES * max(block.rows, 1) // max(block.bytes, 1)))


def locate(files: Sequence[InputFile], row: int) -> str:
    """A global row number as a person finds it: the file, and the row in it (from 0) or its line (from 1)."""
    ends = list(accumulate(file.rows for file in files))
    index = bisect.bisect_right(ends, row)
    file, at = files[index], row - (ends[index - 1] if index else 0)
    if file.name.endswith(storage.JSONL_SUFFIXES):
        return f"{file.name}, line {jsonl.line_of(file.name, at)}"
    return f"{file.name}, row {at} (counted from 0)"
