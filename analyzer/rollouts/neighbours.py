"""Which rows differ from the row before them, for columns of any type and without a Python object for each value.

Rows that do not differ share a ground truth, a prompt and their grades, so equal must mean the same: 0.0 is not -0.0,
and NaN is NaN. (`==` of Python and of arrow says the opposite of both.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]


def changed(column: pa.Array) -> Bools:
    """(n,) True where a value is not the same as the one before it, and for the first."""
    different = np.ones(len(column), dtype=bool)
    if len(column) > 1:
        different[1:] = _differ(column.slice(1), column.slice(0, len(column) - 1))
    return different


def _differ(one: pa.Array, other: pa.Array) -> Bools:
    """(n,) where two arrays of one type hold different values; a null is the same as a null alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = one.type
    if pa.types.is_null(kind):
        return np.zeros(len(one), dtype=bool)
    # Not by codes: a dictionary may hold one value under two of them.
    if pa.types.is_dictionary(kind):
        return _differ(one.dictionary_decode(), other.dictionary_decode())
    # Kernels refuse extension types (UUIDs, tensors), whatever they are stored as.
    if isinstance(kind, pa.BaseExtensionType):
        return _differ(one.storage, other.storage)
    if pa.types.is_struct(kind):
        # flatten() takes the nulls of the struct over to its members; field() would compare what lies under a null.
        members = map(_differ, one.flatten(), other.flatten())
        unequal = np.logical_or.reduce([np.zeros(len(one), dtype=bool), *members])
    elif pa.types.is_map(kind):
        # There is no kernel for maps. As lists the order of keys counts: at worst equal maps are graded twice.
        listed = pa.list_(pa.struct([kind.key_field, kind.item_field]))
        return _differ(one.cast(listed), other.cast(listed))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        unequal = _lists_differ(one, other)
    elif pa.types.is_floating(kind):
        # Bits, since by value NaN differs from itself and 0.0 does not differ from -0.0.
        bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[kind.bit_width]
        unequal = _numpy(pc.not_equal(one.view(bits), other.view(bits)).fill_null(False))
    elif one.null_count == other.null_count == 0:
        return _numpy(pc.not_equal(one, other))
    # Null where either side is null; the validity of both is compared below.
    else:
        unequal = _numpy(pc.not_equal(one, other).fill_null(False))
    valid, other_valid = _numpy(one.is_valid()), _numpy(other.is_valid())
    differing: Bools = np.where(valid & other_valid, unequal, valid != other_valid)
    return differing


def _lists_differ(one: pa.Array, other: pa.Array) -> Bools:
    """As `_differ`, for lists without a look at which of them are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths, other_lengths = (
        np.asarray(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
        for lists in (one, other)
    )
    unequal: Bools = lengths != other_lengths
    # Lists of the same length differ where any pair of items does: the pairs side by side, and the row of each.
    rows = np.flatnonzero(~unequal)
    counts = lengths[rows]
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    starts, other_starts = (np.cumsum(sizes) - sizes for sizes in (lengths, other_lengths))  # flatten() skips nulls
    items = one.flatten().take(pa.array(np.repeat(starts[rows], counts) + within))
    other_items = other.flatten().take(pa.array(np.repeat(other_starts[rows], counts) + within))
    unequal[np.repeat(rows, counts)[_differ(items, other_items)]] = True
    return unequal


def _numpy(values: pa.Array) -> Bools:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
