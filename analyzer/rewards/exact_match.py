"""Exact match: the answer is the ground truth, or one of several, as a string.

    "Paris"   with ground truth "Paris" or ["Paris", "City of Paris"]   ->   1.0

Choose it by name, for data whose answers are words or fixed phrases.
"""

from __future__ import annotations

from typing import Any

from analyzer.errors import ConfigError
from analyzer.rewards import Reward, register
from analyzer.rewards._common import places, squad
from analyzer.rewards._common.gold import text_golds
from analyzer.schema import Score


@register
class ExactMatch(Reward):
    """1.0 where the answer equals a ground truth, else 0.0.

    Options: `place` says where the answer stands (whole, last_line, answer_line, tag, boxed, or regex with a `pattern`
    whose first group it is); `strip` takes white space off both ends of answer and ground truth; `ignore_case` compares
    them case-folded; `normalise: squad` compares them as SQuAD does, without case, punctuation and articles.
    """

    name = "exact_match"
    expects = "a response"

    def __init__(
        self,
        *,
        place: str = "whole",
        pattern: str | None = None,
        strip: bool = True,
        ignore_case: bool = False,
        normalise: str | None = None,
    ) -> None:
        self._place = places.place(place, pattern)
        self._strip = strip
        self._ignore_case = ignore_case
        if normalise not in (None, "squad"):
            raise ConfigError(f"normalise: {normalise!r} is not a way to compare answers (there is: squad)")
        self._squad = normalise == "squad"
        self.expects = self._place.expects

    def extract(self, response: str) -> str | None:
        # Normalised in extract, so that "Paris" and "paris " share one grade.
        answer = self._place.take(places.conclusion(response))
        return None if answer is None else self._normalise(answer)

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        golds = map(self._normalise, text_golds(ground_truth))
        return Score(float(answer is not None and any(self._place.same(answer, gold) for gold in golds)))

    def answer_text(self, answer: str | None) -> str | None:
        return None if answer is None else self._place.shown(answer)

    def check_gold(self, ground_truth: Any) -> None:
        text_golds(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return self._place.present(text_golds(ground_truth)[0])

    def _normalise(self, text: str) -> str:
        if self._squad:
            return squad.normalise(text)
        text = text.strip() if self._strip else text
        return text.casefold() if self._ignore_case else text
