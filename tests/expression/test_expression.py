"""Expressions over columns: a table of conditions and outcomes, errors at their place, a law against Python."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import ConfigError
from analyzer.expression import compile_expression

TABLE = pa.table(
    {
        "pass_rate": [0.0, 0.2, 0.5, None],
        "pass@8": pa.array([0.0, 0.9, 1.0, math.nan], from_pandas=False),
        "passes": pa.array([0, 2, 5, 8], pa.uint64()),
        "num_scored": [8, 10, 10, 8],
        "flag": ["", "cut_off", "", None],
        "source": pa.array(["aime", "gsm8k", "aime", "math"]).dictionary_encode(),
        "big": pa.array(["a'b", "b", "c", "d"], pa.large_string()),
        "share": pa.array([0.7, 0.1, 0.3, 0.9], pa.float32()),
        "solved": [True, False, None, True],
        "tags": [["x", "y"], [], None, ["y"]],
        "nothing": pa.nulls(4),
        "row.pass_rate": [1.0, 2.0, 3.0, 4.0],
        "extra": [{"level": 1, "of": {"who": "me"}}, {"level": 5, "of": None}, None, {"level": None, "of": None}],
        "and": [1, 2, 3, 4],
        "weird name": [1, 1, 0, 0],
        "when": pa.array([0, 1, 2, 3], pa.timestamp("s")),
    }
)

CASES: list[tuple[str, list[bool | None]]] = [
    ("0.2 <= pass_rate <= 0.8", [False, True, True, None]),
    ("0.2 <= pass_rate <= 0.8 and flag == ''", [False, False, True, None]),
    ("pass_rate > 0.4 or passes == 8", [False, False, True, True]),  # true decides, whatever is missing
    ("not (pass_rate > 0.4)", [True, True, False, None]),
    ("not pass_rate > 0.4 and passes < 2", [True, False, False, False]),
    ("pass_rate is null", [False, False, False, True]),
    ("pass_rate is not None", [True, True, True, False]),
    ("`pass@8` > 0.5", [False, True, True, None]),  # NaN is a missing value
    ("not pass@8 > 0.5", [True, False, False, None]),
    ("source in ['aime', \"math\"]", [True, False, True, True]),
    ("source not in ('aime',  'math')", [False, True, False, False]),
    ("flag in ['']", [True, False, True, None]),  # a missing value is in no list and not outside of one
    ("flag not in ['']", [False, True, False, None]),
    ("passes in [2, 5.0]", [False, True, True, False]),
    ("passes in [-2, 5]", [False, False, True, False]),
    ("'me' in source", [True, False, True, False]),
    ("'.' in source", [False, False, False, False]),  # a text, no pattern
    ("'x' in tags", [True, False, None, False]),
    ("'x' not in tags", [False, True, None, True]),
    ("big == 'a\\'b'", [True, False, False, False]),
    ("share >= 0.7", [True, False, False, True]),  # float32
    ("share in [0.1, 0.3]", [False, True, True, False]),
    ("passes / num_scored >= 0.5", [False, False, True, True]),
    ("1 / passes < 1", [None, True, True, True]),  # a division by zero is a missing value
    ("passes % 2 == 0", [True, True, False, True]),
    ("-passes % 3 == 1", [False, True, True, True]),  # as in Python
    ("7.5 % -2 == -0.5", [True] * 4),
    ("passes <= num_scored - 1 < 9", [True, False, False, False]),
    ("2 + 3 * 4 - -1 == 15", [True] * 4),
    ("(2 + 3) * 4 == 20", [True] * 4),
    ("1 < 2 < 2", [False] * 4),
    ("solved", [True, False, None, True]),
    ("solved == true", [True, False, None, True]),
    ("NOT solved AND true", [False, True, None, False]),
    ("nothing == 3", [None] * 4),
    ("not nothing < nothing", [None] * 4),
    ("nothing + 1 == 3 or true", [True] * 4),
    ("nothing in [1]", [None] * 4),
    ("'x' in nothing or nothing.level == 1", [None] * 4),
    ("row.pass_rate - pass_rate == 1", [True, False, False, None]),
    ("extra.level == 5", [False, True, None, None]),
    ("extra.of.who == 'me'", [True, None, None, None]),
    ("`and` == 2", [False, True, False, False]),
    ("`weird name` == 1", [True, True, False, False]),
    ("flag == 'None'", [False, False, False, None]),
    ("1e1 == 10 and .5 == 0.50 and 1_000 == 1000", [True] * 4),
]


@pytest.mark.parametrize(("text", "outcome"), CASES, ids=[text for text, _ in CASES])
def test_a_condition_gives_its_outcome_for_each_row(text: str, outcome: list[bool | None]) -> None:
    expression = compile_expression(text, TABLE.column_names)
    assert expression.evaluate(TABLE).to_pylist() == outcome
    assert expression.evaluate(TABLE.slice(0, 0)).to_pylist() == []
    by_batch = [expression.evaluate(batch).to_pylist() for batch in TABLE.to_batches(max_chunksize=1)]
    assert [value for values in by_batch for value in values] == outcome


ERRORS = [
    ("0.2 <= pas_rate", "--where: at the ^ in `0.2 <= ^pas_rate`: there is no 'pas_rate' (did you mean 'pass_rate'?)"),
    ("zzz > 1", "there is no 'zzz'; there are: pass_rate, pass@8, "),
    ("pass_rate = 1", "at the ^ in `pass_rate ^= 1`: = is not part of the language, write =="),
    (
        "pass_rate > 0 & passes > 1",
        "at the ^ in `pass_rate > 0 ^& passes > 1`: & is not part of the language, write and",
    ),
    ("flag == null", "in `flag == ^null`: "),
    ("flag == 'a", "at the ^ in `flag == ^'a`: "),
    ("", "expected a name, a number or a text, found the end"),
    ("passes >", "at the ^ in `passes >^`: expected a name, a number or a text, found the end"),
    ("passes > 1 flag == ''", "expected and, or or the end, found flag"),
    ("(passes > 1", "expected ), found the end"),
    ("passes in [passes]", "expected a number or a text in the list, found passes"),
    ("passes in 3", "cannot be searched in"),
    ("passes in [1", "expected ], found the end"),
    ("__import__('os')", "there is no '__import__'"),
    ("passes.__class__ == 1", "a number has no field '__class__'"),
    ("extra.levle == 1", "at the ^ in `^extra.levle == 1`: there is no field 'levle' (did you mean 'level'?)"),
    ("flag > 3", "at the ^ in `flag ^> 3`: a text cannot be compared with a number"),
    ("flag in ['', 3]", "a text cannot be compared with a number"),
    ("flag + 1 == 2", "+ needs numbers, not a text"),
    ("passes", "a number is not a condition"),
    ("passes and true", "at the ^ in `^passes and true`: a number is not a condition, compare it with a value"),
    ("true and not passes", "at the ^ in `true and not ^passes`"),
    ("extra == extra", "a struct cannot be compared as a whole"),
    ("when > 3", "a timestamp[s] cannot be compared with a number"),
    ("99999999999999999999 > passes", "not a number of 64 bits"),
    ("9223372036854775807 + num_scored > 0", "at the ^ in `9223372036854775807 ^+ num_scored > 0`: "),
    ("(" * 5000 + "solved" + ")" * 5000, "nested too deeply"),
    ("passes > 1; passes", "unexpected ';'"),
    ("\x1b[2J", "unexpected"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS, ids=[text[:40] for text, _ in ERRORS])
def test_a_mistake_is_one_line_that_points_at_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_expression(text, TABLE.column_names, "--where").evaluate(TABLE)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_names_are_those_it_reads_and_no_others_are_needed() -> None:
    expression = compile_expression("row.pass_rate > 1 and passes > 1 or row.pass_rate < 9", TABLE.column_names)
    assert expression.names == ("row.pass_rate", "passes")
    assert expression.evaluate(TABLE.select(list(expression.names))).to_pylist() == [True] * 4


def test_a_thousand_alternatives_are_no_deeper_than_one() -> None:
    text = " or ".join(f"passes == {n}" for n in range(5, 1000)) + " or passes" + " + 1 - 1" * 500 + " == 2"
    assert compile_expression(text, TABLE.column_names).evaluate(TABLE).to_pylist() == [False, True, True, True]


def test_brackets_within_brackets_are_parsed_once() -> None:
    text = "(" * 40 + "passes > 1" + " or solved) and true" * 40
    assert compile_expression(text.replace("or solved) and", ") and"), TABLE.column_names).evaluate(TABLE)[1].as_py()


NUMBERS = st.integers(-4, 4).map(str) | st.sampled_from(["a", "b", "0.5"])
SUMS = st.recursive(NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*%"), inner).map(" ".join), max_leaves=4)
CHAINS = st.tuples(SUMS, st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]), SUMS, st.just("<="), SUMS).map(" ".join)
CONDITIONS = st.recursive(
    CHAINS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
        | inner.map(lambda text: f"not {text}")
        | inner.map(lambda text: f"({text})")
    ),
    max_leaves=5,
)


@given(CONDITIONS, st.integers(-5, 5), st.integers(-5, 5))
def test_precedence_and_arithmetic_are_those_of_python(text: str, a: int, b: int) -> None:
    outcome = compile_expression(text, ["a", "b"]).evaluate(pa.table({"a": [a], "b": [b]}))[0].as_py()
    names: dict[str, Any] = {"a": a, "b": b}
    try:
        expected = eval(text, {"__builtins__": {}}, names)
    except ZeroDivisionError:
        return  # a missing value here; the table above has it
    assert outcome == expected or outcome is None
