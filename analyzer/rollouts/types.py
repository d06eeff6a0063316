"""Arrow types that few functions take, as the usual ones: views of texts, bytes and lists become the plain thing.

Files of newer writers say `string_view` where older ones say `string`. What is on the disk is the same; what arrow can
do with it is not: it cannot select, compare or write all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def usual_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with usual types; an equal one where it has them."""
    for at, field in enumerate(schema):
        kind = _usual(field.type)
        if kind != field.type:
            schema = schema.set(at, field.with_type(kind))
    return schema


def usual_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with usual types; itself where it has them."""
    schema = usual_schema(batch.schema)
    return batch if schema == batch.schema else batch.cast(schema)


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
