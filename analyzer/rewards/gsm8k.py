"""GSM8K: the last line "#### number" of a response, compared with the ground truth as a string.

    "16 - 3 - 4 = 9, and 9 * $2 = $18.\\n#### 18"   with ground truth "18"   ->   1.0

The rule of verl 0.9.1, utils/reward_score/gsm8k.py (method "strict").
"""

from __future__ import annotations

import re
from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common.gold import text_gold
from analyzer.schema import Score

WINDOW = 300  # characters at the end of a response that are looked at
MARK = "#### "
NUMBER = re.compile(r"-?[0-9.,]+")


@register
class Gsm8k(Reward):
    """1.0 where the number after the last "#### " in the last 300 characters is the ground truth, else 0.0.

    Commas are taken out of the response's number and not out of the ground truth; a number behind "$" is not found,
    and "18." or "18.0" is not "18": all as verl has it.
    """

    name = "gsm8k"
    data_sources = ("openai/gsm8k",)
    expects = 'a line "#### number"'
    tried_by_audit = True
    second_grader = "math_verify"

    def extract(self, response: str) -> str | None:
        # verl cuts at 300 characters to keep its regex fast. It is part of the rule: an answer further up earns
        # nothing.
        tail = response[-WINDOW:]
        mark = tail.rfind(MARK)
        # verl's findall takes the last match of the whole pattern: "####" without a number behind it is passed
        # over.
        while mark >= 0:
            if number := NUMBER.match(tail, mark + len(MARK)):
                return number[0].replace(",", "")
            mark = tail.rfind(MARK, 0, mark)
        return None

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        return Score(1.0 if answer == ground_truth else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return MARK + text_gold(ground_truth)
