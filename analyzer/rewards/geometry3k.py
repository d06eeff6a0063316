r"""Geometry3K: 0.9 for the answer in the last `\boxed{...}`, 0.1 for thinking in tags first.

    "<think>...</think> so \boxed{2\sqrt{3}}"   with ground truth "2 \sqrt { 3 }"   ->   1.0

The rule of verl 0.9.1, utils/reward_score/geo3k.py, which grades with mathruler: PRM800K's grader (equality.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from analyzer.rewards import Reward, Where, register
from analyzer.rewards._common import limits
from analyzer.rewards._common.boxed import last_box
from analyzer.rewards._common.gold import text_gold
from analyzer.rewards.prm800k import equality
from analyzer.rewards.prm800k.equality import MATHRULER
from analyzer.schema import Score

FORMAT = 0.1  # the share of the reward that the format earns
NO_ANSWER = "None"  # what mathruler compares where there is no box


class Answer(NamedTuple):
    """What stands in the last box, and whether the response has the format."""

    text: str | None
    has_format: bool


@register
class Geometry3k(Reward):
    r"""1.0, or 0.9 without the format `<think>...</think>...\boxed{...}...`; wrong is 0.1 with it, 0.0 without."""

    name = "geometry3k"
    data_sources = ("hiyouga/geometry3k",)
    where = Where.CHILD
    libraries = ("pylatexenc", "sympy")
    expects = "<think>...</think> and a \\boxed{...}"
    second_grader = "math_verify"

    def load(self) -> None:
        import pylatexenc.latex2text  # noqa: F401

        from analyzer.rewards.prm800k import expressions

        expressions.differ_by_zero("2sqrt(3)", "sqrt(12)")

    def extract(self, response: str) -> Answer | None:
        limits.check_response(response)
        box = last_box(response)
        fits = has_format(response)
        return None if box is None and not fits else Answer(None if box is None else box.strip(), fits)

    def grade(self, answer: Sequence[Any] | None, ground_truth: Any) -> Score:
        gold = text_gold(ground_truth)
        settled = self.settle(answer, gold)
        if settled is not None:
            return settled
        text, has_format = _answer(answer)
        return _score(equality.equal(_compared(text), gold, MATHRULER), text, has_format)

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def settle_gold(self, ground_truth: Any) -> bool:
        return isinstance(ground_truth, str)

    def settle(self, answer: Sequence[Any] | None, ground_truth: Any) -> Score | None:
        text, has_format = _answer(answer)
        gold = text_gold(ground_truth)
        right = equality.settle(_compared(text), gold, MATHRULER)
        if right is None and text is not None and equality.are_plain_numbers(text, gold):
            right = float(text) == float(gold)
        return None if right is None else _score(right, text, has_format)

    def present(self, ground_truth: Any) -> str:
        return f"<think></think>\\boxed{{{text_gold(ground_truth)}}}"


def _answer(fields: Sequence[Any] | None) -> Answer:
    return Answer(None, False) if fields is None else Answer(*fields)


def _compared(text: str | None) -> str:
    return NO_ANSWER if text is None else text


def _score(right: bool, text: str | None, has_format: bool) -> Score:
    # verl's own arithmetic: 0.9 * 1.0 + 0.1 * 1.0, so that the floats are bit for bit the same.
    reward = (1.0 - FORMAT) * (1.0 if right else 0.0) + FORMAT * (1.0 if has_format else 0.0)
    return Score(reward, found=text is not None)


def has_format(response: str) -> bool:
    r"""Whether `<think>` opens the response, and `</think>`, `\boxed{` and "}" follow one after another."""
    if not response.startswith("<think>"):
        return False
    # Three searches in place of verl's regex `<think>.*</think>.*\\boxed\{.*\}.*`, which backtracks.
    thought = response.find("</think>", len("<think>"))
    box = response.find("\\boxed{", thought) if thought >= 0 else -1
    return box >= 0 and response.find("}", box) >= 0
