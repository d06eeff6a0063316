"""Laws of the operations: on any rows they do what a plain reading of the rows in Python does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.dialects import groups, lookup, operations
from analyzer.dialects.layout import Group, Layout, parse_columns, parse_path
from analyzer.dialects.lookup import Column, Rows, look_up, python_values
from analyzer.dialects.values import rewards_of
from analyzer.errors import ConfigError, InputError
from analyzer.rollouts import json_columns

Row = dict[str, Any]


def where(at: int) -> str:
    return f"row {at}"


def rows_of(rows: list[Row], names: list[str]) -> Rows:
    """The rows as a jsonl file of them is read."""
    fields = json_columns.kinds_of(dict.fromkeys(names) | row for row in rows)
    return lookup.rows_of(json_columns.columns_to_arrow(rows, fields))


def plain(value: Any, path: str) -> Any:
    """What is at a path, read step by step; None where there is nothing."""
    for step in parse_path(path):
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
    return value


def same(one: Any, other: Any) -> bool:
    """Equal, where a member that is absent is one that is null: a column of structs has the members of all rows."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and (isinstance(one, bool) == isinstance(other, bool))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
scalars = st.none() | texts | st.integers(-9, 9) | st.booleans()
shapes = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("bcd"), inner, max_size=3)
)


@given(
    st.lists(shapes, max_size=5), st.sampled_from(["a", "a.b", "a[0]", "a[-1]", "a.b[1]", "a[0].c", "a.b.c", "a[0][0]"])
)
def test_a_path_finds_what_walking_the_values_finds(values: list[Any], path: str) -> None:
    rows = rows_of([{"a": value} for value in values], ["a"])
    wanted = [plain({"a": value}, path) for value in values]
    found = look_up(rows, path)
    assert all(value is None for value in wanted) if found is None else same(python_values(found), wanted)


lists = st.lists(st.integers(0, 9), max_size=4)
exploding = st.lists(
    st.tuples(lists, st.booleans(), st.booleans(), texts).map(
        lambda t: {"a": t[0], "b": {"c": None if t[1] else [str(n) for n in t[0]]}, "d": None if t[2] else t[3]}
    ),
    max_size=6,
)


@given(exploding)
def test_exploding_gives_a_row_for_each_item(rows: list[Row]) -> None:
    found, parents = operations.explode(rows_of(rows, ["a", "b", "d"]), ["a", "b.c"], where)
    wanted = [
        (item, None if row["b"]["c"] is None else row["b"]["c"][at], row["d"], number)
        for number, row in enumerate(rows)
        for at, item in enumerate(row["a"])
    ]
    if not rows:
        return
    columns = [found.columns[name].array.to_pylist() for name in ("a", "b.c", "d")]
    assert list(zip(*columns, parents.tolist(), strict=True)) == wanted


def test_lists_of_other_lengths_are_an_error_with_the_place() -> None:
    with pytest.raises(InputError, match=r"row 1: b has 1 items and a 2"):
        operations.explode(rows_of([{"a": [1], "b": [2]}, {"a": [1, 2], "b": [3]}], []), ["a", "b"], where)


@given(st.lists(st.tuples(st.lists(st.tuples(texts, st.floats(0, 1)), max_size=5), texts), max_size=4))
def test_transposing_gives_the_rows_that_the_columns_hold(batches: list[tuple[list[tuple[str, float]], str]]) -> None:
    rows = [{"t": [a for a, _ in items], "f": [b for _, b in items], "name": name} for items, name in batches]
    found = operations.transpose(rows_of(rows, ["t", "f", "name"]))
    wanted = [(a, b, name) for items, name in batches for a, b in items]
    if any(items for items, _ in batches):
        columns = [found.columns[name].array.to_pylist() for name in ("t", "f", "name")]
        assert list(zip(*columns, strict=True)) == wanted
    else:
        assert found.size == 0 or not rows


@given(st.lists(st.tuples(shapes, shapes), min_size=1, max_size=8))
def test_equal_values_and_no_others_share_a_digest_in_either_file_format(pairs: list[tuple[Any, Any]]) -> None:
    rows = rows_of([{"a": a, "b": b} for a, b in pairs], ["a", "b"])
    ids = groups.digests([rows.columns["a"], rows.columns["b"]], len(pairs)).to_pylist()
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    alone = [
        groups.digests(list(rows_of([{"a": a, "b": b}], ["a", "b"]).columns.values()), 1)[0].as_py() for a, b in pairs
    ]
    assert ids == alone  # whatever else is in the file, and so whatever type the column has
    for i, one in enumerate(pairs):
        for j, other in enumerate(pairs):
            assert (ids[i] == ids[j]) == same(list(one), list(other))


