"""Neighbouring rows: the same only where the values are, whatever their type."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rollouts.neighbours import changed

FLOATS = st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf])
TEXTS = st.sampled_from(["", "a", "b", "\0"])
TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float64(), FLOATS),
    (pa.float32(), FLOATS),
    (pa.int64(), st.sampled_from([0, 1, 2**63 - 1])),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    (pa.decimal128(5, 2), st.sampled_from([decimal.Decimal("1.00"), decimal.Decimal("2.50")])),
    (pa.date32(), st.sampled_from([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)])),
    (pa.null(), st.none()),
    (pa.list_(pa.float64()), st.lists(st.none() | FLOATS, max_size=2)),
    (pa.large_list(pa.string()), st.lists(st.none() | TEXTS, max_size=2)),
    (pa.list_(pa.float64(), 2), st.lists(st.none() | FLOATS, min_size=2, max_size=2)),
    (pa.list_(pa.list_(pa.string())), st.lists(st.none() | st.lists(TEXTS, max_size=2), max_size=2)),
    (pa.struct({"a": pa.float64(), "b": pa.string()}), st.fixed_dictionaries({"a": FLOATS, "b": st.none() | TEXTS})),
    (
        pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        st.lists(st.none() | st.fixed_dictionaries({"role": TEXTS, "content": st.none() | TEXTS}), max_size=2),
    ),
    (pa.struct({"x": pa.list_(pa.struct({"y": pa.float64()}))}),
     st.fixed_dictionaries({"x": st.none() | st.lists(st.fixed_dictionaries({"y": FLOATS}), max_size=2)})),
    (pa.map_(pa.string(), pa.float64()), st.lists(st.tuples(TEXTS, FLOATS), max_size=2)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), TYPES, ids=[str(kind) for kind, _ in TYPES])
def test_a_row_differs_where_its_value_is_written_differently(
    kind: pa.DataType, values: st.SearchStrategy[Any]
) -> None:
    @given(st.lists(st.none() | values, max_size=8), st.integers(0, 2), st.integers(0, 2))
    def law(rows: list[Any], front: int, back: int) -> None:
        column = pa.array([None] * front + rows + [None] * back, type=kind).slice(front, len(rows))
        written = list(map(repr, column.to_pylist()))  # 0.0 and -0.0, 1 and True are told apart by how they are written
        expected = [i == 0 or text != written[i - 1] for i, text in enumerate(written)]
        assert changed(column).tolist() == expected

    law()


def test_the_two_zeros_are_not_the_same() -> None:
    assert changed(pa.array([0.0, -0.0, -0.0])).tolist() == [True, True, False]
    nested = pa.array([{"a": [0.0]}, {"a": [-0.0]}, {"a": [-0.0]}])
    assert changed(nested).tolist() == [True, True, False]
