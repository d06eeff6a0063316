r"""Numeric: the number that a response ends with, equal to the ground truth as a number, within a tolerance.

    "... = $\boxed{1,000.0\text{ kg}}$"   with ground truth "1000"   ->   1.0

The answer is the last box, else the last `<answer>...</answer>`, else a last line "#### number", else what follows the
last "answer is" or "Answer:", and must be just one number (see _common/numbers.py); else the last number. All but the
box are looked for in the last 500 characters. Values are compared exactly, never as floats: 0.1 is 1/10.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction
from typing import Any

from analyzer.errors import ConfigError
from analyzer.rewards import Reward, register
from analyzer.rewards._common import limits
from analyzer.rewards._common.boxed import BOX, last_box
from analyzer.rewards._common.gold import shown
from analyzer.rewards._common.numbers import DIGITS_LIMIT, LAST, number_of
from analyzer.rewards._common.places import conclusion, last_line
from analyzer.rewards._common.tags import CLOSE, last_tagged
from analyzer.schema import GoldError, Score

WINDOW = 500  # characters at the end in which a line, a phrase or a bare number is looked for
MARK = "####"
PHRASE = re.compile(
    r"\b(?:[Aa]nswer|ANSWER)[*\"]{0,2}\s?(?:is|:|=)(?:[\s:*$\"]|\\[(\[]){0,8}"
    r"(?:(?:therefore|thus|then|simply|just)[\s,]{1,2})?"
)
CLAUSE_END = re.compile(r"[.;!?](?:\s|$)|\n|,\s(?=[A-Za-z])")


@register
class Numeric(Reward):
    """1.0 where the response's number equals the ground truth, else 0.0.

    Options: `rel_tol` and `abs_tol`, as math.isclose has them; both 0 ask for the same number. A ground truth that is
    no number, or has more than 256 digits, is a gold error; a response of more than a million characters is refused.
    """

    name = "numeric"
    expects = "a number in a box, a last line or a phrase"
    tried_by_audit = True
    second_grader = "math_verify"

    def __init__(self, *, rel_tol: float = 0.0, abs_tol: float = 0.0) -> None:
        self._rel_tol = _tolerance("rel_tol", rel_tol)
        self._abs_tol = _tolerance("abs_tol", abs_tol)

    def extract(self, response: str) -> str | None:
        limits.check_response(response)
        text = conclusion(response)
        # A box outranks everything, be it unclosed or no number: what was boxed is what was answered.
        if BOX in text:
            return last_box(text)
        tail = text[-WINDOW:]
        # Sought in the tail, taken from the whole text: the opening tag may lie further up.
        if CLOSE in tail:
            return last_tagged(text)
        _, mark, after = (last_line(tail) or "").rpartition(MARK)
        # "####" with nothing behind it is not an answer line; the next cue is asked.
        if mark and after:
            return after
        phrase = number = None
        for phrase in PHRASE.finditer(tail):  # noqa: B007 - the last one
            pass
        if phrase is not None and (named := CLAUSE_END.split(tail[phrase.end() :], maxsplit=1)[0]):
            return named
        for number in LAST.finditer(text, max(0, len(text) - WINDOW)):  # noqa: B007 - the last one
            pass
        return None if number is None else number[0]

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        gold = gold_number(ground_truth)
        value = None if answer is None else number_of(answer)
        if value is None:
            return Score(0.0, found=False)
        # math.isclose's rule in fractions: symmetric, and exact at the edge.
        room = max(self._rel_tol * max(abs(value), abs(gold)), self._abs_tol)
        return Score(1.0 if abs(value - gold) <= room else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        gold_number(ground_truth)

    def present(self, ground_truth: Any) -> str:
        gold_number(ground_truth)
        return f"{BOX}{ground_truth}}}"


def gold_number(ground_truth: Any) -> Fraction:
    """The value of a ground truth: a number, or a string that is one. Raises GoldError."""
    value = None
    if isinstance(ground_truth, str):
        value = _text_number(ground_truth)
    # repr() of a float is the shortest text that reads back as it: 0.1 is 1/10 and not
    # 3602879701896397/36028797018963968.
    elif isinstance(ground_truth, float):
        value = number_of(repr(ground_truth))
    elif isinstance(ground_truth, int) and not isinstance(ground_truth, bool) and abs(ground_truth) < _LARGEST_INTEGER:
        value = Fraction(ground_truth)
    if value is None:
        raise GoldError(f"the ground truth must be a number of at most {DIGITS_LIMIT} digits: {shown(ground_truth)}")
    return value


_LARGEST_INTEGER = 10**DIGITS_LIMIT
_text_number = functools.lru_cache(maxsize=64)(number_of)


def _tolerance(name: str, value: float) -> Fraction:
    if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0:
        return Fraction(repr(value))
    raise ConfigError(f"{name}: {value!r} is not a tolerance; give a number of 0 or more")
