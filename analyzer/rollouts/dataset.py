"""The rollouts as the stages read them: parquet files of one schema, addressed by a global row number.

Row numbers run from 0 over all files in order; a stage asks for ranges of them and of columns, and gets record
batches of a few megabytes. Nothing is read whole: a row group larger than `STREAMED_GROUP` bytes is decoded
page by page.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.errors import InputError
from analyzer.files import inputs, storage
from analyzer.rollouts import footers, json_columns, jsonl, types
from analyzer.schema import DATA_SOURCE, FINISH_REASON

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

# Several batches are alive in a worker at once: one that is decoded, those that wait for a window to fill.
BATCH_BYTES = 4 << 20
BATCH_ROWS = 8192
NARROW_ROWS = 1 << 17
_LABELS = (DATA_SOURCE, FINISH_REASON)  # columns of texts of which a few are there again and again
# Pre-buffering fetches all of a row group before its first row comes out. Writers that never flush make one row group
# of a whole file, which would be all of a worker's memory.
STREAMED_GROUP = 64 << 20
# An input may be thousands of files, and 1,024 descriptors are the usual limit of a process.
_OPEN_FILES = 64


class Block(NamedTuple):
    """Row groups of one file that are decoded together: one, or a run of tiny ones."""

    group: int  # number of the first one in the file
    groups: int
    rows: int
    bytes: int  # uncompressed, all columns
    start: int  # where the file's footer describes them, as a position in the file
    stop: int


class Footer(NamedTuple):
    """Where the footer of a file is around its row groups, as positions in the file."""

    start: int
    head: int  # what precedes the row groups ends here
    tail: int  # what follows them starts here
    stop: int


class InputFile(NamedTuple):
    """One parquet file and the shape of its row groups."""

    path: str
    name: str  # the file as the user has it: the path, or the jsonl file that it was made from
    size: int  # of the file, bytes
    mark: str  # changes when the file is written again
    rows: int
    largest_group: int  # uncompressed bytes
    footer: Footer
    blocks: tuple[Block, ...]
    read_as: str = ""  # the schema of the input where this file's is another, serialized as base64; "": its own

    @property
    def bytes(self) -> int:
        """Uncompressed bytes of all columns."""
        return sum(block.bytes for block in self.blocks)


class Dataset(NamedTuple):
    """Parquet files of one schema, in order."""

    files: tuple[InputFile, ...]
    schema: pa.Schema  # the shown form

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Uncompressed bytes in all files."""
        return sum(file.bytes for file in self.files)


def describe(path: str, name: str | None = None) -> tuple[InputFile, pa.Schema]:
    """Read a parquet footer; `name`: what the user calls the file.

    Raises InputError when the file is empty, truncated or not parquet.
    """
    file, source = _opened(path, name)
    with _readable(path):
        return file, _OpenFile(source, file).schema()


def describe_all(
    paths: Sequence[str], names: Sequence[str] | None = None, dropped: frozenset[str] = frozenset()
) -> tuple[tuple[InputFile, ...], pa.Schema]:
    """The files of one input, in order, and the schema that they are read in; `dropped`: columns that are not.

    Raises InputError as `describe` does, and for the first file that has other columns or values of another type.
    """
    import pyarrow as pa

    described = [describe(path, name) for path, name in zip(paths, names or paths, strict=True)]
    schemas = [
        pa.schema([field for field in schema if field.name not in dropped], schema.metadata) for _, schema in described
    ]
    common = types.common_schema(schemas)
    if isinstance(common, types.Difference):
        raise InputError(
            f"{described[common.file][0].name}: its columns differ from those of {described[0][0].name}: "
            f"{common.sentence}; all files must have the same columns, with values of one type"
        )
    read_as = base64.b64encode(common.serialize()).decode()
    files = [
        file if schema.equals(common) else file._replace(read_as=read_as)
        for (file, _), schema in zip(described, schemas, strict=True)
    ]
    return tuple(files), common


def file_at(path: str) -> InputFile:
    """A parquet file as `describe` does, without the schema."""
    file, source = _opened(path, None)
    source.close()
    return file


