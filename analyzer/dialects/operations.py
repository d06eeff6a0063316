"""Operations on rows of another layout: path, transpose, rows, explode, group, on Arrow columns.

Rows are columns of equal length by name. A column whose strings are JSON texts, because the lines of a jsonl file
disagree about its type, is looked into as if it held the values (`JSON_FIELD` marks it). What an operation makes has
the same type for every batch of a file, also for an empty one: the schema of a conversion is that of no rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer.dialects.layout import ANY, Group, Path, parse_path
from analyzer.errors import InputError
from analyzer.rollouts.json_columns import (
    AS_DOUBLE,
    AS_TEXT,
    JSON_FIELD,
    SHOWN,
    decode,
    dump_json,
    is_encoded,
    load_json,
    shown_array,
    shown_field,
)
from analyzer.schema import ORIGINAL

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

ID_BYTES = 16
"""Bytes of the digest that is the id of a problem without one: of 10^9 problems two share it with odds below 10^-20."""


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


# ---------------------------------------------------------------- path


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
            column = Column(_items(array, step), array.type.value_field)
        else:
            return None
    return column


def _items(array: pa.Array, index: int) -> pa.Array:
    """Item `index` of each list, from the end where it is negative; null if there is none."""
    import pyarrow as pa

    array = _plain_list(array)
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


def _plain_list(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return array.cast(pa.list_(array.type.value_field)) if pa.types.is_fixed_size_list(array.type) else array


# ---------------------------------------------------------------- transpose and explode


def transpose(rows: Rows, where: Callable[[int], str]) -> Rows:
    """Rows that hold lists as columns of rows: each item of the lists becomes a row, what is no list is repeated.

    A list shorter or longer than most in its row is left out of that row (null): trainers log some columns for a part
    of the batch.
    """
    names = [name for name, column in rows.columns.items() if is_list(column.array.type)]
    if not names:
        return rows
    lengths = np.stack([list_lengths(rows.columns[name].array) for name in names])  # (lists, rows)
    # The most frequent length is that of the batch; a list of another length is not a column of it.
    usual = [np.bincount(column[column >= 0]).argmax() if (column >= 0).any() else 0 for column in lengths.T]
    common = np.array(usual, dtype=np.int64)
    parents = np.repeat(np.arange(rows.size), common)
    others = Rows({name: column for name, column in rows.columns.items() if name not in names}, rows.size)
    columns = others.take(parents).columns
    for name, length in zip(names, lengths, strict=True):
        array, field = rows.columns[name]
        # The child's own field keeps its type and metadata, so every batch has one schema.
        columns[name] = Column(_flattened(array, common, length == common), field.type.value_field)
    return Rows({name: columns[name] for name in rows.columns}, len(parents), rows.places()[parents])


def explode(rows: Rows, paths: Sequence[str], where: Callable[[int], str]) -> tuple[Rows, Ints]:
    """A row for each item of the lists at `paths`, which are of equal length in each row; (rows, parent of each).

    A list that is null gives nulls, and a row whose lists are all null or empty gives none. An exploded list becomes
    a column with its path as the name; the column that it was in goes. Raises InputError for lists of other lengths.
    """
    import pyarrow as pa

    found = {path: column for path in paths if (column := look_up(rows, path)) is not None}
    lists = {path: column for path, column in found.items() if not pa.types.is_null(column.array.type)}
    for path, column in lists.items():
        if not is_list(column.array.type):
            raise InputError(f"{where(0)}: {path} is to be exploded, but it is {column.array.type}, not a list")
    lengths = {path: list_lengths(column.array) for path, column in lists.items()}
    # -1 stands for null, and so never is the largest where there is a list.
    count = np.maximum.reduce(list(lengths.values())).clip(0) if lengths else np.zeros(rows.size, np.int64)
    for path, length in lengths.items():
        # Null beside lists is allowed: some trainers log a column for a part of the samples.
        if (wrong := np.flatnonzero((length >= 0) & (length != count))).size:
            at = int(wrong[0])
            other = next(name for name, found in lengths.items() if found[at] == count[at])
            raise InputError(
                f"{where(at)}: {path} has {length[at]} items and {other} {count[at]}; "
                "lists that are exploded together must be of equal length"
            )
    # The whole column that held the list goes, also what else was in it: it would be repeated for each item.
    roots = {root(path) for path in found}
    parents = np.repeat(np.arange(rows.size), count)
    others = Rows({name: column for name, column in rows.columns.items() if name not in roots}, rows.size)
    columns = others.take(parents).columns
    for path, (array, field) in found.items():
        if path in lists:
            columns[path] = Column(_flattened(array, count, lengths[path] >= 0), field.type.value_field)
        else:
            columns[path] = Column(pa.nulls(len(parents)), field)
    return Rows(columns, len(parents)), parents


def root(path: str) -> str:
    """The column that a path begins in."""
    return str(parse_path(path)[0])


def list_lengths(array: pa.Array) -> Ints:
    """(rows,) the length of each list, -1 for null."""
    import pyarrow.compute as pc

    # fill_null: numpy has no missing integers, and -1 is not a length.
    return np.asarray(pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _flattened(array: pa.Array, count: Ints, whole: NDArray[np.bool_]) -> pa.Array:
    """The items of the lists one after another; `count` nulls for each row that is not `whole`."""
    import pyarrow as pa

    array = _plain_list(array)
    offsets = array.offsets.to_numpy().astype(np.int64)
    # The buffers may be a slice's: everything is counted from its own offsets, never from 0.
    starts = np.repeat(offsets[:-1], count)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return array.values.take(pa.array(starts + within, mask=~np.repeat(whole, count)))


# ---------------------------------------------------------------- group


def group_ids(rows: Rows, group: Group, columns: Sequence[Column], where: Callable[[int], str]) -> pa.Array:
    """(rows,) the data_idx of each row: int64 or text. Raises InputError for a null or what the regex does not match.

    `columns`: the values at `group.columns`.
    """
    import pyarrow as pa

    (array, field), *others = columns
    if not group.hashed and not others:
        array, field = settled(columns[0])
    whole = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    # A lone whole number or text is its own data_idx, which keeps it readable; all else becomes a digest.
    # Numbers of which some lines have 5 and others 5.0 are marked as encoded, and are numbers all the same.
    encoded = is_encoded(field) and not pa.types.is_floating(array.type)
    if group.hashed or others or not (whole or is_text(array.type)) or encoded:
        return digests(columns, rows.size)
    if array.null_count:
        at = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{where(at)}: {group.columns[0]}, which identifies the problem, is null")
    if group.regex:
        return _matched(array.cast(pa.string()), group, where)
    if pa.types.is_floating(array.type):
        return whole_numbers(array, group.columns[0], where)
    return array.cast(pa.int64() if pa.types.is_integer(array.type) else pa.string())


def settled(column: Column) -> Column:
    """Numbers and texts that jsonl lines spell differently as one kind: 1 and 1.0 numbers, 1 among texts its text."""
    array, field = column
    if (field.metadata or {}).get(SHOWN) in (AS_DOUBLE, AS_TEXT):
        return Column(shown_array(array, field), shown_field(field))
    return column


def whole_numbers(array: pa.Array, name: str, where: Callable[[int], str]) -> pa.Array:
    """Numbers that a reader made floats of, as the integers that they are."""
    import pyarrow as pa

    values = array.to_numpy(zero_copy_only=False)
    # From here on, 2**53 for doubles and 2**24 for 32 bits, floats skip integers: two ids may have become one.
    most = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    values = values.astype(np.float64)
    # NaN compares false, hence the negation.
    if (broken := np.flatnonzero((values != np.floor(values)) | ~(np.abs(values) < most))).size:
        at = int(broken[0])
        large = np.isfinite(values[at]) and abs(values[at]) >= most
        why = f"which {array.type} cannot tell from its neighbors" if large else "not a whole number"
        raise InputError(f"{where(at)}: {name} is {values[at]}, {why}, so it cannot identify a rollout")
    return pa.array(values.astype(np.int64))


def _matched(array: pa.Array, group: Group, where: Callable[[int], str]) -> pa.Array:
    import pyarrow as pa

    pattern = re.compile(group.regex)
    # The regex runs once for each distinct value, and there are as many as samples share it.
    encoded = array.dictionary_encode()
    found = []
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        match = pattern.search(value)
        if match is None or match[1] is None:
            at = int(np.flatnonzero(encoded.indices.to_numpy() == code)[0])
            raise InputError(f"{where(at)}: {group.columns[0]} is {value!r}, in which {group.regex!r} does not match")
        found.append(match[1])
    return pa.array(found, pa.string()).take(encoded.indices)


def digests(columns: Sequence[Column], size: int) -> pa.Array:
    """(rows,) 128 bits of a digest of these values, as 32 hex digits: the same for the same values in any file format.

    Members of a struct that are null count as absent, since a column of structs has all members of all rows.
    """
    import pyarrow as pa

    codes = np.zeros((size, len(columns)), np.int64)
    texts: list[list[bytes]] = []
    for number, column in enumerate(columns):
        coded, distinct = _canonical(column)
        codes[:, number] = coded
        texts.append(distinct)
    # Hashing once per distinct combination: rollouts of a problem repeat its prompt N times.
    combined, inverse = np.unique(codes, axis=0, return_inverse=True)
    found = []
    for row in combined.tolist():
        digest = hashlib.blake2b(digest_size=ID_BYTES)
        for part, code in zip(texts, row, strict=True):
            # The length in front, or ("ab", "c") and ("a", "bc") would be one problem.
            digest.update(len(part[code]).to_bytes(8, "big") + part[code])
        found.append(digest.hexdigest())
    return pa.array(found, pa.string()).take(pa.array(inverse.reshape(-1)))


def _canonical(column: Column) -> tuple[NDArray[np.int64], list[bytes]]:
    """A code for each row, and what each code stands for as bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array, field = column
    if is_text(array.type) and not is_encoded(field):
        # Nulls get a code too: a missing ground truth is a value of its own.
        encoded = array.dictionary_encode(null_encoding="encode")
        values = encoded.dictionary.to_pylist()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, [canonical_bytes(value) for value in values]
    encoded = pa.array([canonical_bytes(value) for value in python_values(column)], pa.binary()).dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), pc.cast(
        encoded.dictionary, pa.binary()
    ).to_pylist()


