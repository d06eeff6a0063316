"""Static limits: what is absurd is found in microseconds, what is let through can be built, words are no numbers."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards._common import limits, sizes
from analyzer.rewards._common.limits import refusal

BOUNDS = sizes.Bounds(bits=1000, exponent=100, factorial=50)

SMALL = [
    *(
        "2^{2^{3}}",
        "2^2^3",
        "x^2^2",
        "2^{10000}",
        "2024^{4046}",
        "20000!",
        "3!!!",
        "(3!)!",
        "5!!",
        "2^{2^{18}}",
        "2**8",
    ),
    *("Yes!!!", "No!", "x!!!", "n!!", "x != 3", "**12**", "x_{10}^{2}", "e^{e^{e}}", "10^{-3}", "1^{9^9}", "0.5^{100}"),
    *(
        "(x+y+z)^{300}",
        "2^{x+3}",
        "2^{\\frac{1}{2}}",
        "\\sum_{n=1}^{10^9} n",
        "f^{(3)}(x)",
        "1,000!",
        "7^{2023} \\cdot 3",
    ),
]
LARGE = [
    *(
        "9^{9^9}",
        "9**9**9",
        "9^9^9",
        "10^{10^{10}}",
        "((9!)!)!",
        "4!!!",
        "8!!",
        "30000!",
        "(10^5)!",
        "10^{100}!",
        "x^{9^9}",
    ),
    *(
        "2^{-9^9}",
        "2^{1-9^9}",
        "9^{9\\cdot-9^9}",
        "2^{9^9/3}",
        "2^{\\frac{9^9}{3}}",
        "2^{2^{2^{2^{2^{2}}}}}",
        "(2^{9999})^{99}",
    ),
    *(
        "\\left(9^9\\right)^{99999}",
        "9^{ ( 9^9 ) }",
        "}^{10^9}",
        "2^{{9}^{{9}}}",
        "3^{3^3!}",
        "10^{-400000}",
        "0.5^{999999}",
    ),
]


@pytest.mark.parametrize("text", SMALL)
def test_what_can_be_built_is_let_through(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", LARGE)
def test_what_cannot_be_built_is_refused(text: str) -> None:
    assert "too large" in (refusal(text) or "")


@pytest.mark.parametrize("unit", ["^", "!", "9^", "x^2", "{", "2^{", "(9", "*-", "\\frac", "_", "9!", "^{9}", ") "])
def test_a_text_at_the_limit_of_length_takes_milliseconds(unit: str) -> None:
    text = unit * (limits.CANDIDATE // len(unit))
    start = time.process_time()
    refusal(text)
    assert time.process_time() - start < 0.1


class TooLarge(Exception):
    """Raised by the exact arithmetic below for what is over BOUNDS."""


def power(base: int, exponent: int) -> int:
    if exponent * math.log2(max(abs(base), 1)) > BOUNDS.bits:
        raise TooLarge
    return int(base**exponent)


def factorial(number: int) -> int:
    if number > BOUNDS.factorial:
        raise TooLarge
    return math.factorial(max(number, 0))


numbers = st.integers(0, 12)
formulas = st.recursive(
    numbers.map(lambda number: (str(number), lambda: number)),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}+{two[1][0]})", lambda: two[0][1]() + two[1][1]())),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]}\\cdot {two[1][0]})", lambda: two[0][1]() * two[1][1]())
        ),
        st.tuples(inner, inner).map(
            lambda two: (f"{{{two[0][0]}}}^{{{two[1][0]}}}", lambda: power(two[0][1](), two[1][1]()))
        ),
        inner.map(lambda one: (f"({one[0]})!", lambda: factorial(one[1]()))),
    ),
    max_leaves=5,
)


@given(formulas)
def test_what_is_over_the_bounds_is_what_exact_arithmetic_says(formula: tuple[str, Any]) -> None:
    text, value = formula
    try:
        value()
    except TooLarge:
        assert sizes.excess(text, BOUNDS) is not None
    else:
        assert sizes.excess(text, BOUNDS) is None
