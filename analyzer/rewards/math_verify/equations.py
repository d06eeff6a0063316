"""Whether two equations or inequalities surely differ: a quick proof, without solving them.

    y = 2*x + 1 and y = 2*x + 3 differ: they have no solution in common

Math-Verify 0.9.0 (grader.py, `sympy_compare_relational`) takes two equations for equal where the differences of their
sides are equal, up to the sign, or where sympy's `solve` says the same of both: some letter in terms of the others.
Simplifying and solving takes it up to a quarter of a second, for two hyperbolas.

Here each letter in turn stays, the others get a value, and what is left are two polynomials of degree 1 or 2. Their
resultant is 0 exactly where they have a root in common. For the child process alone, since it imports sympy.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import sympy

from analyzer.rewards.math_verify.evaluation import FAR, Evaluation, Number, Unknown, product, surely_differ, total

_INEQUALITIES = {sympy.Gt: sympy.Lt, sympy.Lt: sympy.Gt, sympy.Ge: sympy.Le, sympy.Le: sympy.Ge}
_MOST_LETTERS = 4
_MOST_NODES = 400
_MOST_DEGREE = 2
_SCALES = (1.0, 5.0)  # of the values of the other letters: a hyperbola has no point where x is 1, and has where it is 5
_SMALLEST = 1e-6  # beside the largest coefficient: below it, the degree is not sure

_NOT_KNOWN = (Unknown, ArithmeticError, ValueError, TypeError)

_Polynomial = Sequence[Number]  # coefficients, that of the lowest power first


def relations_differ(gold: Any, answer: Any) -> bool:
    """Whether two equations, or two inequalities, are certainly not equal to Math-Verify. False says nothing."""
    if type(gold) in _INEQUALITIES and type(answer) in _INEQUALITIES:
        return _inequalities_differ(gold, answer)
    return isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq) and have_no_common_solution(gold, answer)


def _inequalities_differ(gold: Any, answer: Any) -> bool:
    """Whether neither the differences of their sides nor, with the sign the other way round, their negatives are equal.

    Else they are equal only where `solve` has the same list for both, and it has none but the empty one, for what holds
    always or never. An inequality with a bound does neither.
    """
    if not any(_has_bound(each) for each in (gold, answer)):
        return False
    ours, theirs = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if type(gold) is type(answer):
        return surely_differ(ours, theirs)
    return type(gold) is not _INEQUALITIES[type(answer)] or surely_differ(ours, -theirs)


def _has_bound(inequality: Any) -> bool:
    """Whether an inequality of one letter surely is an equation for some real number."""
    letter = next(iter(inequality.free_symbols), None)
    if letter is None or len(inequality.free_symbols) > 1 or not letter.is_real:
        return False
    try:
        return _has_real_root(_polynomial(inequality, letter, _SCALES[0]))
    except _NOT_KNOWN:
        return False


def have_no_common_solution(gold: Any, answer: Any) -> bool:
    """Whether two equations have certainly no solution in common, and one of them a real one. False says nothing."""
    letters = gold.free_symbols | answer.free_symbols
    if not 0 < len(letters) <= _MOST_LETTERS:
        return False
    # A product of letters may spell the name of another to Math-Verify, and beside an i no letter stands for a real
    # number, so that `solve` drops real solutions.
    if not all(letter.is_real and len(letter.name) == 1 and letter.name not in "eE" for letter in letters):
        return False
    if gold.has(sympy.UnevaluatedExpr) or answer.has(sympy.UnevaluatedExpr):  # 25 % may be 0.25, and 25
        return False
    # `solve` may solve for any of them. That it says the same of both is out of the question only if each differs.
    return all(
        _differ_in(letter, [each for each in (gold, answer) if letter in each.free_symbols]) for letter in letters
    )


def _differ_in(letter: Any, equations: Sequence[Any]) -> bool:
    """Whether, at some values of the other letters, the equations hold for other values of this one.

    And one of them holds for real ones, at the same or other values: of two equations without a real solution `solve`
    says the same, nothing. Where a letter is in one of them alone, what is solved for it has no counterpart.
    """
    try:
        slices = [[_polynomial(equation, letter, scale) for equation in equations] for scale in _SCALES]
    except _NOT_KNOWN:
        return False
    is_real = any(_has_real_root(polynomial) for polynomials in slices for polynomial in polynomials)
    return is_real and (len(equations) == 1 or any(_have_no_common_root(*pair) for pair in slices))


def _polynomial(equation: Any, letter: Any, scale: float) -> _Polynomial:
    """Left minus right side. Raises Unknown unless it is a polynomial of degree 1 or 2 in the letter."""
    reader = _Reader(letter, scale)
    right = [product(Number(-1), coefficient) for coefficient in reader.of(equation.rhs)]
    found = _added(reader.of(equation.lhs), right)
    largest = max(abs(coefficient.value) for coefficient in found)
    if len(found) == 1 or abs(found[-1].value) - found[-1].error <= _SMALLEST * largest:
        raise Unknown
    if any(complex(coefficient.value).imag for coefficient in found):
        raise Unknown
    # So that the largest is 1, and what is far is so beside it.
    return [product(Number(1 / largest), coefficient) for coefficient in found]


class _Reader:
    """Reads a polynomial of one letter from an expression, and counts its nodes."""

    def __init__(self, letter: Any, scale: float) -> None:
        self._letter = letter
        self._numbers = Evaluation(scale)
        self._nodes = 0

    def of(self, expression: Any) -> _Polynomial:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise Unknown
        if expression == self._letter:
            return [Number(0.0), Number(1.0)]
        # A function of another letter is found where that letter is the one that stays.
        if self._letter not in expression.free_symbols:
            return [self._numbers.of(expression)]
        if isinstance(expression, sympy.Add):
            return functools.reduce(_added, map(self.of, expression.args))
        if isinstance(expression, sympy.Mul):
            return functools.reduce(_multiplied, map(self.of, expression.args))
        if isinstance(expression, sympy.Pow) and expression.exp in (1, _MOST_DEGREE):
            return functools.reduce(_multiplied, [self.of(expression.base)] * int(expression.exp))
        raise Unknown


def _added(one: _Polynomial, other: _Polynomial) -> _Polynomial:
    short, long = sorted((one, other), key=len)
    return [*(total([a, b]) for a, b in zip(short, long, strict=False)), *long[len(short) :]]


def _multiplied(one: _Polynomial, other: _Polynomial) -> _Polynomial:
    degree = len(one) + len(other) - 2
    if degree > _MOST_DEGREE:
        raise Unknown
    pairs: list[list[Number]] = [[] for _ in range(degree + 1)]
    for i, first in enumerate(one):
        for j, second in enumerate(other):
            pairs[i + j].append(product(first, second))
    return [total(terms) for terms in pairs]


def _has_real_root(polynomial: _Polynomial) -> bool:
    if len(polynomial) == 2:
        return True
    constant, linear, square = polynomial
    discriminant = total([product(linear, linear), product(Number(-4.0), product(constant, square))])
    return discriminant.value.real > discriminant.error


def _have_no_common_root(first: _Polynomial, second: _Polynomial) -> bool:
    resultant = _resultant(first, second)
    return abs(resultant.value) - resultant.error > FAR


def _resultant(first: _Polynomial, second: _Polynomial) -> Number:
    """The determinant of the Sylvester matrix, written out."""
    if len(first) > len(second):
        first, second = second, first
    if len(second) == 2:
        return _crossed(first[1], second[0], first[0], second[1])
    c, b, a = second
    if len(first) == 2:
        q, p = first
        return total(
            [product(a, product(q, q)), product(Number(-1), product(b, product(p, q))), product(c, product(p, p))]
        )
    r, q, p = first
    outer = _crossed(p, c, r, a)
    inner = product(_crossed(p, b, q, a), _crossed(q, c, r, b))
    return total([product(outer, outer), product(Number(-1), inner)])


def _crossed(a: Number, b: Number, c: Number, d: Number) -> Number:
    """a b - c d."""
    return total([product(a, b), product(Number(-1), product(c, d))])
