r"""PRIME's math reward: an answer found by several cues, equal to the ground truth as a string or symbolically.

    "... so the answer is \boxed{\frac{2}{4}}."   with ground truth "0.5"   ->   1.0

The rule of verl 0.9.1, utils/reward_score/prime_math: the grader of PRM800K (equality.py), and where that says no, one
with a tolerance (tolerant.py). Model text is never evaluated: see expressions.py.
"""

from __future__ import annotations

from typing import Any

from analyzer.rewards import Reward, Where, register
from analyzer.rewards._common import limits
from analyzer.rewards._common.boxed import closing_brace
from analyzer.rewards._common.gold import text_gold
from analyzer.rewards.prm800k import equality, tolerant
from analyzer.rewards.prm800k.equality import PRIME
from analyzer.schema import Score

BEFORE = ("answer:", "answer is", "answers are")  # the answer follows the last one
AFTER = ("is answer", "is the answer", "are answers", "are the answers")  # and stands before this one
WORDS = ("be ", "is ", "are ", "=", ": ", "get ", "be\n", "is\n", "are\n", ":\n", "get\n")


@register
class MathPrime(Reward):
    r"""1.0 where the answer that the cues lead to equals the ground truth, else 0.0.

    The cues, each narrowing what the last one left: "answer is" and the like, the last `\boxed{...}` or `\fbox{...}`,
    up to the last ". ", then what follows the last "is ", "=", ": " and so on. Without any, all of it is the answer.
    """

    name = "math_prime"
    data_sources = (
        *("numina_aops_forum", "numina_synthetic_math", "numina_amc_aime", "numina_synthetic_amc"),
        *("numina_cn_k12", "numina_olympiads"),
    )
    where = Where.CHILD
    libraries = ("pylatexenc", "sympy")
    expects = 'a \\boxed{...} or "the answer is ..."'
    second_grader = "math_verify"

    def load(self) -> None:
        import pylatexenc.latex2text  # noqa: F401

        from analyzer.rewards.prm800k import expressions

        # One call before the fork: sympy imports much of itself on the first simplify().
        expressions.differ_by_zero("2sqrt(3)", "sqrt(12)")

    def extract(self, response: str) -> str | None:
        limits.check_response(response)
        answer = find_answer(response)
        # Without any cue all of the response is the answer: a short one may be just that, a long one is not.
        is_found = answer != response or len(answer) <= limits.CANDIDATE
        return answer if answer and is_found else None

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        gold = text_gold(ground_truth)
        settled = self.settle(answer, gold)
        if settled is not None or answer is None:
            return settled or Score(0.0, found=False)
        # In verl's order: the tolerant grader is asked only where the strict one says no.
        right = equality.equal(answer, gold, PRIME) or tolerant.equal(answer, gold)
        return Score(1.0 if right else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def settle_gold(self, ground_truth: Any) -> bool:
        return isinstance(ground_truth, str)

    def settle(self, answer: str | None, ground_truth: Any) -> Score | None:
        gold = text_gold(ground_truth)
        right = equality.settle(answer or "", gold, PRIME)
        if right is None and answer is not None and equality.are_plain_numbers(answer, gold):
            right = tolerant.close(float(answer), float(gold))
        if answer is None:
            return Score(1.0 if right else 0.0, found=False)
        return None if right is None else Score(1.0 if right else 0.0)

    def present(self, ground_truth: Any) -> str:
        return f"\\boxed{{{text_gold(ground_truth)}}}"


def find_answer(response: str) -> str:
    """What the cues lead to. Each one is looked for once, from the end: linear time."""
    for cue in BEFORE:
        response = _after_last(response, cue)
    for cue in AFTER:
        # lower() in each step, since the text shrinks; positions agree but for letters whose lower case is
        # longer, as in verl.
        at = response.lower().rfind(cue)
        response = response if at < 0 else response[:at].strip()
    response = _box(response) or response
    if ". " in response:
        response = response[: response.rfind(". ")].strip()
    for cue in WORDS:
        response = _after_last(response, cue)
    return response


def _after_last(text: str, cue: str) -> str:
    at = text.lower().rfind(cue)
    return text if at < 0 else text[at + len(cue) :].strip()


def _box(text: str) -> str:
    r"""What stands in the braces after the last `\boxed`, or without one `\fbox`; empty if there is none."""
    start = text.rfind("\\boxed")
    start = text.rfind("\\fbox") if start < 0 else start
    opening = text.find("{", start) if start >= 0 else -1
    if opening < 0:
        return ""
    close = closing_brace(text, start)
    return text[opening + 1 : close].strip() if close > opening else ""
