"""What may cross the border between a program and its judge."""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import itertools
import json
import math
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.grading.sandbox.inside.values import (
    MOST_ITEMS,
    Uncrossable,
    change,
    changed,
    equals,
    is_packed_json,
    pack,
    unpack,
)

SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
    *(st.text(max_size=5), st.binary(max_size=5), st.complex_numbers(allow_nan=False)),
)
HASHABLE = SCALARS | st.lists(SCALARS, max_size=3).map(tuple) | st.frozensets(SCALARS, max_size=3)
CONTAINERS = st.sets(HASHABLE, max_size=3) | st.dictionaries(HASHABLE, SCALARS, max_size=3)
VALUES = st.lists(HASHABLE | CONTAINERS | st.lists(CONTAINERS, max_size=2), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def across(value: Any) -> Any:
    return unpack(json.loads(json.dumps(pack(value))))


def same(value: Any, other: Any) -> bool:
    """Equal, of equal types all the way down; nan equals nan."""
    return type(value) is type(other) and (value == other or repr(value) == repr(other))


@given(VALUES)
def test_builtins_arrive_as_they_were(value: Any) -> None:
    assert same(across(value), value)


@pytest.mark.parametrize("value", [math.nan, complex(0, math.nan), [math.nan], {math.nan}, {"a": math.nan}])
def test_nan_arrives(value: Any) -> None:
    assert same(across(value), value)


@given(JSON, JSON)
def test_a_packed_value_equals_what_python_says_it_equals(value: Any, other: Any) -> None:
    assert equals(json.loads(json.dumps(pack(value))), value)
    assert equals(json.loads(json.dumps(pack(value))), other) == (value == other)


class Fake:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class FakeInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Color(enum.IntEnum):
    RED = 3


Pair = collections.namedtuple("Pair", "x y")  # as a program makes it


CONTAINED: dict[str, tuple[Any, Any]] = {
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "defaultdict": (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    "namedtuple": (Pair(1, 2), (1, 2)),
    "int_enum": (Color.RED, 3),
    "numpy_float": (np.float64(0.5), 0.5),
    "numpy_int": (np.int64(7), 7),
    "numpy_bool": (np.bool_(True), True),
    "int_that_lies": (FakeInt(7), 7),
    "big_int": (10**5000, 10**5000),
    "nested": ([({1: {2, 3}},)], [({1: {2, 3}},)]),
    "deque": (collections.deque([1, [2]]), collections.deque([1, [2]])),
    "bytearray": (bytearray(b"ab"), bytearray(b"ab")),
    "fraction": (Fraction(1, 10**5000), Fraction(1, 10**5000)),
    "decimal": (Decimal("0.10"), Decimal("0.10")),
    "date": ([datetime.date(2024, 2, 29)], [datetime.date(2024, 2, 29)]),
    "time": (datetime.datetime(2024, 2, 29, 1, 2, 3, 4), datetime.datetime(2024, 2, 29, 1, 2, 3, 4)),
    "time_zone": (
        datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
        datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    ),
    "duration": (datetime.timedelta(-1, 5, 7), datetime.timedelta(-1, 5, 7)),
    "range": (range(3, 10**30, 2), range(3, 10**30, 2)),
    "type": ([int, KeyError], [int, KeyError]),
}


@pytest.mark.parametrize(("value", "arrived"), CONTAINED.values(), ids=CONTAINED)
def test_a_relative_of_a_builtin_arrives_as_the_builtin_it_holds(value: Any, arrived: Any) -> None:
    assert same(across(value), arrived)


ITERATED: dict[str, tuple[Any, list[Any]]] = {
    "generator": ((x for x in "ab"), ["a", "b"]),
    "map": (map(abs, [-1]), [1]),
    "zip": (zip([1], "a", strict=True), [(1, "a")]),
    "nested": (iter([[1], (2,)]), [[1], (2,)]),
}


@pytest.mark.parametrize(("value", "items"), ITERATED.values(), ids=ITERATED)
def test_what_can_be_iterated_over_arrives_as_an_iterator(value: Any, items: list[Any]) -> None:
    arrived = across(value)
    assert arrived != items
    assert next(arrived, None) == items[0]
    assert list(arrived) == items[1:]


def test_arrays_and_views_of_a_dict_arrive_as_they_were() -> None:
    for array in (
        np.arange(6).reshape(2, 3),
        np.empty((0, 2), "float32"),
        np.array(["a", "bcd"]),
        np.array([1j, np.inf]),
    ):
        arrived = across(array)
        assert (arrived.dtype, arrived.shape, arrived.tolist()) == (array.dtype, array.shape, array.tolist())
    table = {1: "a", 2: "b"}
    for view in (table.keys(), table.items()):
        assert across(view) == view
    assert list(across(table.values())) == ["a", "b"]


def test_an_iterator_without_an_end_arrives_with_many_items() -> None:
    assert len(list(across(itertools.count()))) == MOST_ITEMS


def test_what_a_call_did_to_its_arguments_is_found_and_done_again() -> None:
    before: dict[int | str, Any] = {
        0: [1, [2]],
        1: {"a": 1},
        2: {1},
        3: bytearray(b"a"),
        4: collections.deque([1]),
        "x": [3],
        "y": (1, [2]),
    }
    packed: dict[int | str, Any] = {key: pack(value) for key, value in before.items()}
    after: dict[int | str, Any] = {key: across(value) for key, value in before.items()}
    assert changed(packed, after) == []
    after[0][1].append(3), after[1].clear(), after[2].add(2), after[3].extend(b"b"), after[4].pop(), after["x"].pop()
    found = changed(packed, after)
    assert found[::2] == [0, 1, 2, 3, 4, "x"]
    for key, value in zip(found[::2], found[1::2], strict=True):
        change(before[key], unpack(json.loads(json.dumps(value))))
    assert before == after
    for value, other in (([1], (1,)), ("a", "b"), ({1}, [1])):
        with pytest.raises(Uncrossable):
            change(value, other)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [Fake(), [Fake()], {1: Fake()}, (Fake() for _ in "a"), len, Fake, type, Color, np.array([Fake()]), deep(302)],
    ids=["object", "in_list", "in_dict", "generator", "function", "class", "type", "enum", "array", "too_deep"],
)
def test_nothing_else_crosses(value: Any) -> None:
    with pytest.raises(Uncrossable):
        pack(value)


@pytest.mark.parametrize(
    "packed",
    [
        {},
        [],
        ["x"],
        ["d", 1],
        ["i", "zz"],
        ["c", "1"],
        [1, 2],
        ["s", ["l"]],
        ["d", ["l"], 1],
        ["b", "xyz"],
        ["date", "x"],
        ["fraction", 1, 0],
        ["decimal", "x"],
        ["fraction", "1e9"],
        ["delta", 1e300],
        ["r", 1, 2, 0],
        ["r", 1.5],
        ["date", 1],
        ["decimal", ["l"]],
        ["type", "type"],
        ["type", "SystemExit"],
        ["array", "<i8", ["t", 2], 1],
        ["array", "|O", ["t", 1], 1],
        ["array"],
        ["items", 1],
        ["function", 1],
    ],
    ids=json.dumps,
)
def test_a_forged_value_is_refused(packed: Any) -> None:
    with pytest.raises(Uncrossable):
        unpack(packed)


EQUAL = {
    "float_and_int": (["l", 2, 3.0], [2.0, 3], True),
    "bool_and_int": (True, 1, True),
    "text_and_number": ("1", 1, False),
    "tuple_and_list": (["t", 1], [1], False),
    "int_keys": (["d", 1, 2], {1: 2}, True),
    "text_keys": (["d", "1", 2], {1: 2}, False),
    "key_twice": (["d", 1, 2, 1, 2], {1: 2, 3: 4}, False),
    "key_too_many": (["d", 1, 2, 3, 4], {1: 2}, False),
    "odd_dict": (["d", 1, 2, 3], {1: 2}, False),
    "unhashable_key": (["d", ["l"], 1], {1: 1}, False),
    "nan": (["n", "nan"], float("nan"), False),
    "infinity": (["n", "inf"], float("inf"), True),
    "big_int": (["i", hex(10**4000)], 10**4000, True),
    "set": (["s", 1], [1], False),
    "forged": (["x", 1], [1], False),
    "empty": ([], [], False),
    "none": (None, None, True),
}


@pytest.mark.parametrize(("packed", "expected", "equal"), EQUAL.values(), ids=EQUAL)
def test_equality_at_the_border(packed: Any, expected: Any, equal: bool) -> None:
    assert equals(packed, expected) is equal


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from("lsftdinbc")),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


@given(TREES, st.one_of(TREES, st.dictionaries(st.integers(), st.integers())))
@settings(deadline=None)
def test_what_is_of_the_form_can_be_compared_and_unpacked_whatever_it_holds(tree: Any, expected: Any) -> None:
    if is_packed_json(json.dumps(tree).encode()):
        equals(tree, expected)
        with contextlib.suppress(Uncrossable):
            unpack(tree)


@given(VALUES)
def test_what_was_packed_is_of_the_form(value: Any) -> None:
    assert is_packed_json(json.dumps(pack(value)).encode())


@given(st.binary())
def test_any_bytes_are_looked_at(body: bytes) -> None:
    assert is_packed_json(body) in (True, False)


@pytest.mark.parametrize("part", [b"[", b'"[', b'"\\', b"\\", b'["l",', b'{"":', b"[],", b"9"], ids=repr)
def test_a_megabyte_of_anything_is_looked_at_in_linear_time(part: bytes) -> None:
    began = time.process_time()
    assert not is_packed_json(part * (1_000_000 // len(part)))
    assert time.process_time() - began < 1.5
