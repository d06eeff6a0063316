"""groups: the data_idx of rollouts of another layout (a column, a part of it, or a digest), and their sample_idx."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from analyzer.dialects.layout import Group
from analyzer.dialects.lookup import Column, Rows, is_text, python_values
from analyzer.errors import InputError
from analyzer.rollouts.json_columns import AS_DOUBLE, AS_TEXT, SHOWN, is_encoded, shown_array, shown_field

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

ID_BYTES = 16
"""Bytes of the digest that is the id of a problem without one: of 10^9 problems two share it with odds below 10^-20."""


def group_ids(rows: Rows, group: Group, columns: Sequence[Column], where: Callable[[int], str]) -> pa.Array:
    """(rows,) the data_idx of each row: int64 or text. Raises InputError for a null or what the regex does not match.

    `columns`: the values at `group.columns`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    (array, field), *others = columns
    if not group.hashed and not others:
        array, field = settled(columns[0])
    whole = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    # A lone whole number or text is its own data_idx, which keeps it readable; all else becomes a digest.
    # Numbers of which some lines have 5 and others 5.0 are marked as encoded, and are numbers all the same.
    encoded = is_encoded(field) and not pa.types.is_floating(array.type)
    lone = not (group.hashed or others)
    if lone and array.null_count:
        at = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{where(at)}: {group.columns[0]}, which identifies the problem, is null")
    if not lone or encoded or not (whole or is_text(array.type)):
        found = digests(columns, rows.size)
        if lone and encoded and is_text(array.type):
            # Whole numbers, of which some are past 64 bits, keep their digits; what else is beside them has a digest.
            texts = pc.replace_substring_regex(array, r"^(-?[0-9]+)\.0$", r"\1")
            found = pc.if_else(pc.match_substring_regex(texts, r"^-?[0-9]+$"), texts, found)
        return found
    if group.regex:
        return _matched(array.cast(pa.string()), group, where)
    if pa.types.is_floating(array.type):
        return whole_numbers(array, group.columns[0], where)
    if pa.types.is_uint64(array.type):  # hashes: half of them are no int64
        return array
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