@given(st.lists(st.lists(st.sampled_from(["x", "y", "z"]), max_size=6), max_size=4))
def test_rollouts_are_numbered_in_order_over_all_batches(batches: list[list[str]]) -> None:
    ordinals = groups.Ordinals()
    found = [number for batch in batches for number in ordinals.number(pa.array(batch, pa.string())).tolist()]
    seen: dict[str, int] = {}
    wanted = []
    for name in (name for batch in batches for name in batch):
        wanted.append(seen.get(name, 0))
        seen[name] = wanted[-1] + 1
    assert found == wanted
    assert ordinals.counts == seen


def test_a_regex_takes_the_part_of_a_column() -> None:
    rows = rows_of([{"uid": "a_b_0_1"}, {"uid": "a_b_1_0"}, {"uid": "c_0_0"}], [])
    group = Group(("uid",), r"^(.*)_\d+_\d+$")
    assert groups.group_ids(rows, group, [rows.columns["uid"]], where).to_pylist() == ["a_b", "a_b", "c"]
    rows = rows_of([{"uid": "a_0_1"}, {"uid": "b"}], [])
    with pytest.raises(InputError, match=r"row 1: uid is 'b', in which .* does not match"):
        groups.group_ids(rows, group, [rows.columns["uid"]], where)


def test_floats_that_are_whole_are_ids_and_others_are_not() -> None:
    rows = rows_of([{"id": 3.0}, {"id": 4.0}], [])
    assert groups.group_ids(rows, Group(("id",)), [rows.columns["id"]], where).to_pylist() == [3, 4]
    rows = rows_of([{"id": 3.0}, {"id": 4.5}], [])
    with pytest.raises(InputError, match=r"row 1: id is 4\.5, not a whole number"):
        groups.group_ids(rows, Group(("id",)), [rows.columns["id"]], where)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([True, False, None], [1, 0, None]),
        ([1, 0, None], [1, 0, None]),
        (["1", "0", "0.5", "", "n/a"], [1, 0, 0.5, None, None]),
        (["C", "I", "P", "N", "true", "False"], [1, 0, 0.5, 0, 1, 0]),
        ([[1.0], [0.0], None], [1, 0, None]),
        ([1, True, "0", [1]], [1, 1, 0, 1]),  # lines that disagree
    ],
)
def test_rewards_come_in_many_forms(values: list[Any], wanted: list[float | None]) -> None:
    column = rows_of([{"r": value} for value in values], ["r"]).columns["r"]
    found = rewards_of(column, "r", where)
    assert [None if np.isnan(value) else value for value in found.tolist()] == wanted


@pytest.mark.parametrize(("value", "hint"), [("maybe", "maybe"), ([1, 2], "1, 2"), ({"acc": 1}, "reward: r.NAME")])
def test_what_is_no_reward_is_an_error_with_its_place(value: Any, hint: str) -> None:
    column = rows_of([{"r": value}], ["r"]).columns["r"]
    with pytest.raises(InputError, match=re.escape(hint)):
        rewards_of(column, "r", where)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("content[0][-1]", ("content", 0, -1)),
        ('scores["exact match"].x', ("scores", "exact match", "x")),
        ("difficulty['Qwen2.5-7B']", ("difficulty", "Qwen2.5-7B")),
    ],
)
def test_paths(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["", "[0]", "a..b", "a[x]", "a.", "a[0"])
def test_what_is_no_path_is_shown_where_it_ends(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        parse_path(text)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{promt: a}", "no key 'promt' (did you mean 'prompt'"),
        ("{prompt: 3}", "prompt: 3 is not a path"),
        ("{group: {regex: '(', of: a}}", "not a regular expression"),
        ("{group: {regex: 'a', of: a}}", "must have one group"),
        ("{group: 3}", "neither a column"),
        ("[a]", "must be keys and paths"),
        ("{a: [", "not valid YAML"),
    ],
)
def test_columns_that_say_nothing_are_an_error(columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_columns(columns)


def test_null_takes_a_key_out() -> None:
    assert Layout(prompt="a", reward="b").with_columns({"reward": None}) == Layout(prompt="a")


def test_a_name_with_dots_is_a_column_before_it_is_a_path() -> None:
    rows = Rows({"a.b": Column(pa.array([1]), pa.field("a.b", pa.int64()))}, 1)
    found = look_up(rows, "a.b")
    assert found is not None
    assert found.array.to_pylist() == [1]