def _opened(path: str, name: str | None) -> tuple[InputFile, Any]:
    size, mark = inputs.stat(path)
    if size == 0:
        raise InputError(f"{path}: the file is empty")
    with _readable(path):
        source = _open_source(path)
        stop = size - footers.TRAILER
        length = footers.length(_read(source, max(stop, 0), size), size)
        layout = footers.layout(_read(source, stop - length, stop))
        at = stop - length
        groups = layout.groups
        file = InputFile(
            path,
            name or path,
            size,
            mark,
            sum(group.rows for group in groups),
            max((group.bytes for group in groups), default=0),
            Footer(at, at + layout.head, at + layout.tail, stop),
            join_groups(groups, at),
        )
        return file, source


def file_from(fields: Sequence[Any]) -> InputFile:
    """An InputFile from its fields as they come out of JSON."""
    file = InputFile(*fields)
    return file._replace(footer=Footer(*file.footer), blocks=tuple(Block(*block) for block in file.blocks))


def schema_of(file: InputFile) -> pa.Schema:
    """The columns of a file that was described before, in their held form. Raises InputError."""
    with _readable(file.path):
        opened = _open_files.get(file)
        return opened.read_as or opened.schema()


def join_groups(groups: Sequence[footers.RowGroup], offset: int = 0) -> tuple[Block, ...]:
    """The row groups of a file in order, tiny neighbours joined up to BATCH_BYTES.

    `offset`: added to where they are described.
    """
    found: list[Block] = []
    for number, (rows, size, start, stop) in enumerate(groups):
        # An empty row group has no row to number. Between two that are joined it still counts, for their descriptions
        # in the footer are taken as one piece.
        if rows == 0:
            continue
        last = found[-1] if found else None
        if last is not None and last.bytes + size <= BATCH_BYTES:
            joined = number + 1 - last.group  # with empty ones in between
            found[-1] = Block(last.group, joined, last.rows + rows, last.bytes + size, last.start, offset + stop)
        else:
            found.append(Block(number, 1, rows, size, offset + start, offset + stop))
    return tuple(found)


def still_same(file: InputFile) -> None:
    """Raise InputError when a file was changed or removed since it was described."""
    inputs.still_same(file.path, file.size, file.mark)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn what a damaged footer makes of itself into an InputError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        storage.check_of_the_file(error, path)
        raise InputError(f"{path}: not a readable parquet file ({_first_line(error)})") from None


def _open_source(path: str) -> Any:
    import pyarrow as pa

    return inputs.open_binary(path) if storage.is_remote(path) else pa.OSFile(storage.local(path))


def _read(source: Any, start: int, stop: int) -> bytes:
    source.seek(start)
    return bytes(source.read(stop - start))


def _schema_from(text: str) -> pa.Schema:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def ranges_with_nulls(files: Sequence[InputFile], leaf: str) -> list[tuple[int, int]]:
    """Global row ranges of the row groups whose statistics count nulls in a column (a.b: member b of struct a)."""
    found: list[tuple[int, int]] = []
    start = 0
    for file in files:
        for block in file.blocks:
            with _readable(file.path):
                meta = _open_files.get(file).metadata(block)
            # meta.schema would make a cycle with meta, and keep it in memory until the garbage is collected.
            columns = [i for i in range(meta.num_columns) if meta.row_group(0).column(i).path_in_schema == leaf]
            for number in range(meta.num_row_groups):
                group = meta.row_group(number)
                statistics = [group.column(i).statistics for i in columns]
                if any(known is not None and known.null_count for known in statistics):
                    found.append((start, start + group.num_rows))
                start += group.num_rows
    return found


