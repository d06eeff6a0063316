r"""Equality as PRM800K's grader has it: the same string after one of two normalisations, or a difference of zero.

    equal("\frac{1}{2}", "1/2", PRIME)    ->  True, the same after the normalisation of MATH
    equal("3 cm", "3", PRIME)             ->  True, after that of the grader: no units, no case, LaTeX as plain text
    equal("(1, x+x)", "(1,2x)", PRIME)    ->  True, each part is: sympy takes the difference for zero
    equal("(1, x+x)", "(1,2x)", MATHRULER)  ->  True, in the other dialect too

The rule of OpenAI's prm800k/grading/grader.py in two dialects: that of verl 0.9.1, utils/reward_score/prime_math, and
that of mathruler 0.1.0, which verl uses for geometry3k. Regular expressions here are linear on any text.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from analyzer.rewards._common import limits
from analyzer.rewards.math_boxed import Unnormalisable
from analyzer.rewards.math_boxed import normalise as normalise_boxed
from analyzer.schema import Status, Unscored

LETTERS = 2  # more distinct ones, those of "sqrt" and "frac" aside, are no expression but words
MOST_DIGITS = 15  # that a float holds exactly

_UNITS = (
    *("degree", "cm", "centimeter", "meter", "mile", "second", "minute", "hour", "day", "week", "month", "year"),
    *("foot", "feet", "inch", "yard"),
)


class Dialect(NamedTuple):
    """In what two copies of the grader differ."""

    units: tuple[str, ...] = _UNITS
    is_compact: bool = False  # spaces and braces are taken out as well


PRIME = Dialect((*_UNITS, "liter"))
MATHRULER = Dialect(is_compact=True)

REPLACED = (
    *(("\\%", "%"), ("\\$", "$"), ("$", ""), ("%", ""), (" or ", " , "), (" and ", " , ")),
    *(("million", "*10^6"), ("billion", "*10^9"), ("trillion", "*10^12")),
)
SYMBOLS = (("√", "sqrt"), ("π", "pi"), ("∞", "inf"), ("∪", "U"), ("·", "*"), ("×", "*"))
BRACKETS = "()[]"
# float() strips any white space, a no-break space too.
FLOAT = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?\s*")
PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_IN_TEXT = re.compile(r"\\text\{(.+?)\}$")
_THOUSANDS = re.compile(r"(\d),(\d\d\d)($|\D)")
_RATIO = re.compile(r"-?[0-9]+.?/0*[1-9][0-9]*.?$")
_POWERS = re.compile(r"\^[{(]|\^[0-9]+\^|\^[0-9][0-9]")  # never handed to sympy by this grader


def settle(answer: str, gold: str, dialect: Dialect) -> bool | None:
    """The outcome where it is plain without sympy and without parsing LaTeX, else None.

    Raises Unscored: LIMIT for an answer over a limit of parsing, GOLD_ERROR for all but the same text where the ground
    truth is over one.
    """
    # Before the limits: the same text is right however long it is.
    if mathd(answer) == _gold_mathd(gold):
        return True
    # Without a backslash normalise() needs no LaTeX parser, so it is cheap enough for the worker.
    if "\\" not in answer and "\\" not in gold and normalise(answer, dialect) == normalise(gold, dialect):
        return True
    if (reason := limits.refusal(gold)) is not None:
        detail = f"the ground truth is over a limit of parsing ({reason}), so only the same text scores"
        raise Unscored(Status.GOLD_ERROR, detail)
    if len(answer) > limits.CANDIDATE and _letters(answer) > LETTERS:  # words, which equal nothing else
        return False
    if "," not in gold and limits.is_long_list(answer):
        return False
    limits.check_answer(answer.strip("* "))  # without markdown, which is not a power
    return None


def are_plain_numbers(answer: str, gold: str) -> bool:
    """Whether both are decimal numbers that a float tells apart."""
    return all(len(text) <= MOST_DIGITS and PLAIN_NUMBER.fullmatch(text) for text in (answer, gold))


def equal(answer: str, gold: str, dialect: Dialect) -> bool:
    """Whether the two are equal. For the child process alone: the text may hang sympy. Raises Unscored(LIMIT)."""
    if mathd(answer) == mathd(gold):
        return True
    gold, answer = normalise(gold, dialect), normalise(answer, dialect)
    if gold == answer:
        return True
    golds, parts = _parts(gold), _parts(answer)
    if not answer or len(golds) != len(parts):
        return False
    # [1,2) is not (1,2]: brackets must agree where there are several parts. A single part has lost its own.
    if len(golds) > 1 and (gold[0], gold[-1]) != (answer[0], answer[-1]):
        return False
    return all(map(_equal_part, parts, golds))


def mathd(text: str) -> str:
    r"""The normalisation of MATH, of what stands in `\text{...}` where that is all; as it is where that fails."""
    text = text.strip()
    if whole := _IN_TEXT.match(text):
        text = whole[1].strip()
    try:
        return normalise_boxed(text)
    except Unnormalisable:
        return text


_gold_mathd = functools.lru_cache(maxsize=64)(mathd)


def normalise(text: str, dialect: Dialect) -> str:
    """The grader's own normal form. The order of the steps is part of the rule."""
    if whole := _IN_TEXT.match(text):
        text = whole[1]
    # " or " and " and " with their blanks, before blanks are touched.
    for old, new in REPLACED:
        text = text.replace(old, new)
    # In the order of the list: "centimeter" stands before "meter", or "centi" would be left.
    for unit in _unit_patterns(dialect.units):
        text = unit.sub("", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    if (whole_number := integer(text)) is not None:
        text = str(whole_number)
    if "\\" in text:
        text = _as_plain_text(text)
    text = re.sub("- *", "-", text)
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", text)  # 7 3/4 is 7+3/4
    if dialect.is_compact:
        text = text.replace(" ", "").replace("{", "").replace("}", "")
    text = text.lower()
    if integer(_join_thousands(text)) is not None and (number := real(text.replace(",", ""))) is not None:
        text = str(int(number))
    return text


@functools.cache
def _unit_patterns(units: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(unit + r"(?:es)?s? *(?:\^[0-9]+)?") for unit in units)


def real(text: str) -> float | None:
    """A decimal number in 0-9, which `1_0`, `nan` and `0x10` are not."""
    return float(text) if FLOAT.fullmatch(text) else None


def integer(text: str) -> int | None:
    """The whole number that a text is within 1e-7."""
    number = real(text)
    if number is None or abs(number) == float("inf"):
        return None
    return round(number) if abs(number - round(number)) <= 1e-7 else None


def _as_plain_text(text: str) -> str:
    r"""LaTeX as text that reads like Python: `2\sqrt{3}` -> "2sqrt(3)". A fraction's parts get no parentheses."""
    from pylatexenc.latex2text import LatexNodes2Text

    text = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac").replace("\\frac", " \\frac")
    try:
        text = LatexNodes2Text().latex_to_text(text)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - it raises anything on text that is not LaTeX, which then stays as it is
        return text
    for symbol, name in SYMBOLS:
        text = text.replace(symbol, name)
    return text.strip()


def _join_thousands(text: str) -> str:
    # Once per group: the matches of 1,234,567 overlap at a digit, so one pass joins every other one.
    while (joined := _THOUSANDS.sub(r"\1\2\3", text)) != text:
        text = joined
    return text


def _parts(text: str) -> list[str]:
    """The parts of a tuple or interval, or the text alone."""
    text = _join_thousands(text)
    if not text:
        return []
    inner = text[1:-1]
    if inner and text[0] in BRACKETS and text[-1] in BRACKETS and not any(bracket in inner for bracket in BRACKETS):
        return [part.strip() for part in inner.split(",")]
    return [text]


def _equal_part(answer: str, gold: str) -> bool:
    # PRM800K asks for fractions in lowest terms, and so compares two of them as text.
    if _RATIO.match(gold) and _RATIO.match(answer):  # one that is not in lowest terms is wrong
        return gold == answer
    if (integer(_join_thousands(gold)) is None) != (integer(_join_thousands(answer)) is None):
        return False
    # Words are not handed to sympy: "no solution" would be a product of ten letters.
    if _letters(gold + answer) > LETTERS or _POWERS.search(gold) or _POWERS.search(answer):
        return False
    from analyzer.rewards.prm800k import expressions

    return expressions.differ_by_zero(answer, gold)


def _letters(text: str) -> int:
    return len(set(filter(str.isalpha, text.replace("sqrt", "").replace("frac", ""))))
