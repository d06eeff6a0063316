"""Columns of any JSON values: each comes back as it was, and types unite in any order of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rollouts import json_columns
from analyzer.rollouts.json_text import dump_json, load_json
from analyzer.rollouts.problems import group

some_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from([0.5, 2.0, -0.0, 1e300, 2**53 + 1, 2**63 - 1, 10**30])
)
some_value = st.recursive(
    some_scalar | st.text('aé1[{"', max_size=2) | st.just("[1]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


def column_of(values: Sequence[Any]) -> tuple[pa.RecordBatch, list[Any]]:
    """The values as lines of a file hold them, as a column in its held form; and what they are once read."""
    read = [load_json(dump_json(value)) for value in values]
    rows = [{"data_idx": at, "gold": value} for at, value in enumerate(read)]
    kinds = {name: json_columns.kind_of(seen) for name, seen in json_columns.observe(rows).items()}
    return json_columns.columns_to_arrow(rows, kinds), read


@given(st.lists(some_value.filter(lambda value: value is not None), min_size=1, max_size=4))
def test_a_column_of_any_values_gives_each_back_as_it_was(values: list[Any]) -> None:
    batch, read = column_of(values)
    groups = group(pa.Table.from_batches([batch]), ["gold"], "gold", "source")
    golds = {int(start): problem.ground_truth for start, problem in zip(groups.starts, groups.problems, strict=False)}
    assert [_bare(golds[at]) for at in range(len(read))] == [_bare(value) for value in read]


@given(st.lists(some_value, min_size=1, max_size=4))
def test_a_column_of_any_values_shows_texts_as_they_were_and_gives_lists_and_objects_back(values: list[Any]) -> None:
    batch, read = column_of(values)
    shown = json_columns.shown_batch(batch)
    assert shown.schema == json_columns.shown_schema(batch.schema)
    field = shown.schema.field("gold")
    ambiguous = any(type(value) is str and value.startswith(("[", "{")) for value in read)
    for value, told in zip(read, shown.column("gold").to_pylist(), strict=True):
        if type(value) is str:
            assert told == json_columns.decode(told, field) == value
        elif isinstance(told, str):
            assert _bare(load_json(told)) == _bare(value)
            if isinstance(value, list | dict) and not ambiguous:
                assert _bare(json_columns.decode(told, field)) == _bare(value)


@given(st.lists(some_value, min_size=1, max_size=4))
def test_the_type_of_a_column_does_not_depend_on_the_order_of_lines(values: list[Any]) -> None:
    def kind(values: Sequence[Any]) -> Any:
        seen = json_columns.observe({"gold": value} for value in values)
        return _unordered(json_columns.kind_of(seen["gold"]))

    assert kind(values) == kind(values[::-1])


def _unordered(kind: json_columns.Kind) -> Any:
    members = {name: _unordered(inner) for name, inner in kind.fields}
    return kind.name, kind.shown, _unordered(kind.item) if kind.item else None, members


def _bare(value: Any) -> Any:
    """A value as it comes back: a missing member is null; 2 and 2.0, 1 and true, 0.0 and -0.0 are told apart."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in sorted(value.items()) if inner is not None}
    return list(map(_bare, value)) if isinstance(value, list) else repr(value)