class _OpenFile:
    """An open file. Of its footer no more is held than what all parts have in common."""

    def __init__(self, source: Any, file: InputFile) -> None:
        self._source = source
        self._head = _read(source, file.footer.start, file.footer.head)
        self._tail = _read(source, file.footer.tail, file.footer.stop)
        self.read_as: pa.Schema | None = _schema_from(file.read_as) if file.read_as else None

    def schema(self) -> pa.Schema:
        """The columns as arrow has them."""
        import pyarrow.parquet as pq

        meta = footers.metadata(self._head, 0, b"", self._tail)
        return types.usual_schema(pq.ParquetFile(self._source, metadata=meta).schema_arrow)

    def metadata(self, block: Block) -> pq.FileMetaData:
        """The metadata of the row groups of a block."""
        described = _read(self._source, block.start, block.stop)
        return footers.metadata(self._head, block.groups, described, self._tail)

    def open(self, block: Block, encoded: Sequence[str] = ()) -> pq.ParquetFile:
        """A file of the row groups of a block; of a large one pages are read as they are needed.

        encoded: columns that come as dictionaries where they are texts.
        """
        import pyarrow.parquet as pq

        streamed = block.bytes > STREAMED_GROUP
        metadata = self.metadata(block)
        if encoded:  # of a column that has parts arrow does not know the name
            group = metadata.row_group(0)
            names = {group.column(number).path_in_schema for number in range(group.num_columns)}
            encoded = [name for name in encoded if name in names]
        return pq.ParquetFile(
            self._source,
            metadata=metadata,
            read_dictionary=list(encoded),
            buffer_size=1 << 20 if streamed else 0,
            pre_buffer=not streamed,
            page_checksum_verification=True,
        )

    def close(self) -> None:
        """Close the file."""
        self._source.close()


# For each thread, because reading a footer moves the position of the open file.
class _OpenFiles(threading.local):
    """The files that this thread has open."""

    def __init__(self) -> None:
        self.files: dict[str, _OpenFile] = {}

    def get(self, file: InputFile) -> _OpenFile:
        if file.path not in self.files:
            # The one opened first goes: a dict keeps that order, and rows are read in the order of the files.
            while len(self.files) >= _OPEN_FILES:
                self.files.pop(next(iter(self.files))).close()
            self.files[file.path] = _OpenFile(_open_source(file.path), file)
        return self.files[file.path]


_open_files = _OpenFiles()


def close_files() -> None:
    """Close what this thread holds open: a file of that name may be another one by the next run."""
    for file in _open_files.files.values():
        file.close()
    _open_files.files.clear()


