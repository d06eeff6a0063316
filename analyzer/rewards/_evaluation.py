"""Numbers for sympy expressions, in floats and without sympy's own evaluation: a quick proof that two are not equal.

    surely_differ(x**2 + 1, 7)  ->  True, since x**2 + 1 is 2.1 where x is 1.05

Letters get a value each, and functions that have no definition one that depends smoothly on what they are applied to.
Two expressions that are far apart there are not equal; two that are near may be or not. For the child process alone,
since it imports sympy.
"""

from __future__ import annotations

import cmath
import functools
import zlib
from collections.abc import Callable
from typing import Any

import sympy
from math_verify.grader import is_assignment_relation, is_equation, take_last_relation
from sympy.core.function import AppliedUndef

FAR = 1e-3  # beside the larger one, or 1: Math-Verify compares decimal fractions to six places
_MOST = 1e5  # of any value on the way: then nothing that cancels out leaves an error near FAR
_MOST_NODES = 400
_FUNCTIONS: dict[Any, Callable[[complex], complex | float]] = {
    **{sympy.sin: cmath.sin, sympy.cos: cmath.cos, sympy.tan: cmath.tan, sympy.exp: cmath.exp, sympy.Abs: abs},
    **{sympy.asin: cmath.asin, sympy.acos: cmath.acos, sympy.atan: cmath.atan},
    **{sympy.sec: lambda x: 1 / cmath.cos(x), sympy.csc: lambda x: 1 / cmath.sin(x)},
    sympy.cot: lambda x: cmath.cos(x) / cmath.sin(x),
}


class _Unknown(Exception):
    """Raised for what has no number here."""


def surely_differ(gold: Any, answer: Any) -> bool:
    """Whether two parsed expressions are certainly not equal to Math-Verify, which takes the last side of an equation.

    False says nothing.
    """
    if is_equation(answer) and not is_equation(gold):
        answer = take_last_relation(answer).rhs
    elif is_assignment_relation(gold) and not is_equation(answer):
        gold = take_last_relation(gold).rhs
    if isinstance(gold, sympy.Symbol) or isinstance(answer, sympy.Symbol):  # letters may spell a word
        return False
    first, second = _number(gold), _number(answer)
    if first is not None and second is not None:
        return abs(first - second) > FAR * max(1.0, abs(first), abs(second))
    if first is not None:
        return _is_other_set(answer, functools.partial(surely_differ, gold))
    return second is not None and _is_other_set(gold, lambda member: surely_differ(member, answer))


def _is_other_set(expression: Any, differs: Callable[[Any], bool]) -> bool:
    """Whether an expression is a set or tuple that is certainly not one number, nor the set of it alone.

    Math-Verify 0.9.0 (grader.py, `sympy_compare_sets`) takes the number for the set of it.
    """
    if isinstance(expression, sympy.Interval):
        return True
    if isinstance(expression, sympy.Tuple) and len(expression) != 1:
        return True
    return isinstance(expression, sympy.FiniteSet | sympy.Tuple) and any(map(differs, expression.args))


def _number(expression: Any) -> complex | None:
    """The value of an expression, None where it is not known for sure."""
    try:
        return _Evaluation().of(expression)
    except (_Unknown, ArithmeticError, ValueError, TypeError):
        return None


class _Evaluation:
    """The evaluation of one expression, which counts its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def of(self, expression: Any) -> complex:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _Unknown
        value = self._of(expression)
        if not abs(value) < _MOST:  # NaN too
            raise _Unknown
        return value

    def _of(self, expression: Any) -> complex:
        if isinstance(expression, sympy.Rational | sympy.Float):
            return complex(float(expression))
        if isinstance(expression, sympy.Symbol):
            return _value_of(expression.name)
        if isinstance(expression, sympy.Add):
            return sum(map(self.of, expression.args), 0j)
        if isinstance(expression, sympy.Mul):
            return functools.reduce(
                lambda product, factor: self._bounded(product * factor), map(self.of, expression.args)
            )
        if isinstance(expression, sympy.Pow):
            return self.of(expression.base) ** self.of(expression.exp)
        if isinstance(expression, sympy.log):
            logarithms = [cmath.log(self.of(argument)) for argument in expression.args]
            return logarithms[0] if len(logarithms) == 1 else logarithms[0] / logarithms[1]
        if expression in (sympy.pi, sympy.E, sympy.I):
            return {sympy.pi: cmath.pi, sympy.E: cmath.e, sympy.I: 1j}[expression]
        if isinstance(expression, AppliedUndef):
            parts = (cmath.sin(i + 0.1 * self.of(argument)) for i, argument in enumerate(expression.args, 1))
            return _value_of(expression.func.__name__) + sum(parts, 0j)
        function = _FUNCTIONS.get(expression.func) if isinstance(expression, sympy.Function) else None
        if function is None or len(expression.args) != 1:
            raise _Unknown
        return complex(function(self.of(expression.args[0])))

    def _bounded(self, value: complex) -> complex:
        if not abs(value) < _MOST:
            raise _Unknown
        return value


def _value_of(name: str) -> float:
    return 0.6 + zlib.crc32(name.encode()) / 2**32
