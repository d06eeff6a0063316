"""JSON values as columns: one type for all values of a column, and no value changed by its neighbours.

What each line holds decides the type (`Observed`): numbers of one sort and texts are columns of that type, objects are
structs, arrays are lists. Where lines disagree a column has two forms:

    in the text           held while rewards are made       written to outputs, read by others
    "5", 5, ["a"]         "\"5\"", "5", "[\"a\"]"           "5", "5", "[\"a\"]"
    5, 2.5                5.0, 2.5, marked `whole`          the same
    5, 5.0, 2.5           "5", "5.0", "2.5"                 5.0, 5.0, 2.5

The held form is exact: `decode` gives back what the line said. The shown form (`shown_field`, `shown_array`) is what
pandas, verl and datasets read as it is meant: texts stay as they were, and what else there is becomes its JSON text.
The metadata of a field says which form it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.rollouts.json_text import BigInteger, dump_json, load_json

if TYPE_CHECKING:
    import pyarrow as pa

ENCODING = b"analyzer.encoding"
"""Key in the metadata of a field: one of the encodings below."""
JSON, MIXED, WHOLE = b"json", b"mixed", b"whole"
JSON_FIELD = {ENCODING: JSON}
# json:  texts, each the JSON of a value
# mixed: texts as they were, beside the JSON of arrays and objects: what reads as one of these is one
# whole: doubles; those that are whole numbers were written as integers
SHOWN = b"analyzer.shown"
"""Key beside JSON: the form that others are shown, one of those below; without it they are shown the JSON."""
AS_TEXT, AS_MIXED, AS_DOUBLE = b"text", b"mixed", b"double"

_MAX_FIELDS = 512  # a struct of more keys is a mapping, kept as JSON text
_MAX_TYPED = 16  # levels that become columns of columns; what is nested deeper is kept as JSON text
_EXACT_INT = 1 << 53  # an integer up to this is the same number as a double

# ---------------------------------------------------------------- what the lines hold

FileLine = tuple[int, int]
"""Where a value is: the number of its file, from 0, and of its line, from 1."""

NULL, BOOL, INT, WIDE, BIG, STRING, BRACKETED = "null", "bool", "int", "wide", "big", "string", "bracketed"
FLOAT, FRACTION, LIST, STRUCT, MAPPING, DEEP = "float", "fraction", "list", "struct", "mapping", "deep"
# wide: an integer past 2^53; big: past 64 bits. bracketed: a text that begins as a JSON array or object does.
# float: 5.0; fraction: 2.5. mapping: an object with too many keys to be columns.
WORDS = {
    NULL: "null", BOOL: "a boolean", INT: "an integer", WIDE: "an integer", BIG: "an integer past 64 bits",
    FLOAT: "a floating-point number", FRACTION: "a floating-point number", STRING: "text", BRACKETED: "text",
    LIST: "a list", STRUCT: "an object", MAPPING: "an object", DEEP: "deeply nested",
}  # fmt: skip
_TEXTS, _INTEGERS, _FLOATS = {STRING, BRACKETED}, {INT, WIDE}, {FLOAT, FRACTION}
_CONTAINERS = {LIST, STRUCT, MAPPING, DEEP}


class Observed:
    """What the values of a column, of a struct's member or of a list's items were: each kind, and where it was first.

    Members and items are observed in turn, in order of first appearance.
    """

    __slots__ = ("first", "item", "members")

    def __init__(self) -> None:
        self.first: dict[str, FileLine] = {}
        self.item: Observed | None = None
        self.members: dict[str, Observed] = {}

    def see(self, value: Any, place: FileLine, level: int = 0) -> None:
        """Take note of one parsed value, `level` deep in its row."""
        kind = _kind(value, level)
        if kind not in self.first:
            self.first[kind] = place
        if kind is LIST:
            if self.item is None:
                self.item = Observed()
            for inner in value:
                self.item.see(inner, place, level + 1)
        # Kinds are compared with `is`, here and in _kind: this runs for every value of every line.
        elif kind is STRUCT and MAPPING not in self.first:
            members = self.members
            for key, inner in value.items():
                if key not in members:
                    members[key] = Observed()
                members[key].see(inner, place, level + 1)
            if len(members) > _MAX_FIELDS:
                # So many keys are data and no columns. What was seen of each is dropped, or a file of ids as keys fills
                # the memory.
                self.first[MAPPING] = place
                members.clear()


def _kind(value: Any, level: int) -> str:
    if type(value) is str:
        return BRACKETED if value.startswith(("[", "{")) else STRING
    if value is None:
        return NULL
    # Before int, of which bool is a subclass.
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return INT if -_EXACT_INT <= value <= _EXACT_INT else WIDE
    if isinstance(value, float):
        return FLOAT if value.is_integer() else FRACTION
    if isinstance(value, BigInteger):
        return BIG
    if level > _MAX_TYPED:
        return DEEP
    if isinstance(value, list):
        return LIST
    return STRUCT if len(value) <= _MAX_FIELDS else MAPPING


def observe(rows: Iterable[Mapping[str, Any]]) -> dict[str, Observed]:
    """Column name -> what is in it, over all rows, in order of first appearance. For rows that have no places."""
    columns: dict[str, Observed] = {}
    for row in rows:
        observe_row(columns, row, (0, 1))
    return columns


def kinds_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """Column name -> type, over all rows, in order of first appearance."""
    return {name: kind_of(seen) for name, seen in observe(rows).items()}


def observe_row(columns: dict[str, Observed], row: Mapping[str, Any], place: FileLine) -> None:
    """Take note of one more row."""
    for name, value in row.items():
        if name not in columns:
            columns[name] = Observed()
        columns[name].see(value, place)


# ---------------------------------------------------------------- types


class Kind(NamedTuple):
    """The type of a column, of a member or of items.

    `name` is null, bool, int, float, whole, string, list, struct, json or name: texts that only name something, so that
    5 and "5" are the same. `shown`: the form of json that others are shown, empty for the JSON itself.
    """

    name: str
    item: Kind | None = None  # of a list
    fields: tuple[tuple[str, Kind], ...] = ()  # of a struct
    shown: bytes = b""

    @property
    def is_plain(self) -> bool:
        """Whether arrow takes the values as they are."""
        if self.name == "list":
            return self.item is None or self.item.is_plain
        return self.name not in ("json", "name", "digits") and all(kind.is_plain for _, kind in self.fields)


def kind_of(seen: Observed) -> Kind:
    """The narrowest type that holds all that was seen, each value as it was; json if there is none."""
    kinds = seen.first.keys() - {NULL}
    if not kinds:
        return Kind("null")
    if kinds <= _TEXTS:
        return Kind("string")
    if kinds == {BOOL}:
        return Kind("bool")
    if kinds <= _INTEGERS:
        return Kind("int")
    # Alone they are texts of digits. Beside smaller integers they would be texts among numbers, so that is json.
    if kinds == {BIG}:
        return Kind("digits")
    if kinds <= _FLOATS:
        return Kind("float")
    # Only as long as no line says 5.0: a double that is whole can then be nothing but an integer.
    if kinds == {INT, FRACTION}:
        return Kind("whole")
    if kinds == {LIST}:
        return Kind("list", kind_of(seen.item or Observed()))
    if kinds == {STRUCT} and seen.members:  # parquet has no empty struct
        return Kind("struct", None, tuple((key, kind_of(member)) for key, member in seen.members.items()))
    return Kind("json", shown=_shown(kinds))


def _shown(kinds: set[str]) -> bytes:
    if kinds <= {INT, *_FLOATS}:
        return AS_DOUBLE
    if not kinds & _TEXTS:
        return b""
    return AS_MIXED if kinds & _CONTAINERS and BRACKETED not in kinds else AS_TEXT


def as_name(seen: Observed) -> Kind:
    """The type of a column whose values name something: a number beside texts is the text of its digits."""
    kind = kind_of(seen)
    return Kind("name") if kind.name == "json" and not seen.first.keys() & _CONTAINERS else kind


def disagreements(seen: Observed, path: str) -> Iterator[tuple[str, Observed, Kind]]:
    """(path, what was seen, its type) of each place below `path` whose values are not all of one sort."""
    kind = kind_of(seen)
    if kind.name == "whole" or (kind.name == "json" and len(seen.first.keys() - {NULL, MAPPING}) > 1):
        yield path, seen, kind
    if kind.name == "struct":
        for key, member in seen.members.items():
            yield from disagreements(member, f"{path}.{key}")
    if kind.name == "list" and seen.item is not None:
        yield from disagreements(seen.item, f"{path}[]")


# ---------------------------------------------------------------- arrow


def arrow_field(name: str, kind: Kind) -> pa.Field:
    """The arrow field of the held form of a column or a struct's member."""
    import pyarrow as pa

    metadata = None
    if kind.name == "json":
        metadata = {ENCODING: JSON} | ({SHOWN: kind.shown} if kind.shown else {})
    elif kind.name == "whole":
        metadata = {ENCODING: WHOLE}
    return pa.field(name, _arrow_type(kind), metadata=metadata)


