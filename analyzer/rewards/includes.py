"""Includes: the ground truth, or one of several, stands somewhere in the response, as inspect_ai's scorer has it.

    "It is in Paris, France."   with ground truth "paris"   ->   1.0

A response that lists many answers earns with each: it is for answers that no wrong response would name. Choose it by
name.
"""

from __future__ import annotations

from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common.gold import shown, text_golds
from analyzer.rewards._common.places import conclusion
from analyzer.schema import GoldError, Score


@register
class Includes(Reward):
    """1.0 where the response without its thoughts holds the ground truth, else 0.0.

    `ignore_case` (true unless said otherwise) compares them case-folded. An empty ground truth, which every response
    holds, is a gold error.
    """

    name = "includes"
    expects = "a response"

    def __init__(self, *, ignore_case: bool = True) -> None:
        self._ignore_case = ignore_case

    def extract(self, response: str) -> str | None:
        return self._normalise(conclusion(response)) or None

    def answer_text(self, answer: str | None) -> str | None:
        return None  # the whole conclusion: no two are alike

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        golds = map(self._normalise, text_golds(ground_truth))
        return Score(1.0 if answer is not None and any(gold in answer for gold in golds) else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        if not all(map(self._normalise, text_golds(ground_truth))):
            raise GoldError(f"an empty ground truth occurs in every response: {shown(ground_truth)}")

    def present(self, ground_truth: Any) -> str:
        return text_golds(ground_truth)[0]

    def _normalise(self, text: str) -> str:
        return text.strip().casefold() if self._ignore_case else text.strip()
