"""The examples in the docstrings of the mathematical rewards are true."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

from analyzer.rewards.math_verify.arithmetic import Value
from analyzer.rewards.math_verify.candidates import LATEX, Candidate
from analyzer.rewards.math_verify.evaluation import surely_differ
from analyzer.rewards.math_verify.settling import settled
from analyzer.rewards.prm800k import equality, tolerant


@pytest.mark.parametrize(("text", "outcome"), [("3 + 4 = 7", True), ("x + 4 = 8", False), ("\\text{so } 7", None)])
def test_settled(text: str, outcome: bool | None) -> None:
    assert settled(Value(Fraction(7)), [Candidate(LATEX, (text,), (False,))]) is outcome


def test_surely_differ() -> None:
    assert surely_differ(sympy.Symbol("x") ** 2 + 1, sympy.Integer(7))


@pytest.mark.parametrize("dialect", [equality.PRIME, equality.MATHRULER])
@pytest.mark.parametrize(("one", "other"), [("\\frac{1}{2}", "1/2"), ("3 cm", "3"), ("(1, x+x)", "(1,2x)")])
def test_equality_as_prm800k_has_it(one: str, other: str, dialect: equality.Dialect) -> None:
    assert equality.equal(one, other, dialect)


@pytest.mark.parametrize(("one", "other"), [("50%", "0.5"), ("(0, 3.14159)", "(0, 3.1416)")])
def test_equality_with_a_tolerance(one: str, other: str) -> None:
    assert tolerant.equal(one, other)
