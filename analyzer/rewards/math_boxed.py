r"""MATH: what stands in the last `\boxed{...}` of a response, equal to the ground truth after Hendrycks' normalisation.

    "... so the area is $\boxed{\tfrac12}$."   with ground truth "\\frac{1}{2}"   ->   1.0

The rule of verl 0.9.1, utils/reward_score/math_reward.py; the normalisation is that of the MATH benchmark
(Hendrycks et al. 2021, math_equivalence.py).
"""

from __future__ import annotations

import functools
import re
from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common.boxed import BOX, last_box
from analyzer.rewards._common.gold import text_gold
from analyzer.schema import Score

BARE = "\\boxed "

BEFORE_UNITS = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)
AFTER_UNITS = (("\\\\%", ""), ("\\%", ""), (" .", " 0."), ("{.", "{0."))
UNITS = "\\text{ "
INTEGER = r"(0|-?[1-9][0-9]{0,4299})"  # as int() takes it and str() gives it back
RATIO = re.compile(f"{INTEGER}/{INTEGER}")


class Unnormalisable(ValueError):
    """Raised for a string that the normalisation cannot take; such a pair is compared as it stands."""


@register
class MathBoxed(Reward):
    r"""1.0 where the last box and the ground truth are the same string once normalized, else 0.0.

    Where the text "\boxed " (with a space) occurs at all, the answer is what follows its last occurrence up to "$".
    `\fbox` and `\boxed` before anything but "{" earn nothing, as in verl, which finds them and then fails on them.
    """

    name = "math_boxed"
    data_sources = ("lighteval/MATH", "DigitalLearningGmbH/MATH-lighteval", "HuggingFaceH4/MATH-500")
    expects = "a \\boxed{...}"
    tried_by_audit = True
    second_grader = "math_verify"

    def extract(self, response: str) -> str | None:
        start = response.rfind("\\boxed")
        if start < 0:
            return None
        # verl's rule, odd as it is: the mere presence of "\boxed " anywhere decides how the answer is taken.
        if BARE in response:
            return response[response.rfind(BARE) + len(BARE) :].partition("$")[0]
        return last_box(response) if response.startswith(BOX, start) else None

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        return Score(1.0 if answer is not None and equal(answer, text_gold(ground_truth)) else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return f"\\boxed{{{text_gold(ground_truth)}}}"


def equal(answer: str, gold: str) -> bool:
    """Whether two answers are the same string, as they stand or normalized."""
    # Before normalising: a text that cannot be normalized still equals itself.
    if answer == gold:
        return True
    try:
        return normalise(answer) == _normalise_gold(gold)
    except Unnormalisable:
        return False


def normalise(text: str) -> str:
    """The canonical form of a short LaTeX answer. Raises Unnormalisable."""
    # The order of the steps is the rule's; "tfrac" must become "frac" before fractions get their braces.
    text, *units = _replace(text, BEFORE_UNITS).split(UNITS)
    if len(units) > 1:
        raise Unnormalisable("units occur twice")
    text = _replace(text, AFTER_UNITS)
    if text.startswith("."):
        text = "0" + text
    # Two characters at most before "=": "x = 5" and not "f(x) = 5".
    if text.count("=") == 1 and text.index("=") <= 2:
        text = text.partition("=")[2]
    text = _brace_roots(text).replace(" ", "")
    text = _brace_fractions(text)
    if text == "0.5":
        return "\\frac{1}{2}"
    ratio = RATIO.fullmatch(text)
    return f"\\frac{{{ratio[1]}}}{{{ratio[2]}}}" if ratio else text


_normalise_gold = functools.lru_cache(maxsize=64)(normalise)


def _replace(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _brace_roots(text: str) -> str:
    r"""`\sqrt3` -> `\sqrt{3}`."""
    first, *others = text.split("\\sqrt")
    if "" in others:
        raise Unnormalisable("a root of nothing")
    return first + "".join(f"\\sqrt{part}" if part[0] == "{" else f"\\sqrt{{{part[0]}}}{part[1:]}" for part in others)


def _brace_fractions(text: str) -> str:
    r"""`\frac12` -> `\frac{1}{2}`, `\frac1{72}` -> `\frac{1}{72}`; the text as it is where a fraction lacks a part."""
    first, *others = text.split("\\frac")
    for part in others:
        if not part:
            raise Unnormalisable("a fraction of nothing")
        if len(part) == 1 and part != "{":
            return text
    return first + "".join(map(_brace_fraction, others))


def _brace_fraction(part: str) -> str:
    if part[0] == "{":
        return f"\\frac{part}"
    rest = part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"
    return f"\\frac{{{part[0]}}}{rest}"
