"""Numbers for sympy expressions, in floats and without sympy's own evaluation: a quick proof that two are not equal.

    surely_differ(x**2 + 1, 7)  ->  True, since x**2 + 1 is 2.1 where x is 1.05

Letters get a value each. Two expressions that are far apart there are not equal; two that are near may be or not. For
the child process alone, since it imports sympy.
"""

from __future__ import annotations

import cmath
import functools
import zlib
from collections.abc import Callable
from typing import Any

import sympy
from math_verify.grader import is_assignment_relation, is_equation, take_last_relation

FAR = 1e-3  # beside the larger one, or 1: Math-Verify compares decimal fractions to six places
_MOST = 1e5  # of any value on the way: then nothing that cancels out leaves an error near FAR
_MOST_NODES = 400
_FUNCTIONS: dict[Any, Callable[[complex], complex | float]] = {
    **{sympy.sin: cmath.sin, sympy.cos: cmath.cos, sympy.tan: cmath.tan, sympy.exp: cmath.exp, sympy.Abs: abs},
    **{sympy.asin: cmath.asin, sympy.acos: cmath.acos, sympy.atan: cmath.atan},
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
    if first is None or second is None:
        return False
    return abs(first - second) > FAR * max(1.0, abs(first), abs(second))


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
            return 0.6 + zlib.crc32(expression.name.encode()) / 2**32
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
        function = _FUNCTIONS.get(expression.func) if isinstance(expression, sympy.Function) else None
        if function is None or len(expression.args) != 1:
            raise _Unknown
        return complex(function(self.of(expression.args[0])))

    def _bounded(self, value: complex) -> complex:
        if not abs(value) < _MOST:
            raise _Unknown
        return value
