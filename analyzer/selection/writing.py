"""writing: the chosen rows of problems.parquet, read once, to one or several files in their order and format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from analyzer.errors import ConfigError
from analyzer.files.json_lines import JsonLines
from analyzer.files.spool import Spool
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.grouped import GroupedParquet
from analyzer.schema import MADE, METRIC
from analyzer.selection.analysis import Analysis
from analyzer.selection.formats._responses import WEIGHT

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.schema import FloatArray, IntArray

JSONL = ".jsonl"
_TAKEN_AT_ONCE = 4096

Convert = Callable[["pa.Table", "IntArray"], "pa.Table"]
"""Rows of problems.parquet, and their numbers, as rows of the file."""


class Sink(Protocol):
    """A file that is written table by table."""

    rows: int
    lost: Counter[str]  # column -> numbers that the file cannot hold

    def write(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is held and close the file."""


def open_sink(path: str, schema: pa.Schema) -> Sink:
    """A new local file of the type that its ending says. Raises ConfigError where the type cannot hold the schema."""
    # Refused here, before the file is made: orjson has no bytes, and default=str would write them as Python spells
    # them.
    if not path.endswith(JSONL):
        return _Parquet(path, schema)
    for field in schema:
        if "binary" in str(field.type):
            raise ConfigError(f"the column {field.name!r} holds bytes, which jsonl cannot: end --output in .parquet")
    return JsonLines(path)


class _Parquet:
    """A parquet file whose schema is that of the first table."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.rows = 0
        self.lost = Counter[str]()  # none
        self._schema = schema
        self._file = GroupedParquet(path, schema)

    def write(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        same = table.cast(self._schema) if table.schema != self._schema else table
        self._file.add(same.replace_schema_metadata(self._schema.metadata))

    def close(self) -> None:
        self._file.close()


class Target:
    """A file to write: which rows, in which order, and what becomes of them."""

    def __init__(self, path: str, rows: IntArray, schema: pa.Schema, convert: Convert, folder: str) -> None:
        """`schema` is that of problems.parquet with the weight, where there is one; `folder` for a temporary file."""
        import pyarrow as pa

        self._rows = rows
        self._ascending = np.sort(rows)
        self._convert = convert
        # The columns of the output are those that converting no rows gives: no second list of them that could differ.
        empty = convert(pa.Table.from_batches([], schema), np.zeros(0, np.int64))
        self.sink = open_sink(path, unmarked(empty.schema))
        # In ascending order rows can be written as they pass; any other order needs all of them first, on disk.
        self._spool = None if (np.diff(rows) > 0).all() else Spool(schema, folder)

    def see(self, table: pa.Table, first: int) -> None:
        """Take what is wanted of some rows of problems.parquet, the first of which has this number."""
        import pyarrow as pa

        # Both are ascending, so what this batch holds of the wanted rows is one slice.
        low, high = np.searchsorted(self._ascending, [first, first + table.num_rows])
        if low == high:
            return
        wanted = self._ascending[low:high]
        taken = table.take(pa.array(wanted - first))
        if self._spool is None:
            self._write(taken, wanted)
        else:
            for batch in taken.combine_chunks().to_batches():
                self._spool.add(batch)

    def finish(self) -> None:
        """Write what waited for its turn."""
        if self._spool is not None:
            self._spool.finish()
            # The spool is in ascending order of rows: a row's place there is its rank among the wanted.
            places = np.searchsorted(self._ascending, self._rows)
            for start in range(0, len(places), _TAKEN_AT_ONCE):
                part = slice(start, start + _TAKEN_AT_ONCE)
                self._write(self._spool.take(places[part]), self._rows[part])

    def close(self) -> None:
        """Close the file and remove what was temporary."""
        if self._spool is not None:
            self._spool.__exit__(None, None, None)
        self.sink.close()

    def _write(self, table: pa.Table, rows: IntArray) -> None:
        import pyarrow as pa

        made = self._convert(table, rows)
        # The same schema for each part, without our marks: the file was opened with it.
        self.sink.write(pa.Table.from_arrays(made.columns, schema=unmarked(made.schema)))


def write_rows(analysis: Analysis, targets: Iterable[Target], weights: FloatArray | None) -> None:
    """Fill every target in one pass over problems.parquet, and close them. Raises StorageError."""
    targets = list(targets)
    try:
        for first, table in _tables(analysis, weights):
            for target in targets:
                target.see(table, first)
        for target in targets:
            target.finish()
    finally:
        for target in targets:
            target.close()


def _tables(analysis: Analysis, weights: FloatArray | None) -> Iterator[tuple[int, pa.Table]]:
    import pyarrow as pa

    for first, batch in Reader(analysis.problems.files, None, threads=True).batches([(0, analysis.problems.rows)]):
        table = pa.Table.from_batches([batch])
        if weights is not None:
            values = pa.array(weights[first : first + batch.num_rows], from_pandas=True)
            table = table.append_column(weight_field(), values)
        yield first, table


def weight_field() -> pa.Field:
    """The column of --weights."""
    import pyarrow as pa

    return pa.field(WEIGHT, pa.float64(), metadata={MADE: METRIC})


def unmarked(schema: pa.Schema) -> pa.Schema:
    """The schema without this program's marks on its fields: they mean nothing outside of an analysis."""
    import pyarrow as pa

    def unmarked_field(field: pa.Field) -> pa.Field:
        rest = {key: value for key, value in (field.metadata or {}).items() if key != MADE}
        return field.with_metadata(rest or None)

    return pa.schema([unmarked_field(field) for field in schema], schema.metadata)


def described(path: str) -> dict[str, Any]:
    """Bytes and sha256 of a written file, for the manifest."""
    import hashlib

    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}
