r"""Equality with a tolerance: numbers that differ by less than 1 in 10,000, percent or not, and tuples part by part.

    equal("50%", "0.5")                     ->  True, since 50 is 0.5 * 100
    equal("(0, 3.14159)", "(0, 3.1416)")    ->  True, part by part

The rule of verl 0.9.1, utils/reward_score/prime_math/grader.py (from ToRA). Nothing is symbolic here: verl's own last
step is meant to be, but it uses a decorator as a context manager, which fails each time and makes nothing equal.
"""

from __future__ import annotations

import ast
import math
import operator
import re

from analyzer.rewards.prm800k.equality import real

TOLERANCE = 1e-4
LENGTH = 1000  # characters of an answer that are looked at
PI_VALUES = (math.pi, 3.14)

_DOLLARS = re.compile(r"\$\d+(\.\d+)?")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\\?%")
_PI = re.compile(r"(\d?)\\pi")
_ARITHMETIC = re.compile(r"[0-9\s.*/()+-]+")
_INTERVAL = re.compile(r"Interval(|\.Ropen|\.Lopen|\.open)\((.*)\)$")
_INTERVAL_BRACKETS = {"": "[]", ".Ropen": "[)", ".Lopen": "(]", ".open": "()"}
_OPERATORS = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
    **{ast.Div: operator.truediv, ast.Pow: operator.pow},
}


class Incomparable(ValueError):
    """Raised where verl's rule fails on a text, which then equals nothing."""


def equal(answer: str, gold: str) -> bool:
    r"""Whether the two are equal, with `\pi` as either of its usual values."""
    # verl tries both values of pi and takes the better outcome.
    values = PI_VALUES if "\\pi" in answer or "\\pi" in gold else (math.pi,)
    try:
        return any(_equal(answer, gold, pi) for pi in values)
    except Incomparable:
        return False


def close(answer: float, gold: float) -> bool:
    """Whether two numbers are within the tolerance, one of them perhaps in percent."""
    # gold/100 and gold*100: "50%" has lost its sign on the way, and may be either.
    return any(math.isclose(one, answer, rel_tol=TOLERANCE) for one in (gold / 100, gold, gold * 100))


def _equal(answer: str, gold: str, pi: float = math.pi) -> bool:
    # Only the answer is cut: it is what a model wrote, and may be a megabyte.
    answer, gold = _normalized(answer, pi)[:LENGTH], _normalized(gold, pi)
    if answer.strip().lower() == gold.strip().lower() or answer.replace(" ", "") == gold.replace(" ", ""):
        return True
    numbers = _number(answer), _number(gold)
    if numbers[0] is not None and numbers[1] is not None:
        return close(numbers[0], numbers[1])
    if not answer:
        return False
    gold, answer = gold.strip(), _as_interval(answer.strip())
    if _without_brackets(answer, gold):
        return True
    is_tuple = _ends(answer) == _ends(gold) and _ends(answer) in ("()", "[]", "(]", "[)")
    if is_tuple and _all_equal(answer[1:-1].split(","), gold[1:-1].split(",")):
        return True
    if "," in answer and "," in gold:
        answers, golds = answer.split(","), gold.split(",")
        if len(answers) == len(golds):
            return _all_equal([part.strip() for part in answers], [part.strip() for part in golds])
    return False


def _normalized(text: str, pi: float) -> str:
    if _DOLLARS.match(text):
        return text[1:]
    # The sign goes and the number stays; close() tries the factor 100.
    if percent := _PERCENT.fullmatch(text):
        return percent[1]
    if "_" in text:  # a number to a base, which is left out: 101_2 is 101
        number = real(text.partition("_")[0])
        if number is None or abs(number) == math.inf:
            raise Incomparable
        return str(int(number))
    if "\\pi" in text:
        text = _PI.sub(lambda found: f"{found[1]}*{pi}" if found[1] else f"1*{pi}", text)
        value = _arithmetic(text)
        return text if value is None else str(value)
    return text


def _arithmetic(text: str) -> float | None:
    """The value of an arithmetic expression in floats; None for any other text."""
    # verl calls eval() here. Only digits and operators come this far, and they are worked out in floats: no power
    # of integers that fills the memory.
    if not _ARITHMETIC.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return float(_OPERATORS[type(sign)](_value(left), _value(right)))
    raise ValueError(f"not arithmetic: {type(node).__name__}")


def _number(text: str) -> float | None:
    return real(text.replace("{,}", "") if "{,}" in text else text.replace(",", ""))


def _as_interval(text: str) -> str:
    """Sympy's Interval.Ropen(1, 2) as [1, 2)."""
    found = _INTERVAL.match(text)
    if found is None:
        return text
    brackets = _INTERVAL_BRACKETS[found[1]]
    return f"{brackets[0]}{found[2]}{brackets[1]}"


def _without_brackets(answer: str, gold: str) -> bool:
    """Whether the two are the same but for brackets: (1,2) is 1,2, and never [1,2]."""
    if (_ends(answer) == "[]" and not gold.startswith("(")) or (_ends(answer) == "()" and not gold.startswith("[")):
        answer, gold = answer.strip("[]()"), gold.strip("[]()")
    bare = str.maketrans("", "", "{}()")
    return answer.translate(bare) == gold.translate(bare)


def _ends(text: str) -> str:
    return text[:1] + text[-1:]


def _all_equal(answers: list[str], golds: list[str]) -> bool:
    return len(answers) == len(golds) and all(map(_equal, answers, golds))