def canonical_bytes(value: Any) -> bytes:
    """A JSON value as bytes that are equal for equal values."""
    if isinstance(value, str):
        # Text and JSON are kept apart by a letter, so the text "1" is not the number 1.
        return b"s" + value.encode()
    return b"j" + orjson.dumps(_canonical_value(value), option=orjson.OPT_SORT_KEYS, default=str)


def _canonical_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _canonical_value(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_canonical_value(inner) for inner in value]
    # 1.0 is 1: pandas makes floats of integers as soon as one value is missing.
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    return value


class Ordinals:
    """Numbers the rollouts of each problem in order, over all batches; about 150 bytes for each problem."""

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}  # data_idx -> rollouts so far

    def number(self, ids: pa.Array) -> Ints:
        """(rows,) how many rollouts of its problem came before each row."""
        encoded = ids.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        names = encoded.dictionary.to_pylist()
        before = np.array([self.counts.get(name, 0) for name in names], dtype=np.int64)
        sizes = np.bincount(codes, minlength=len(names))
        # Stable, so that rollouts of a problem keep the order in which they stand in the file.
        order = np.argsort(codes, kind="stable")
        ordinals = np.empty(len(codes), np.int64)
        # Positions within the sorted runs, carried back to where the rows stand.
        ordinals[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        # dict.update, not a loop: a batch may touch a hundred thousand problems.
        self.counts.update(zip(names, (before + sizes).tolist(), strict=True))
        return ordinals + before[codes] if len(codes) else ordinals
