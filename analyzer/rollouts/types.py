"""Arrow types of one meaning as one type.

Files of newer writers say `string_view` where older ones say `string`. What is on the disk is the same; what arrow can
do with it is not: it cannot select, compare or write all of them. `usual_schema` makes the plain thing of views.

Frameworks that write a file per worker infer the types of each from its own rows: int32 beside int64, a column of
nulls beside one of texts, a struct without the member that no row had. `common_schema` is that of all their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from analyzer.rollouts.json_columns import ENCODING, SHOWN

if TYPE_CHECKING:
    import pyarrow as pa


# ---------------------------------------------------------------- one type of several files


class Difference(NamedTuple):
    """What keeps the files of an input from having one schema."""

    file: int  # position of the first that differs
    sentence: str


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema | Difference:
    """The schema that holds the rows of all files, each value as it was; columns in the order of the first.

    Types may differ in width (integers, floats, offsets), in nullability, by dictionary encoding, in members of structs
    that some files lack, and a column may hold nothing but nulls in some. All files must have the same columns.
    """
    import pyarrow as pa

    # Not pa.unify_schemas: it makes floats of integers (5 and 5.0 are two ground truths), int64 of int64 and uint64,
    # and takes no dictionary beside plain values.
    first = schemas[0].remove_metadata()  # pandas puts the rows of each file there
    fields = list(first)
    for number, schema in enumerate(schemas[1:], 1):
        if schema.remove_metadata().equals(first, check_metadata=True):  # as nearly always, of thousands of files
            continue
        for at, field in enumerate(fields):
            if field.name not in schema.names:
                return Difference(number, f"{field.name!r} is missing")
            other = schema.field(field.name)
            common = _common_field(field, other)
            if common is None:
                why = (
                    f"{other.type} instead of {field.type}" if other.type != field.type else "JSON in one of them only"
                )
                return Difference(number, f"{field.name!r} is {why}")
            fields[at] = common
        if extra := [name for name in schema.names if name not in first.names]:
            return Difference(number, f"{extra[0]!r} is not in the first")
    common_of_all = pa.schema(fields, schemas[0].metadata)
    for number, schema in enumerate(schemas):
        for field in () if schema.equals(common_of_all) else common_of_all:
            if not _can_cast(schema.field(field.name).type, field.type):
                return Difference(number, f"{field.name!r} is {schema.field(field.name).type} instead of {field.type}")
    return common_of_all


def as_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of some columns with the types of a common schema, in its order."""
    import pyarrow as pa

    wanted = pa.schema([field for field in schema if field.name in batch.schema.names], schema.metadata)
    return batch.select(wanted.names).cast(wanted)


def _can_cast(kind: pa.DataType, to: pa.DataType) -> bool:
    """Whether this version of arrow can; older ones take no struct whose members are in another order."""
    import pyarrow as pa

    try:
        pa.array([], kind).cast(to)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def _common_field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    """A field for the values of both; None if there is none."""
    marks = [[(field.metadata or {}).get(key) for key in (ENCODING, SHOWN)] for field in (one, other)]
    kind = _common(one.type, other.type) if marks[0] == marks[1] else None
    return None if kind is None else one.with_type(kind).with_nullable(one.nullable or other.nullable)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa

    kinds = pa.types
    if one == other or kinds.is_null(other):
        return one
    if kinds.is_null(one):
        return other
    if kinds.is_dictionary(one) or kinds.is_dictionary(other):
        return _common(*(kind.value_type if kinds.is_dictionary(kind) else kind for kind in (one, other)))
    if kinds.is_integer(one) and kinds.is_integer(other):
        return _common_integer(one, other)
    if kinds.is_floating(one) and kinds.is_floating(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    for plain, large in ((pa.string(), pa.large_string()), (pa.binary(), pa.large_binary())):
        if {one, other} == {plain, large}:
            return large
    lists = [kinds.is_list(kind) or kinds.is_large_list(kind) for kind in (one, other)]
    if all(lists):
        item = _common_field(one.value_field, other.value_field)
        is_large = kinds.is_large_list(one) or kinds.is_large_list(other)
        return None if item is None else pa.large_list(item) if is_large else pa.list_(item)
    return _common_struct(one, other) if kinds.is_struct(one) and kinds.is_struct(other) else None


def _common_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest integer type that holds both; none holds uint64 and negative numbers."""
    import pyarrow as pa

    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    signed, unsigned = (one, other) if pa.types.is_signed_integer(one) else (other, one)
    signs = (pa.int16(), pa.int32(), pa.int64())
    return next((kind for kind in signs if kind.bit_width >= max(signed.bit_width, 2 * unsigned.bit_width)), None)


def _common_struct(one: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    """The members of both: a row whose file lacks one has null there, as it would have in a file of all rows."""
    import pyarrow as pa

    theirs = {field.name: field for field in other}
    members = []
    for field in one:
        common = _common_field(field, theirs.pop(field.name)) if field.name in theirs else field.with_nullable(True)
        if common is None:
            return None
        members.append(common)
    return pa.struct([*members, *(field.with_nullable(True) for field in theirs.values())])


# ---------------------------------------------------------------- views


def usual_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with usual types; an equal one where it has them."""
    for at, field in enumerate(schema):
        kind = _usual(field.type)
        if kind != field.type:
            schema = schema.set(at, field.with_type(kind))
    return schema


def usual_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with usual types; itself where it has them."""
    import pyarrow as pa

    schema = usual_schema(batch.schema)
    if schema == batch.schema:
        return batch
    arrays = [
        # arrow 26 casts views of lists to lists without the end of the last one, at any depth.
        pa.array(array.to_pylist(), kind) if "list_view<" in str(array.type) else array.cast(kind)
        for array, kind in zip(batch.columns, schema.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _usual(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    # take, filter, compare and the parquet writer lack kernels for views in the versions of arrow that we support.
    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    if kind in views:
        return views[kind]
    # A dictionary of usual values stays one: decoded, a column of few long texts holds each again in every row.
    if pa.types.is_dictionary(kind):
        value = _usual(kind.value_type)
        return kind if value == kind.value_type else value
    if pa.types.is_run_end_encoded(kind):
        return _usual(kind.value_type)
    parts = [kind.field(i) for i in range(kind.num_fields)]
    fields = [part.with_type(_usual(part.type)) for part in parts]
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if not is_view and fields == parts:
        return kind
    if pa.types.is_struct(kind):
        return pa.struct(fields)
    if pa.types.is_map(kind):
        return pa.map_(*fields)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    return pa.large_list(fields[0]) if large else pa.list_(fields[0])
