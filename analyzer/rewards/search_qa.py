"""Search QA: the last `<answer>...</answer>` of a response, the same as one of the targets once both are normalized.

    "<think>...</think> <answer> The Eiffel Tower </answer>"   with {"target": ["Eiffel Tower"]}   ->   1.0

The rule of verl 0.9.1, utils/reward_score/search_r1_like_qa_em.py (Search-R1, Jin et al. 2025).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from analyzer.rewards import Reward, register
from analyzer.rewards._common.gold import shown, struct_gold
from analyzer.rewards._common.squad import normalise
from analyzer.rewards._common.tags import CLOSE, OPEN, last_tagged
from analyzer.schema import GoldError, Score

MANY_TAGS = 10  # more opening, or more closing tags than this and a right answer earns a quarter


class Answer(NamedTuple):
    """The text between the last pair of tags, and whether the response is full of tags."""

    text: str
    many_tags: bool


@register
class SearchQa(Reward):
    """1.0 where the last answer is one of the targets, 0.25 where the response holds more than ten tags, else 0.0."""

    name = "search_qa"
    data_sources = tuple(
        f"searchR1_{dataset}"
        for dataset in ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
    )
    expects = "an <answer>...</answer>"

    def extract(self, response: str) -> Answer | None:
        text = last_tagged(response)
        if text is None:
            return None
        return Answer(text, response.count(OPEN) > MANY_TAGS or response.count(CLOSE) > MANY_TAGS)

    def grade(self, answer: Answer | None, ground_truth: Any) -> Score:
        golds = targets(ground_truth)
        if answer is None:
            return Score(0.0)
        normalized = normalise(answer.text)
        if all(normalise(gold) != normalized for gold in golds):
            return Score(0.0)
        return Score(0.25 if answer.many_tags else 1.0)

    def check_gold(self, ground_truth: Any) -> None:
        targets(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return f"{OPEN}{next(iter(targets(ground_truth)), '')}{CLOSE}"


def targets(ground_truth: Any) -> list[str]:
    """The right answers: `ground_truth["target"]`, one string or several. Raises GoldError.

    Files hold the ground truth as a struct or as a JSON string of one.
    """
    target = struct_gold(ground_truth).get("target")
    if isinstance(target, str):
        return [target]
    if isinstance(target, list) and all(isinstance(one, str) for one in target):
        return target
    raise GoldError(f'the ground truth must hold "target", a string or a list of strings: {shown(ground_truth)}')
