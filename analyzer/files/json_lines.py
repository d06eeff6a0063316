"""jsonl from Arrow, one JSON object a line: dates and decimals are text, NaN and infinite numbers null.

JSON has no number for those two, and what reads the file would refuse Python's own spelling of them. They are counted,
so that the user learns which column lost something; parquet keeps them.
"""

from __future__ import annotations

from collections import Counter
from typing import IO, TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pyarrow as pa


class JsonLines:
    """A new local file. Raises FileExistsError."""

    def __init__(self, path: str) -> None:
        self.rows = 0
        self.lost = Counter[str]()  # column -> NaN and infinite numbers in it
        self._file: IO[bytes] = open(path, "xb")  # noqa: SIM115  # closed by close

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Append rows. Raises OSError."""
        self.rows += table.num_rows
        for name, column in zip(table.schema.names, table.columns, strict=True):
            if "float" in str(column.type) or "double" in str(column.type):
                self.lost[name] += _not_finite(column)
        self._file.writelines(orjson.dumps(row, default=str) + b"\n" for row in table.to_pylist())

    def close(self) -> None:
        """Write what is held and close the file."""
        self._file.close()


def lost_note(lost: Counter[str], advice: str) -> str:
    """One sentence on the numbers that became null; empty where there are none."""
    if not +lost:
        return ""
    columns = ", ".join(f"{name!r} ({number:,})" for name, number in (+lost).items())
    return f"NaN and infinite numbers in {columns} were written as null, since JSON cannot hold them; {advice}"


def _not_finite(column: Any) -> int:
    """NaN and infinite numbers in an Arrow column, at any depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(column, pa.ChunkedArray):
        return sum(map(_not_finite, column.chunks))
    if pa.types.is_floating(kind):
        values = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        return int(pc.sum(pc.invert(pc.is_finite(values))).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_not_finite, column.flatten()))
    if pa.types.is_dictionary(kind):
        return _not_finite(column.dictionary_decode())
    if pa.types.is_map(kind):  # `keys` and `items` of a slice are those of the whole
        start, stop = (column.offsets[at].as_py() for at in (0, -1))
        return sum(_not_finite(part.slice(start, stop - start)) for part in (column.keys, column.items))
    return _not_finite(column.flatten()) if pa.types.is_nested(kind) else 0
