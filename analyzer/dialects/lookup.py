"""Rows of another layout as Arrow columns, and the values at a path: `a.b[0].c`, `difficulty.*`, `answer|solution`.

A column whose strings are JSON texts, because the lines of a jsonl file disagree about its type, is looked into as if
it held the values (`JSON_FIELD` marks it).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.dialects.layout import ANY, Path, parse_path
from analyzer.errors import InputError
from analyzer.rollouts.json_columns import JSON_FIELD, decode, is_encoded
from analyzer.rollouts.json_text import dump_json, load_json
from analyzer.schema import ORIGINAL

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


class Column(NamedTuple):
    """The values of a column, and its field, whose metadata say whether they are JSON texts."""

    array: pa.Array
    field: pa.Field


class Rows(NamedTuple):
    """Rows as columns by name."""

    columns: dict[str, Column]
    size: int
    origin: Ints | None = None  # (size,) the row of the batch that each comes from; None: they are these, in order

    def take(self, indices: Ints) -> Rows:
        """These rows, in this order."""
        import pyarrow as pa

        # Converted once for all columns.
        chosen = pa.array(indices)
        columns = {name: Column(array.take(chosen), field) for name, (array, field) in self.columns.items()}
        return Rows(columns, len(indices), self.places()[indices])

    def places(self) -> Ints:
        """(size,) the row of the batch that each row comes from."""
        return np.arange(self.size) if self.origin is None else self.origin


def rows_of(batch: pa.RecordBatch) -> Rows:
    """A record batch as rows; dictionary columns as their values."""
    import pyarrow as pa

    columns = {}
    for name, array, field in zip(batch.schema.names, batch.columns, batch.schema, strict=True):
        # Categories of pandas: everything below looks at plain values.
        plain = pa.types.is_dictionary(field.type)
        columns[name] = (
            Column(array.dictionary_decode(), field.with_type(field.type.value_type)) if plain else Column(array, field)
        )
    return Rows(columns, batch.num_rows)


def look_up(rows: Rows, path: str) -> Column | None:
    """The values at a path, None where the columns have no such place. Of `a|b` the first that is there.

    Raises InputError where `*` stands for one of several members.
    """
    return next((found for _, found in _spellings(rows, path)), None)


def spelt(rows: Rows, path: str) -> str | None:
    """Of `a|b` the first that is there, as the rows spell it; None where none is."""
    return next((one for one, _ in _spellings(rows, path)), None)


def _spellings(rows: Rows, path: str) -> Iterator[tuple[str, Column]]:
    for one in map(str.strip, path.split("|")):
        # A training column is the same with the prefix that generate_rollouts gives it and without.
        other = one.removeprefix(ORIGINAL) if one.startswith(ORIGINAL) else ORIGINAL + one
        for name in (one, other):
            if (found := _look_up(rows, name)) is not None:
                yield name, found


def _look_up(rows: Rows, path: str) -> Column | None:
    if path in rows.columns:
        return rows.columns[path]
    # A name may hold dots, and what was exploded is a column whose name is a path: the longest fitting name wins.
    for name in sorted((name for name in rows.columns if path.startswith(name)), key=len, reverse=True):
        rest = path[len(name) :]
        if rest[:1] in (".", "["):
            # parse_path wants a name in front, which is taken off again.
            return walk(rows.columns[name], parse_path("_" + rest)[1:])
    return None


def walk(column: Column, steps: Path) -> Column | None:
    """What is at the end of these steps into a column; null where a value on the way is null or a list too short."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for number, step in enumerate(steps):
        array = column.array
        if is_text(array.type):
            field = pa.field("json", pa.string(), metadata=JSON_FIELD)
            # Texts are parsed for each path. Several paths into one column are rare, and a cache would hold every
            # row twice.
            parts = [_json_part(text, steps[number:]) for text in array.to_pylist()]
            return Column(pa.array(parts, pa.string()), field)
        if pa.types.is_null(array.type):
            return Column(array, pa.field("null", pa.null()))
        if pa.types.is_struct(array.type) and isinstance(step, str):
            names = [array.type.field(i).name for i in range(array.type.num_fields)]
            if step == ANY and len(names) > 1:
                raise InputError(f"one of {', '.join(names)} must be chosen")
            name = names[0] if step == ANY else step
            if name not in names:
                return None
            # pc.struct_field, not array.field(): the latter ignores nulls of the struct itself, and shows what
            # lies beneath them.
            column = Column(pc.struct_field(array, name), array.type.field(name))
        elif is_list(array.type) and isinstance(step, int):
            column = Column(item_of(array, step), array.type.value_field)
        else:
            return None
    return column


def item_of(array: pa.Array, index: int) -> pa.Array:
    """Item `index` of each list, from the end where it is negative; null if there is none."""
    import pyarrow as pa

    array = plain_list(array)
    offsets = array.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)
    at = offsets[:-1] + (index if index >= 0 else lengths + index)
    # A null list may have items in the buffer below it; they do not count.
    there = (at >= offsets[:-1]) & (at < offsets[1:]) & ~array.is_null().to_numpy(zero_copy_only=False)
    # take() with a masked index gives null: one call for items and gaps together.
    return array.values.take(pa.array(at, mask=~there))


def _json_part(text: str | None, steps: Path) -> str | None:
    try:
        # A text that is not JSON has no members: null, not an error, as for a list that is too short.
        value = None if text is None else load_json(text)
    except (ValueError, RecursionError):
        return None
    for step in steps:
        if step == ANY and isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        elif isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return None if value is None else dump_json(value)


def python_values(column: Column) -> list[Any]:
    """The values as Python has them, JSON texts read."""
    values: list[Any] = column.array.to_pylist()
    if not is_encoded(column.field):
        return values
    return [decode(value, column.field) for value in values]


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds strings."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds lists."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def plain_list(array: pa.Array) -> pa.Array:
    """Lists of a fixed size as lists of any."""
    import pyarrow as pa

    return array.cast(pa.list_(array.type.value_field)) if pa.types.is_fixed_size_list(array.type) else array


def root(path: str) -> str:
    """The column that a path begins in."""
    return str(parse_path(path)[0])
