"""JSON lines into parquet, without guessing: what a value is in the text is what it is in the table.

Two passes over the lines: the first finds each column's type as the union over all lines, the second writes
parquet of that schema. No string is ever turned into a date or a number. Where lines disagree (a string here, a
number there) the column holds JSON text and its field says so in its metadata (`JSON_FIELD`).
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer import storage
from analyzer.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

JSON_FIELD = {b"analyzer.encoding": b"json"}
"""Metadata of a field whose strings are JSON texts because the lines disagree about its type."""

_CHUNK_BYTES = 16 << 20
_MAX_FIELDS = 512  # a struct of more keys is a mapping, kept as JSON text
_EXACT_INT = 1 << 53  # an integer up to this is the same number as a double
_INT64 = 1 << 63
_LONG_DIGITS = re.compile(rb"[0-9]{19}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


class BigInteger(str):
    """An integer too large for 64 bits, as its digits."""

    __slots__ = ()


# ---------------------------------------------------------------- lines


def read_lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) for each line that is not blank. Raises InputError with file and line."""
    number = 0
    try:
        with _open_text(path) as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(_BOM) if number == 1 else raw
                if line.strip():
                    yield number, _parse(line, path, number)
    except (OSError, EOFError, zlib_error()) as error:
        raise InputError(f"{path}: cannot be read after line {number} ({error})") from None


def zlib_error() -> type[Exception]:
    """What a damaged .gz raises below gzip's own errors."""
    import zlib

    return zlib.error


def _open_text(path: str) -> IO[bytes]:
    raw = storage.open_binary(path)
    if path.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]  # a binary file in all but name
    if path.endswith(".zst"):
        import zstandard

        return io.BufferedReader(_Zstd(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)))
    return raw


class _Zstd(io.RawIOBase):
    """A zstd stream as a raw file; a damaged stream is an OSError like any other."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import zstandard

        try:
            return int(self._stream.readinto(buffer))
        except zstandard.ZstdError as error:
            raise OSError(f"damaged zstd data: {error}") from None


def _parse(line: bytes, path: str, number: int) -> dict[str, Any]:
    try:
        value = None if _LONG_DIGITS.search(line) else orjson.loads(line)
    except orjson.JSONDecodeError:
        value = None  # NaN, a lone surrogate: the slow reader takes them; it also has the last word on what is wrong
    if value is None:
        value = _parse_slowly(line, path, number)
    if not isinstance(value, dict):
        raise InputError(f"{path}, line {number}: not a JSON object but {type(value).__name__}")
    return value


def _parse_slowly(line: bytes, path: str, number: int) -> Any:
    try:
        text = line.decode("utf-8")
        value = json.loads(text, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{path}, line {number}: not valid JSON (nested too deeply)") from None
    return _without_surrogates(value) if "\\u" in text else value


def _integer(digits: str) -> int | BigInteger:
    if len(digits) > 19:
        return BigInteger(digits)
    value = int(digits)
    return value if -_INT64 <= value < _INT64 else BigInteger(digits)


def _without_surrogates(value: Any) -> Any:
    if type(value) is str:
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(inner) for inner in value]
    return value


# ---------------------------------------------------------------- types


class Kind(NamedTuple):
    """The type of a value or the union of many.

    `name` is null, bool, int, wide (an int past 2^53), big (past 64 bits), float, string, list, struct or json.
    """

    name: str
    item: Kind | None = None  # of a list
    fields: tuple[tuple[str, Kind], ...] = ()  # of a struct, in order of first appearance


NULL, JSON = Kind("null"), Kind("json")
_SCALARS = {bool: Kind("bool"), float: Kind("float"), str: Kind("string"), BigInteger: Kind("big"), type(None): NULL}
_WIDENS = {
    frozenset({"int", "wide"}): "wide",
    frozenset({"int", "float"}): "float",
    frozenset({"int", "big"}): "big",
    frozenset({"wide", "big"}): "big",
}


def kind_of(value: Any) -> Kind:
    """The kind of one parsed JSON value."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar
    if isinstance(value, int):
        return Kind("int" if -_EXACT_INT <= value <= _EXACT_INT else "wide")
    if isinstance(value, list):
        item = NULL
        for inner in value:
            item = union(item, kind_of(inner))
        return Kind("list", item)
    if not value or len(value) > _MAX_FIELDS:  # parquet has no empty struct
        return JSON
    return Kind("struct", None, tuple((key, kind_of(inner)) for key, inner in value.items()))


