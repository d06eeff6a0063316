"""JSON lines into parquet, without guessing: what a value is in the text is what it is in the table.

Two passes over the lines: the first finds each column's type as the union over all lines, the second writes
parquet of that schema. No string is ever turned into a date or a number. Where lines disagree (a string here, a
number there) the column holds JSON text and its field says so in its metadata (`JSON_FIELD`).
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import InputError
from analyzer.files import storage

if TYPE_CHECKING:
    import pyarrow as pa

JSON_FIELD = {b"analyzer.encoding": b"json"}
"""Metadata of a field whose strings are JSON texts because the lines disagree about its type."""

_REPLACED = b"analyzer.replaced"  # key in the metadata of a converted file

_CHUNK_BYTES = 16 << 20
_READ_BYTES = 1 << 18
_MAX_FIELDS = 512  # a struct of more keys is a mapping, kept as JSON text
_MAX_TYPED = 16  # levels that become columns of columns; what is nested deeper is kept as JSON text
MAX_DEPTH = 100  # levels of a line that are read at all
_EXACT_INT = 1 << 53  # an integer up to this is the same number as a double
_INT64 = 1 << 63
_LONG_DIGITS = re.compile(rb"[0-9]{19}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"
_JSON_WORDS = {list: "list", str: "string", int: "number", float: "number", bool: "truth value", type(None): "null"}


class BigInteger(str):
    """An integer too large for 64 bits, as its digits."""

    __slots__ = ()


_JSON_WORDS[BigInteger] = "number"


# ---------------------------------------------------------------- lines


class Line(NamedTuple):
    """One line of a file that is not blank."""

    number: int  # from 1
    row: dict[str, Any]
    bytes: int  # of its text
    replaced: int  # lone surrogates in it, each now U+FFFD


def read_lines(path: str) -> Iterator[Line]:
    """The lines of a file that are not blank, parsed. Raises InputError with file and line."""
    for number, line in _raw_lines(path):
        value, replaced = _parse(line, f"{path}, line {number}")
        yield Line(number, value, len(line), replaced)


def line_of(path: str, row: int) -> int:
    """The line, from 1, that the row (from 0) of a file is in: blank lines hold no row."""
    return next(number for at, (number, _) in enumerate(_raw_lines(path)) if at == row)


def _raw_lines(path: str) -> Iterator[tuple[int, bytes]]:
    import pyarrow as pa

    number = 0
    try:
        with storage.open_binary(path) as raw, _decompressed(raw, path) as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(_BOM) if number == 1 else line
                if text.strip():
                    yield number, text
    except (OSError, pa.ArrowException) as error:
        where = f"after line {number}" if number else "from its start"
        raise InputError(f"{path}: cannot be read {where} ({error}); is the file whole?") from None


def _decompressed(raw: IO[bytes], path: str) -> IO[bytes]:
    """arrow's streams rather than those of gzip and zstandard: the latter takes a cut file for a whole one."""
    import pyarrow as pa

    for suffix, codec in ((".gz", "gzip"), (".zst", "zstd")):
        if path.endswith(suffix):
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec), _READ_BYTES)
    return raw


def _parse(line: bytes, where: str) -> tuple[dict[str, Any], int]:
    try:
        value, replaced = _load(line)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not valid JSON ({error.msg}, column {error.colno}); each line must be one whole JSON object"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: not valid JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: each line must be one JSON object, this one is a {_JSON_WORDS[type(value)]}")
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and is_deeper(value):
        raise InputError(f"{where}: nested too deeply (more than {MAX_DEPTH} levels)")
    return value, replaced


def load_json(text: str) -> Any:
    """The value of a JSON text, read as lines are: a large integer keeps its digits, NaN is taken.

    Raises ValueError or RecursionError for what is no JSON.
    """
    return _load(text.encode())[0]


def _load(data: bytes) -> tuple[Any, int]:
    """The value, and how many lone surrogates were replaced in it."""
    try:
        if not _LONG_DIGITS.search(data):
            return orjson.loads(data), 0
    except orjson.JSONDecodeError:
        pass  # NaN, a lone surrogate: the slow reader takes them; it also has the last word on what is wrong
    text = data.decode("utf-8")
    value = json.loads(text, parse_int=_integer)
    return _without_surrogates(value) if "\\u" in text else (value, 0)


def _integer(digits: str) -> int | BigInteger:
    if len(digits) > 19 + digits.startswith("-"):
        return BigInteger(digits)
    value = int(digits)
    return value if -_INT64 <= value < _INT64 else BigInteger(digits)


def _without_surrogates(value: Any) -> tuple[Any, int]:
    if type(value) is str:
        return _SURROGATE.subn("\ufffd", value)
    if isinstance(value, dict):
        keys, values = list(map(_without_surrogates, value)), list(map(_without_surrogates, value.values()))
        pairs = zip(keys, values, strict=True)
        return {key: inner for (key, _), (inner, _) in pairs}, sum(n for _, n in keys) + sum(n for _, n in values)
    if isinstance(value, list):
        values = list(map(_without_surrogates, value))
        return [inner for inner, _ in values], sum(n for _, n in values)
    return value, 0


def is_deeper(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and dicts are nested in each other more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in inner)


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


def kind_of(value: Any, level: int = 0) -> Kind:
    """The kind of one parsed JSON value, `level` deep in a row."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar
    if isinstance(value, int):
        return Kind("int" if -_EXACT_INT <= value <= _EXACT_INT else "wide")
    if level > _MAX_TYPED:
        return JSON
    if isinstance(value, list):
        item = NULL
        for inner in value:
            item = union(item, kind_of(inner, level + 1))
        return Kind("list", item)
    if not value or len(value) > _MAX_FIELDS:  # parquet has no empty struct
        return JSON
    return Kind("struct", None, tuple((key, kind_of(inner, level + 1)) for key, inner in value.items()))


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
    fields = union_of_columns(row for path in paths for row in _rows(path))
    schema = columns_to_arrow([], fields).schema
    written = []
    for number, path in enumerate(paths):
        target = os.path.join(folder, f"part-{number:05d}.parquet")
        with storage.storage_errors(target):
            _convert(path, target, fields, schema)
        written.append(target)
    return written


def _rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a file. Raises InputError where there are none."""
    line = None
    for line in read_lines(path):
        yield line.row
    if line is None:
        raise InputError(f"{path}: the file is empty")


def _convert(path: str, target: str, fields: dict[str, Kind], schema: pa.Schema) -> None:
    import pyarrow.parquet as pq

    replaced = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for lines in _chunks(path):
            writer.write_batch(columns_to_arrow([line.row for line in lines], fields))
            replaced += sum(line.replaced for line in lines)
        writer.add_key_value_metadata({_REPLACED: str(replaced).encode()})


def replaced_in(path: str) -> int:
    """The lone surrogates that became U+FFFD when this parquet file was made from jsonl."""
    import pyarrow.parquet as pq

    return int((pq.read_metadata(path).metadata or {}).get(_REPLACED, 0))


def _chunks(path: str) -> Iterator[list[Line]]:
    lines: list[Line] = []
    size = 0
    for line in read_lines(path):
        lines.append(line)
        size += line.bytes
        if size >= _CHUNK_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines
