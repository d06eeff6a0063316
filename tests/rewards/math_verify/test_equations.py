"""Equations and inequalities that surely differ are not equal to Math-Verify, which need not solve them for that."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from analyzer.rewards.math_verify.equations import relations_differ

EXAMPLES = settings().max_examples  # of the profile, see tests/conftest.py


def surely_differ(gold: str, answer: str) -> bool | None:
    """What is said of two texts; None where one does not parse."""
    first, second = (parse(f"${text}$", fallback_mode="no_fallback", parsing_timeout=None) for text in (gold, answer))
    return relations_differ(first[0], second[0]) if first and second else None


def equal(gold: str, answer: str) -> bool:
    return verify(
        parse(f"${gold}$", parsing_timeout=None), parse(f"${answer}$", parsing_timeout=None), timeout_seconds=None
    )


coefficients = st.sampled_from(
    ["1", "2", "3", "4", "-1", "-2", "0.5", "\\frac{1}{2}", "\\sqrt{2}", "\\pi", "25\\%", "i"]
)
letters = st.sampled_from("xxxyyyzXek")
terms = st.one_of(
    coefficients,
    st.tuples(coefficients, letters).map("{0[0]} {0[1]}".format),
    st.tuples(coefficients, letters).map("{0[0]} {0[1]}^2".format),
    st.tuples(letters, letters).map("{0[0]} {0[1]}".format),
    st.tuples(letters, coefficients).map("({0[0]} + {0[1]})^2".format),
    st.sampled_from(["\\sqrt{x}", "x^3", "\\frac{1}{x}", "f(x)", "\\sin y", "|x|", "2^x", "x_1", "x(y - 1)"]),
)
sides = st.lists(terms, min_size=1, max_size=3).map(" + ".join)
signs = st.sampled_from([" = ", " = ", " = ", " < ", " > ", " \\le ", " \\ge "])
equations = st.tuples(sides | letters, signs, sides | st.sampled_from("01")).map("".join)
pairs = st.one_of(
    st.tuples(equations, equations),
    equations.map(lambda text: (text, " = ".join(reversed(text.split(" = "))))),
    equations.map(lambda text: (text, text.replace("2", "3"))),
    equations.map(lambda text: (text, text.replace("x", "z"))),
    equations.map(lambda text: (text, text.replace(" < ", " > "))),
    equations.map(lambda text: (text.replace(" < ", " > "), "-(" + text.replace(" < ", ") < -(") + ")")),
    equations.map(lambda text: (text, text.replace(" = ", " + 1 = "))),
)


@settings(max_examples=EXAMPLES // 4)  # some take Math-Verify a second
@given(pairs)
@example(("\\frac{x^2}{4} + \\frac{y^2}{3} = 1", "\\frac{x^2}{3} + \\frac{y^2}{4} = 1"))
@example(("y^2 = 4x", "y^2 = 8x"))
def test_equations_without_a_common_solution_are_not_equal_to_math_verify(pair: tuple[str, str]) -> None:
    if surely_differ(*pair):
        assert not equal(*pair)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x = 4", "x = 5"),
        ("x = 4", "2x = 10"),
        ("y = 2x + 1", "y = 2x + 3"),
        ("y = 2x + 1", "y = \\frac{x}{2} + 2"),
        ("x^2 = 2", "x^2 = 3"),
        ("x^2 + 1 = 0", "x = 1"),  # nothing real against something
        ("\\frac{x^2}{2} - \\frac{y^2}{4} = 1", "\\frac{x^2}{4} - \\frac{y^2}{4} = 1"),
        ("\\frac{x^2}{(\\sqrt{2} - 1)^2} - \\frac{y^2}{4} = 1", "\\frac{x^2}{2} - \\frac{y^2}{4} = 1"),
        ("x^2 + y^2 = 4", "x^2 + y^2 = 2"),
        ("x^2 + y^2 = 4", "x + y = 5"),
        ("a x = 2", "a x = 3"),
        ("x + y + z = 1", "x + y + z = 2"),
        ("y = 1", "y = k + 2"),
        ("x = 4", "y = 5"),
        ("x = 4", "y = 4"),
        ("a > 2", "a < 2"),
        ("a > 2", "a \\ge 2"),
        ("a > 2", "x > \\frac{2}{3}"),
        ("x \\le 13", "x \\ge 1"),
        ("x > 2", "3 < x"),
        ("x^2 > 4", "x^2 > -1"),
    ],
)
def test_what_has_no_common_solution(gold: str, answer: str) -> None:
    assert surely_differ(gold, answer)
    assert not equal(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x = 4", "2x = 8"),
        ("y = (x + 2)^2 - 2", "y = x^2 + 4x + 2"),
        ("x^2 + 1 = 0", "x^2 + 4 = 0"),  # no real solution: sympy says the same of both
        ("x^2 + y^2 = -1", "x^2 + y^2 = -2"),
        ("y (x - 1) = 0", "y (x - 2) = 0"),  # equal where y is 0, so it depends on the letter that is solved for
        ("x = 0.333", "x = \\frac{1}{3}"),
        ("x = 1000", "x = 1000.5"),
        ("x = 25\\%", "x = 25"),
        ("x_1 = 4", "x_1 = 5"),  # a name of several letters may be spelled by a product
        ("x^3 = 1", "x^3 = 2"),
        ("y = \\sin x", "y = \\cos x"),
        ("y = f(x)", "y = g(x)"),
        ("x y = 1", "x + y - y = 1"),
        ("x = i", "x = 2 i"),
        ("x = 4", "5"),
        ("x = 4", "x < 4"),
        ("x > 2", "2 < x"),
        ("x > 2", "x - 2 > 0"),
        ("x^2 > -1", "x^2 > -5"),  # both hold always: sympy says the same of both
        ("x + y > 1", "x + y > 2"),
    ],
)
def test_where_it_is_not_sure_it_does_not_say(gold: str, answer: str) -> None:
    assert surely_differ(gold, answer) is False