def union(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds both; JSON text where there is none."""
    if one == other or other is NULL:
        return one
    if one is NULL:
        return other
    if one.name == other.name == "list":
        return Kind("list", union(one.item or NULL, other.item or NULL))
    if one.name == other.name == "struct":
        fields = dict(one.fields)
        for key, kind in other.fields:
            fields[key] = union(fields.get(key, NULL), kind)
        return Kind("struct", None, tuple(fields.items())) if len(fields) <= _MAX_FIELDS else JSON
    if one.name == other.name:
        return one
    widened = _WIDENS.get(frozenset({one.name, other.name}))
    return Kind(widened) if widened else JSON


def arrow_field(name: str, kind: Kind) -> pa.Field:
    """The arrow field for a column or a struct's member of that kind."""
    import pyarrow as pa

    return pa.field(name, _arrow_type(kind), metadata=JSON_FIELD if kind.name == "json" else None)


def _arrow_type(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    if kind.name == "list":
        return pa.list_(arrow_field("element", kind.item or NULL))
    if kind.name == "struct":
        return pa.struct([arrow_field(key, inner) for key, inner in kind.fields])
    return {
        "null": pa.null(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "wide": pa.int64(),
        "float": pa.float64(),
    }.get(kind.name, pa.string())


def _plain(kind: Kind) -> bool:
    """Whether arrow takes the values of this kind as they are."""
    if kind.name == "list":
        return _plain(kind.item or NULL)
    return all(_plain(inner) for _, inner in kind.fields) and kind.name not in ("json", "big")


def _fit(value: Any, kind: Kind) -> Any:
    """A value as its column holds it."""
    if value is None:
        return None
    if kind.name == "json":
        return dump_json(value)
    if kind.name == "big":
        return str(value)
    if kind.name == "list":
        return [_fit(inner, kind.item or NULL) for inner in value]
    if kind.name == "struct":
        return {key: _fit(value.get(key), inner) for key, inner in kind.fields}
    return value


def dump_json(value: Any) -> str:
    """JSON text of a parsed value; a big integer gives its digits back, NaN stays NaN."""
    if isinstance(value, BigInteger):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{dump_json(key)}:{dump_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump_json, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return orjson.dumps(value).decode()


def columns_to_arrow(rows: list[dict[str, Any]], fields: dict[str, Kind]) -> pa.RecordBatch:
    """Rows (parsed objects) as a record batch with one column per field."""
    import pyarrow as pa

    arrays = []
    for name, kind in fields.items():
        values = [row.get(name) for row in rows]
        if not _plain(kind):
            values = [_fit(value, kind) for value in values]
        arrays.append(pa.array(values, type=_arrow_type(kind)))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([arrow_field(n, k) for n, k in fields.items()]))


# ---------------------------------------------------------------- conversion


def union_of_columns(rows: Iterable[dict[str, Any]]) -> dict[str, Kind]:
    """Column name -> kind over all rows, in order of first appearance."""
    fields: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            fields[name] = union(fields.get(name, NULL), kind_of(value))
    return fields


def convert(paths: list[str], folder: str) -> list[str]:
    """Write each jsonl file as a parquet file in `folder` (which exists); return their paths in order.

    Memory is bounded by a chunk of lines. Raises InputError with file and line for what cannot be read.
    """
    import pyarrow.parquet as pq

    fields = union_of_columns(row for path in paths for _, row in read_lines(path))
    schema = columns_to_arrow([], fields).schema
    written = []
    for number, path in enumerate(paths):
        target = os.path.join(folder, f"part-{number:05d}.parquet")
        with storage.storage_errors(target), pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for rows in _chunks(path):
                writer.write_batch(columns_to_arrow(rows, fields))
        written.append(target)
    return written


def _chunks(path: str) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for _, row in read_lines(path):
        rows.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str)) + 64
        if size >= _CHUNK_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
