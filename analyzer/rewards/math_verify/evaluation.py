"""Numbers for sympy expressions, in floats and without sympy's own evaluation: a quick proof that two are not equal.

    surely_differ(x**2 + 1, Integer(7))  ->  True, since x**2 + 1 is 2.32 where x is 1.15

Letters get a value each, and functions that have no definition one that depends smoothly on what they are applied to.
Two expressions that are far apart there are not equal; two that are near may be or not. Each number carries a bound of
its own error (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.3: running error analysis). For
the child process alone, since it imports sympy.
"""

from __future__ import annotations

import cmath
import functools
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import sympy
from math_verify.grader import get_pct_val, is_assignment_relation, is_equation, take_last_relation
from sympy.core.function import AppliedUndef

# Far above six decimals and the error bounds, and still small: nothing is lost by being careful, as sympy has the
# last word.
FAR = 1e-3  # beside the larger one, or 1: Math-Verify compares decimal fractions to six places
_ROUNDING = 2.0**-50  # some units in the last place
_EXACT = 2.0**53  # up to here integers are floats
_INFINITE = (sympy.oo, sympy.S.NegativeInfinity)
# Its square is still a float, so x**2 of it needs no special case.
_INFINITY = 1e150  # stands for infinity where the other side is finite: nothing that is written out is as large
_MOST_NODES = 400
_FUNCTIONS: dict[Any, Callable[..., complex | float]] = {
    **{sympy.sin: cmath.sin, sympy.cos: cmath.cos, sympy.tan: cmath.tan, sympy.exp: cmath.exp, sympy.Abs: abs},
    **{sympy.asin: cmath.asin, sympy.acos: cmath.acos, sympy.atan: cmath.atan},
    **{sympy.sec: lambda x: 1 / cmath.cos(x), sympy.csc: lambda x: 1 / cmath.sin(x)},
    **{sympy.cot: lambda x: cmath.cos(x) / cmath.sin(x), sympy.factorial: lambda x: _gamma(x + 1)},
    sympy.binomial: lambda n, k: _gamma(n + 1) / _gamma(k + 1) / _gamma(n - k + 1),
}


class Unknown(Exception):
    """Raised for what has no number here."""


class Number(NamedTuple):
    """A number and a bound of its error.

    What was worked out from real numbers alone has an imaginary part of +0, and so one side of a branch cut.
    """

    value: complex
    error: float = 0.0


def surely_differ(gold: Any, answer: Any) -> bool:
    """Whether two parsed expressions are certainly not equal to Math-Verify, which takes the last side of an equation.

    False says nothing.
    """
    # The same unwrapping as in Math-Verify's verify(), or x = 7 against 7 would be a relation against a number.
    if is_equation(answer) and not is_equation(gold):
        answer = take_last_relation(answer).rhs
    elif is_assignment_relation(gold) and not is_equation(answer):
        gold = take_last_relation(gold).rhs
    # All pairs must differ: one pair that may be equal leaves the matter open.
    return all(_differ(one, other) for one in _readings(gold) for other in _readings(answer))


def _readings(expression: Any) -> list[Any]:
    """25 % may be 0.25, and it may be 25."""
    return [expression, *([] if (whole := get_pct_val(expression)) is None else [whole])]


def _differ(gold: Any, answer: Any) -> bool:
    # Math-Verify compares lone symbols by name, which numbers know nothing of.
    if isinstance(gold, sympy.Symbol) or isinstance(answer, sympy.Symbol):  # letters may spell a word
        return False
    first, second = _number(gold), _number(answer)
    if first is not None and second is not None:
        # Both bounds are taken off first, so that what is called far is far whatever the rounding did.
        distance = abs(first.value - second.value) - first.error - second.error
        is_far = distance > FAR * max(1.0, abs(first.value), abs(second.value))  # not where any is NaN or infinite
        return is_far and not (gold.has(*_INFINITE) and answer.has(*_INFINITE))
    if first is not None:
        return _is_other_set(answer, functools.partial(surely_differ, gold))
    return second is not None and _is_other_set(gold, lambda member: surely_differ(member, answer))


def _is_other_set(expression: Any, differs: Callable[[Any], bool]) -> bool:
    """Whether an expression is a set or tuple that is certainly not one number, nor the set of it alone.

    Math-Verify 0.9.0 (grader.py, `sympy_compare_sets`) takes the number for the set of it. A letter is not known to be
    that number; whether it spells a word is asked only where it is the only member.
    """
    # A pair is never one number, whatever stands in it.
    if isinstance(expression, sympy.Tuple) and len(expression) != 1:
        return True
    if isinstance(expression, sympy.Interval):
        members = (expression.start, expression.end)  # [1, 1] is the set of 1
    elif isinstance(expression, sympy.FiniteSet | sympy.Tuple):
        members = expression.args
    else:
        return False
    return any((len(members) > 1 and isinstance(member, sympy.Symbol)) or differs(member) for member in members)


