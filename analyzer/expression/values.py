"""Values of expressions: Arrow arrays and scalars of few types, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analyzer.errors import ConfigError

if TYPE_CHECKING:  # pyarrow stays off the path of --help
    import pyarrow as pa

Value = Any  # an Arrow array of the length of the batch, or an Arrow scalar
Node = Callable[["pa.RecordBatch"], Value]


def call(function: str, *arguments: Any) -> Value:
    import pyarrow.compute as pc

    return getattr(pc, function)(*arguments)


def scalar(value: Any) -> Value:
    import pyarrow as pa

    return pa.scalar(value)


def constant(value: Value) -> Node:
    return lambda batch: value


def column_of(batch: pa.RecordBatch, name: str) -> Value:
    places = batch.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise ConfigError(f"there are {len(places)} columns named {name!r}, there must be one")
    return batch.column(places[0])


def of_few_types(value: Value) -> Value:
    """A column in one of few types: int64, float64 without NaN, string, bool; nested ones as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(value.type):
        value = value.dictionary_decode()
    kind = value.type
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # 0.7 of 32 bits is meant as 0.7: by way of its shortest decimal, else `0.7 <= x` would be false of it
        value = value.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
    # Beyond int64 the nearest double: ids of that size are compared, not counted with.
    elif pa.types.is_uint64(kind) and (pc.max(value).as_py() or 0) >= 1 << 63:
        value = value.cast(pa.float64(), safe=False)
    elif pa.types.is_integer(kind):
        value = value.cast(pa.int64())
    elif pa.types.is_decimal(kind):
        value = value.cast(pa.float64())
    elif kind in (pa.large_string(), pa.string_view()):
        value = value.cast(pa.string())
    return without_nan(value)


def without_nan(value: Value) -> Value:
    """NaN is a missing value, so `not (x > 1)` must not be true of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(value.type):
        return value
    return pc.if_else(pc.is_nan(value), pa.scalar(None, value.type), value)


def kind_of(value: Value) -> str:
    import pyarrow as pa

    kind, is_a = value.type, pa.types
    # Not decimals: of_few_types has made doubles of them.
    if is_a.is_integer(kind) or is_a.is_floating(kind):
        return "number"
    if is_a.is_string(kind):
        return "text"
    if is_a.is_boolean(kind):
        return "condition"
    if is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind):
        return "list"
    return "struct" if is_a.is_struct(kind) else str(kind)


def a_kind(value: Value) -> str:
    """What a value is, with an article, for an error message."""
    return {"condition": "a condition (true or false)", "null": "a column without values"}.get(
        kind_of(value), f"a {kind_of(value)}"
    )


def holds(lists: Value, item: Value, check: Callable[[Value], None]) -> Value:
    """(rows,) whether the list of each row has `item` among its values; null for a missing list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = of_few_types(pc.list_flatten(lists))
    parents = pc.list_parent_indices(lists)
    check(values)
    wanted = item if isinstance(item, pa.Scalar) else item.take(parents)
    # Without a loop over rows: the items that match name their rows, and a row is in that set or not.
    rows = parents.filter(pc.equal(values, wanted), null_selection_behavior="drop")
    found = pc.is_in(pa.array(range(len(lists)), parents.type), value_set=rows)
    return pc.if_else(pc.is_valid(lists), found, pa.scalar(None, pa.bool_()))


def _nonzero(divisor: Value) -> Value:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(divisor, 0), pa.scalar(None, divisor.type), divisor)


def _divide(one: Value, other: Value) -> Value:
    import pyarrow as pa

    return call("divide", one.cast(pa.float64()), _nonzero(other.cast(pa.float64())))


def _remainder(one: Value, other: Value) -> Value:
    """As in Python: of the divisor's sign."""
    import pyarrow as pa
    import pyarrow.compute as pc

    other = _nonzero(other)
    if pa.types.is_floating(one.type) or pa.types.is_floating(other.type):
        return pc.subtract(one, pc.multiply(other, pc.floor(pc.divide(one.cast(pa.float64()), other))))
    # arrow has no remainder. Integer division truncates, so the rest has the sign of `one` and is put right below.
    rest = pc.subtract(one, pc.multiply(other, pc.divide(one, other)))
    askew = pc.and_(pc.not_equal(rest, 0), pc.xor(pc.less(rest, 0), pc.less(other, 0)))
    return pc.if_else(askew, pc.add(rest, other), rest)


OPERATIONS: dict[str, Callable[[Value, Value], Value]] = {
    "+": lambda one, other: call("add_checked", one, other),
    "-": lambda one, other: call("subtract_checked", one, other),
    "*": lambda one, other: call("multiply_checked", one, other),
    "/": _divide,
    "%": _remainder,
}
