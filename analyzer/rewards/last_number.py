"""Last number: the last number in the response equals the ground truth as a string, by lm-eval's rule.

    "... so 1,000 in all. That is $18."   with ground truth "18"   ->   1.0

lm-evaluation-harness, task gsm8k, "flexible-extract": the last match of its expression, without commas, dollar signs
and a last full stop, equals the ground truth without these (and, of "... #### 18", what follows the marks). 18.0 is not
18; "numeric" compares values. Choose it by name, to measure in that harness's unit.
"""

from __future__ import annotations

import re
from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common.gold import text_gold
from analyzer.schema import Score

NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")  # "..." is a match too, as it is there
MARK = "#### "


@register
class LastNumber(Reward):
    """1.0 where the last number is the ground truth as a string, else 0.0. Thoughts are looked into, as there."""

    name = "last_number"
    expects = "a number"

    def extract(self, response: str) -> str | None:
        number = None
        # The last match is not the match from the end: "1.2.3" read backwards would be another one.
        for number in NUMBER.finditer(response):  # noqa: B007 - the last one
            pass
        return None if number is None else _comparable(number[0])

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        return Score(1.0 if answer == _comparable(text_gold(ground_truth)) else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return _comparable(text_gold(ground_truth))


def _comparable(text: str) -> str:
    """A number as both sides are compared: of "about 5\\n#### 1,000." it is "1000"."""
    text = text.replace(",", "").replace("$", "").rpartition(MARK)[2]
    return text.removesuffix(".").lower()