def _number(expression: Any) -> Number | None:
    """The value of an expression, None where it is not known for sure."""
    try:
        return Evaluation().of(expression)
    # float() of a huge integer, a pole, math.gamma of a negative integer: each raises, and each means "not
    # known".
    except (Unknown, ArithmeticError, ValueError, TypeError):
        return None


class Evaluation:
    """The evaluation of one expression, which counts its nodes; `scale`: of the values of letters."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._nodes = 0

    def of(self, expression: Any) -> Number:
        self._nodes += 1
        # Bounds the time of one look, and the depth of the recursion.
        if self._nodes > _MOST_NODES:
            raise Unknown
        if isinstance(expression, sympy.Rational | sympy.Float):
            # Rounded correctly by Python for rationals of any size: the error is half a unit, the bound is
            # generous.
            value = float(expression)
            return Number(value, 0.0 if value.is_integer() and abs(value) < _EXACT else _ROUNDING * abs(value))
        if isinstance(expression, sympy.Symbol):
            # By name, so that the same letter has the same value on both sides, whatever assumptions sympy gave
            # it.
            return Number(self._scale * _value_of(expression.name))
        if isinstance(expression, sympy.Add):
            return total([self.of(term) for term in expression.args])
        if isinstance(expression, sympy.Mul):
            return functools.reduce(product, map(self.of, expression.args))
        if isinstance(expression, sympy.Pow):
            return _power(self.of(expression.base), self.of(expression.exp))
        if isinstance(expression, sympy.log):
            # log(x, base) has two arguments in sympy and is their quotient.
            logarithms = [_applied(cmath.log, self.of(argument)) for argument in expression.args]
            return functools.reduce(functools.partial(_applied, lambda x, base: x / base), logarithms)
        if isinstance(expression, sympy.UnevaluatedExpr):
            return self.of(expression.args[0])
        if expression in _CONSTANTS:
            return _CONSTANTS[expression]
        if isinstance(expression, AppliedUndef):
            parts = [self.of(argument) for argument in expression.args]
            return _applied(functools.partial(_undefined, _value_of(expression.func.__name__)), *parts)
        function = _FUNCTIONS.get(expression.func) if isinstance(expression, sympy.Function) else None
        if function is None:
            raise Unknown
        return _applied(function, *map(self.of, expression.args))


_CONSTANTS = {
    **{sympy.pi: Number(cmath.pi, _ROUNDING), sympy.E: Number(cmath.e, _ROUNDING), sympy.I: Number(1j)},
    **{sympy.oo: Number(_INFINITY), sympy.S.NegativeInfinity: Number(-_INFINITY)},
}


def total(terms: list[Number]) -> Number:
    value = sum(term.value for term in terms)
    # + 0j turns an imaginary part of -0 into +0: on the negative axis the sign of zero chooses the branch of log
    # and sqrt.
    return Number(value + 0j, sum(term.error + _ROUNDING * abs(term.value) for term in terms))


def product(one: Number, other: Number) -> Number:
    value = one.value * other.value
    # The product rule, with the second-order term: for large errors it is not small.
    error = abs(one.value) * other.error + abs(other.value) * one.error + one.error * other.error
    return Number(value + 0j, error + _ROUNDING * abs(value))


def _power(base: Number, exponent: Number) -> Number:
    found = _applied(lambda x, y: x**y, base, exponent)
    # x**y is exp(y log x): the relative error grows with |y log x|.
    turns = abs(exponent.value * cmath.log(base.value))  # where they are many, little is left of a float's digits
    return found._replace(error=found.error + _ROUNDING * turns * abs(found.value))


def _applied(function: Callable[..., complex | float], *arguments: Number) -> Number:
    """The value of a smooth function, and how far it moves when its arguments do, as far as they may be wrong.

    Across a branch cut and near a pole it moves far, so that the number says nothing.
    """
    values = [argument.value for argument in arguments]
    value = function(*values)
    error = _ROUNDING * abs(value)
    for at, (point, off) in enumerate(arguments):
        # A complex argument may be wrong in both directions, a real one in one alone.
        for way in (off, off * 1j) if point.imag else (off,):
            moved = function(*values[:at], point + way, *values[at + 1 :])
            # A difference stands for the derivative; twice, since it may be larger on the other side.
            error += 2 * abs(moved - value)
    return Number(value + 0j, error)


def _gamma(x: complex) -> float:
    if x.imag:
        raise Unknown
    return math.gamma(x.real)


def _undefined(start: float, *arguments: complex) -> complex:
    return start + sum((cmath.sin(at + 0.1 * argument) for at, argument in enumerate(arguments, 1)), 0j)


def _value_of(name: str) -> float:
    # Between 0.6 and 1.6: away from 0, where products vanish, and not 1, whose powers are all alike. crc32 is the
    # same in every process, which hash() is not.
    return 0.6 + zlib.crc32(name.encode()) / 2**32
