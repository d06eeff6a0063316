"""F1: how many words answer and ground truth share, as SQuAD counts them.

    "the Eiffel Tower in Paris"   with ground truth "Eiffel Tower"   ->   0.667   or 2 * 0.5 * 1 / (0.5 + 1)

Rajpurkar et al. 2016, the evaluation script of SQuAD; where a side has no words left, that of SQuAD 2.0: 1.0 when
both have none. Choose it by name, for short free answers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common import places
from analyzer.rewards._common.gold import text_golds
from analyzer.rewards._common.squad import normalise
from analyzer.schema import Score


@register
class F1(Reward):
    """The F1 of the answer's words against those of the ground truth, the best one of several: 0.0 to 1.0.

    The option `place` says where the answer stands (whole, last_line, answer_line, tag, boxed, or regex with a
    `pattern` whose first group it is).
    """

    name = "f1"
    expects = "a response"

    def __init__(self, *, place: str = "whole", pattern: str | None = None) -> None:
        self._place = places.place(place, pattern)
        self.expects = self._place.expects

    def extract(self, response: str) -> str | None:
        answer = self._place.take(places.conclusion(response))
        return None if answer is None else self._place.shown(answer)

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        golds = text_golds(ground_truth)
        if answer is None:
            return Score(0.0)
        words = normalise(answer).split()
        return Score(max(f1(words, normalise(gold).split()) for gold in golds))

    def check_gold(self, ground_truth: Any) -> None:
        text_golds(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return self._place.present(text_golds(ground_truth)[0])


def f1(words: list[str], gold: list[str]) -> float:
    """Harmonic mean of precision and recall of the words, each counted as often as it stands on both sides."""
    if not words or not gold:
        return float(words == gold)
    # & of Counters is the multiset intersection: a word counts as often as it stands on both sides.
    shared = sum((Counter(words) & Counter(gold)).values())
    return 2 * shared / (len(words) + len(gold))
