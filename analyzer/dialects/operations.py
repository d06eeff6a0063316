"""Operations that make rows of lists: transpose and explode.

What an operation makes has the same type for every batch of a file, also for an empty one: the schema of a conversion
is that of no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.dialects.lookup import Column, Rows, is_list, look_up, plain_list, root
from analyzer.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def transpose(rows: Rows) -> Rows:
    """Rows that hold lists as columns of rows: each item of the lists becomes a row, other values are repeated.

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


def list_lengths(array: pa.Array) -> Ints:
    """(rows,) the length of each list, -1 for null."""
    import pyarrow.compute as pc

    # fill_null: numpy has no missing integers, and -1 is not a length.
    return np.asarray(pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _flattened(array: pa.Array, count: Ints, whole: NDArray[np.bool_]) -> pa.Array:
    """The items of the lists one after another; `count` nulls for each row that is not `whole`."""
    import pyarrow as pa

    array = plain_list(array)
    offsets = array.offsets.to_numpy().astype(np.int64)
    # The buffers may be a slice's: everything is counted from its own offsets, never from 0.
    starts = np.repeat(offsets[:-1], count)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return array.values.take(pa.array(starts + within, mask=~np.repeat(whole, count)))