def _arrow_type(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    if kind.name == "list":
        return pa.list_(arrow_field("element", kind.item or Kind("null")))
    if kind.name == "struct":
        return pa.struct([arrow_field(key, inner) for key, inner in kind.fields])
    scalars = {"null": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "whole": pa.float64()}
    return scalars.get(kind.name, pa.string())


def columns_to_arrow(rows: Sequence[Mapping[str, Any]], fields: Mapping[str, Kind]) -> pa.RecordBatch:
    """Rows (parsed objects) as a record batch in the held form, one column per field."""
    import pyarrow as pa

    arrays = []
    for name, kind in fields.items():
        values = [row.get(name) for row in rows]
        if not kind.is_plain:
            values = [_held(value, kind) for value in values]
        arrays.append(pa.array(values, type=_arrow_type(kind)))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([arrow_field(n, k) for n, k in fields.items()]))


def _held(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind.name == "json":
        return dump_json(value)
    if kind.name in ("name", "digits"):
        return value if type(value) is str else dump_json(value)
    if kind.name == "list":
        return [_held(inner, kind.item or Kind("null")) for inner in value]
    if kind.name == "struct":
        return {key: _held(value.get(key), inner) for key, inner in kind.fields}
    return value


def _encoding(field: pa.Field) -> bytes:
    encoding: bytes = (field.metadata or {}).get(ENCODING, b"")
    return encoding


def is_encoded(field: pa.Field) -> bool:
    """Whether the field or a part of it holds values that `decode` must read."""
    return bool(_encoding(field)) or any(map(is_encoded, _parts(field)))


def is_shown_as_text(field: pa.Field) -> bool:
    """Whether the field holds texts and other values, which the outputs have as texts: 5 among texts becomes "5"."""
    return (field.metadata or {}).get(SHOWN) in (AS_TEXT, AS_MIXED)


def decode(value: Any, field: pa.Field) -> Any:
    """A value of an encoded field, from either form, as its line had it: `value` is what arrow's to_pylist gives."""
    encoding = _encoding(field)
    if value is None or not (encoding or is_encoded(field)):
        return value
    if encoding == JSON:
        return load_json(value)
    if encoding == WHOLE:
        return int(value) if value.is_integer() else value
    if encoding == MIXED:
        return _container(value)
    if isinstance(value, list):
        return [decode(item, field.type.field(0)) for item in value]
    return {key: decode(inner, field.type.field(key)) for key, inner in value.items()}


def _container(text: str) -> Any:
    """The array or object whose JSON a text is, else the text."""
    if text.startswith(("[", "{")):
        try:
            return load_json(text)
        except (ValueError, RecursionError):
            return text
    return text


# ---------------------------------------------------------------- what others are shown


def _parts(field: pa.Field) -> list[pa.Field]:
    return [field.type.field(i) for i in range(field.type.num_fields)]


def _is_held(field: pa.Field) -> bool:
    """Whether the shown form of a field is another than the held one."""
    return SHOWN in (field.metadata or {}) or any(map(_is_held, _parts(field)))


def shown_field(field: pa.Field) -> pa.Field:
    """The field of the shown form."""
    import pyarrow as pa

    if not _is_held(field):
        return field
    shown = (field.metadata or {}).get(SHOWN)
    if shown:
        rest = {key: value for key, value in field.metadata.items() if key not in (ENCODING, SHOWN)}
        rest |= {ENCODING: MIXED} if shown == AS_MIXED else {}
        kind = pa.float64() if shown == AS_DOUBLE else pa.string()
        return pa.field(field.name, kind, field.nullable, rest or None)
    parts = [shown_field(part) for part in _parts(field)]
    return field.with_type(pa.struct(parts) if pa.types.is_struct(field.type) else pa.list_(parts[0]))


def shown_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the shown form."""
    for at, field in enumerate(schema):
        if _is_held(field):
            schema = schema.set(at, shown_field(field))
    return schema


def shown_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch in the shown form."""
    import pyarrow as pa

    fields = list(batch.schema)
    if not any(map(_is_held, fields)):
        return batch
    arrays = [shown_array(column, field) for column, field in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=shown_schema(batch.schema))


def shown_array(array: pa.Array, field: pa.Field) -> pa.Array:
    """The values of a column in the shown form."""
    import pyarrow as pa

    if not _is_held(field):
        return array
    return pa.array([_shown_value(value, field) for value in array.to_pylist()], type=shown_field(field).type)


def _shown_value(value: Any, field: pa.Field) -> Any:
    if value is None or not _is_held(field):
        return value
    shown = (field.metadata or {}).get(SHOWN)
    if shown == AS_DOUBLE:
        return float(load_json(value))
    if shown:
        # The JSON of a text begins with a quote, and of nothing else.
        return load_json(value) if value.startswith('"') else value
    if isinstance(value, list):
        return [_shown_value(item, field.type.field(0)) for item in value]
    return {key: _shown_value(inner, field.type.field(key)) for key, inner in value.items()}
