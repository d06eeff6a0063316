r"""What is plain about a list of candidates and a ground truth that is a number, without sympy.

    settled(Value(Fraction(7)), [Candidate("latex", ("3 + 4 = 7",), (False,))])     ->   True
    settled(Value(Fraction(7)), [Candidate("latex", ("x + 4 = 8",), (False,))])     ->   False, whether it parses or not
    settled(Value(Fraction(7)), [Candidate("latex", ("\text{so } 7",), (False,))])  ->   None, the child must say

For each candidate it is asked what Math-Verify 0.9.0 makes of it: a number, surely nothing, or, if anything, surely no
number. Where it may parse or not, the answer is only plain if it is wrong either way.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from analyzer.rewards._common import limits
from analyzer.rewards.math_verify.arithmetic import Value, read
from analyzer.rewards.math_verify.candidates import EXPRESSION, NOT_PARSED, NUMBER, Candidate

_PER_NEAR = 10_000  # values that differ by less than 1 in so many may count as equal

_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_PLAIN_EXPRESSION = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:[ \n]?[-+*/][ \n]?(?:0|[1-9][0-9]{0,14})){1,8}")
_OPERATORS = tuple("-+*×/^(÷")
_WORDS = re.compile(r"[A-Za-z][A-Za-z\s,.']*", re.ASCII)
_RELATION = re.compile(r"[<>]|\\(?:[lg]eq?|neq?|lt|gt)(?![A-Za-z])")
_NO_RELATION = re.compile(r"=|[,;]|\\(?:approx|in|text|begin|pm|sim)|and|or")
_TUPLE = re.compile(r"\s*\([^()=]*,[^()=]*\)\s*")
_EQUALS_SIGN = re.compile(r"(?<![\\<!>])=")
_THOUSANDS = re.compile(r",\d{3}")


class Plain(Enum):
    """What a candidate surely is, where it has no value."""

    NOTHING = "it does not parse"
    NO_NUMBER = "if it parses, it equals no number"


class LastSide(NamedTuple):
    """What the last side of an equation is worth, if the equation parses: Math-Verify takes that side for a number."""

    value: Value


def settled(gold: Value, answer: Iterable[Candidate]) -> bool | None:
    """Whether the first candidate that parses equals the ground truth; None where that is not plain."""
    # Math-Verify takes the first candidate that parses. Where one may or may not have parsed, a later right one
    # is not sure to be reached, while a later wrong one changes nothing: so "wrong" can be plain and "right"
    # cannot.
    may_have_parsed = False
    for candidate in answer:
        if candidate.kind in NOT_PARSED or any(limits.refusal(text) is not None for text in candidate.texts):
            return None
        found = outcome(candidate.kind, candidate.texts[0])
        # 50% is both 50 and 0.5 to Math-Verify; the child tells.
        if candidate.percents[0]:
            return None
        if (
            isinstance(found, LastSide)
            and isinstance(gold.number, Fraction)
            and equal_values(gold, found.value) is False
        ):
            may_have_parsed = True
            continue
        equal = equal_values(gold, found) if isinstance(found, Value) else None
        if found is Plain.NO_NUMBER and isinstance(gold.number, float):  # letters may well equal letters
            return None
        if found is Plain.NO_NUMBER or (equal is False and len(candidate.texts) > 1):  # a set with another member
            may_have_parsed = True
        elif found is not Plain.NOTHING:
            plain = len(candidate.texts) == 1 and not (equal and may_have_parsed)
            return equal if plain else None
    return False


@functools.lru_cache(maxsize=1024)
def outcome(kind: str, text: str) -> Value | LastSide | Plain | None:
    """What Math-Verify makes of a text: NaN where it surely parses, to what is not known here; None if not sure."""
    if kind == NUMBER:
        return Value(Fraction(text), is_decimal="." in text) if _PLAIN_NUMBER.fullmatch(text) else None
    if kind == EXPRESSION:
        # Nothing after an operator: Python's parser and sympy's refuse it alike.
        if text.rstrip(" \t\n.")[-1:] in _OPERATORS:
            return Plain.NOTHING
        return read(text) if _PLAIN_EXPRESSION.fullmatch(text) else None
    text = text.strip()
    # The grammar has no token for a lone full stop, so the lexer fails.
    if not text or (text.endswith(".") and not text[-2:-1].isspace()):
        return Plain.NOTHING
    value = read(text)
    if value is not None:
        return value
    if _is_no_number(text):
        return Plain.NO_NUMBER
    sides = _EQUALS_SIGN.split(text)
    side = read(sides[-1]) if len(sides) > 1 else None
    return LastSide(side) if side is not None else None


def _is_no_number(text: str) -> bool:
    """Whether a text, if it parses, is a product of names, an inequality, or a pair, tuple or interval."""
    if _WORDS.fullmatch(text):
        # e and i alone are numbers, and "ie" is a product of two.
        return not set("eEiI \n\t,.'").issuperset(text) and "sqrt" not in text
    if _RELATION.search(text):
        return not _NO_RELATION.search(text)
    return _TUPLE.fullmatch(text) is not None and not _THOUSANDS.search(text)


def equal_values(gold: Value, answer: Value) -> bool | None:
    """Whether two values are equal to Math-Verify; None where that is not plain."""
    one, other = gold.number, answer.number
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        if one == other:
            # 0.5 and 1/2: sympy's Float and Rational are compared to six places by some of Math-Verify's steps
            # and not by others.
            is_ratio = one.denominator != 1
            return None if is_ratio and gold.is_decimal != answer.is_decimal else True
        # Between equal and far there is a zone in which Math-Verify's rounding decides: not plain.
        if one.denominator == other.denominator == 1:  # most numbers, and integers take a tenth of the time
            is_far = abs(one.numerator - other.numerator) * _PER_NEAR > max(1, abs(one.numerator))
        else:
            is_far = abs(one - other) * _PER_NEAR > max(Fraction(1), abs(one))
        return False if is_far else None
    try:
        first, second = float(gold.number), float(answer.number)
    # A fraction of thousands of digits has no float.
    except OverflowError:
        return None
    is_far = abs(first - second) > 1 / _PER_NEAR * max(1.0, abs(first))  # which NaN is not
    return False if is_far else None