class Reader:
    """Reads row ranges of parquet files, some columns of them; `threads`: with arrow's threads, where there are cores.

    `held`: columns whose lines disagreed come in their held form, which `json_columns.decode` reads, for those who must
    have each value as its line had it. All others get the shown form, that of Dataset.schema. `checked`: texts are
    proven to be UTF-8, which what is only copied need not be. `narrow`: columns of a few bytes a row come in batches of
    up to NARROW_ROWS, since what is done for each batch takes longer than its rows, and labels as dictionaries, in half
    of the time; others in batches of about `batch_bytes`.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        columns: Sequence[str] | None,
        *,
        threads: bool = False,
        held: bool = False,
        checked: bool = True,
        narrow: bool = False,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        import pyarrow as pa

        self.columns = list(columns) if columns is not None else None
        self._checked = checked and columns is not None
        self._narrow, self._batch_bytes = narrow, batch_bytes
        self._encoded = [name for name in self.columns or () if narrow and name in _LABELS]
        # On one core they take a sixth more CPU time for the same.
        self.threads = threads and pa.cpu_count() > 1
        self._held = held
        self._files = tuple(files)
        self.blocks = [block for file in files for block in file.blocks]
        self._file = np.repeat(np.arange(len(files)), [len(file.blocks) for file in files])
        self._edges = edges(files)

    def batches(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first global row, batch) over ascending, disjoint [start, stop) ranges. Raises InputError."""
        for index, wanted in self._by_block(ranges):
            yield from self._cut(index, wanted)

    def files_of(self, ranges: Sequence[tuple[int, int]]) -> list[InputFile]:
        """The files that these ranges lie in."""
        return [self._files[i] for i in sorted({int(self._file[index]) for index, _ in self._by_block(ranges)})]

    def all(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first global row, batch) over everything."""
        return self.batches([(0, int(self._edges[-1]))])

    def _by_block(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        # A shard may be many short ranges. Those in the same block are gathered, so that a block is decoded once.
        current, wanted = -1, list[tuple[int, int]]()
        for start, stop in ranges:
            # side="right": a row on an edge is the first of the block that begins there, not of the one that ends.
            index = int(np.searchsorted(self._edges, start, side="right")) - 1
            while index < len(self.blocks) and self._edges[index] < stop:
                piece = (max(start, int(self._edges[index])), min(stop, int(self._edges[index + 1])))
                if piece[0] < piece[1]:
                    if index != current and wanted:
                        yield current, wanted
                        wanted = []
                    current = index
                    wanted.append(piece)
                index += 1
        if wanted:
            yield current, wanted

    def _cut(self, index: int, wanted: list[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        position = 0
        for first, batch in self._decode(index, wanted[0][0], wanted[-1][1]):
            last = first + batch.num_rows
            while position < len(wanted) and wanted[position][0] < last:
                start, stop = wanted[position]
                low, high = max(start, first), min(stop, last)
                if low < high:
                    yield low, batch.slice(low - first, high - low)
                # The range goes on in the next batch of this block, and so it is not stepped over.
                if stop > last:
                    break
                position += 1
            if position == len(wanted):
                return

    def _decode(self, index: int, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of a block that hold all rows from `start` to `stop`, and few others."""
        import pyarrow as pa

        block, source = self.blocks[index], self._files[self._file[index]]
        try:
            opened = _open_files.get(source)
            file = opened.open(block, self._encoded)
            meta = file.metadata
            sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
            ends = int(self._edges[index]) + np.cumsum(sizes)
            # arrow skips whole row groups only, so batches start at the group that holds `start`, not at `start`.
            low, high = np.searchsorted(ends, [start, stop - 1], side="right")
            row = int(ends[low]) - sizes[low]
            for batch in file.iter_batches(
                batch_size=NARROW_ROWS if self._narrow else batch_rows(block, self._batch_bytes),
                row_groups=list(range(low, high + 1)),
                columns=self.columns,
                use_threads=self.threads,
            ):
                if self._checked:
                    batch.validate(full=True)
                usual = types.usual_batch(batch)
                if opened.read_as is not None:
                    usual = types.as_schema(usual, opened.read_as)
                yield row, usual if self._held else json_columns.shown_batch(usual)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            still_same(source)  # one that was removed or written again is not damaged
            if "Failed to launch worker thread" in str(error):  # nor is one that arrow found no thread for
                raise RuntimeError("can't start new thread") from None
            storage.check_of_the_file(error, source.path)
            where = f"{source.path}: row group {block.group}"
            raise InputError(f"{where} is damaged ({_first_line(error)})") from None


def edges(files: Sequence[InputFile]) -> NDArray[np.int64]:
    """(blocks + 1,) the first global row of each block of these files, and the number of rows."""
    rows = [block.rows for file in files for block in file.blocks]
    return np.append(0, np.cumsum(rows, dtype=np.int64))


def is_text(kind: pa.DataType) -> bool:
    """Whether an arrow type holds strings, plain or dictionary-encoded."""
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def batch_rows(block: Block, size: int) -> int:
    """Rows of a batch of about `size` bytes, by the average row of its block."""
    # At least 16: where rows have megabytes each, a batch a row costs more than the memory that it saves.
    return max(16, min(BATCH_ROWS, size * max(block.rows, 1) // max(block.bytes, 1)))


def locate(files: Sequence[InputFile], row: int) -> str:
    """A global row number as a person finds it: the file, and the row in it (from 0) or its line (from 1)."""
    ends = list(accumulate(file.rows for file in files))
    index = bisect.bisect_right(ends, row)
    file, at = files[index], row - (ends[index - 1] if index else 0)
    if file.name.endswith(inputs.JSONL_SUFFIXES):
        return f"{file.name}, line {jsonl.line_of(file.name, at)}"
    return f"{file.name}, row {at} (counted from 0)"
