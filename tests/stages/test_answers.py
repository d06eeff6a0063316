"""The column reward_answer: what each reward took a response to say; long, own and missing answers."""

from __future__ import annotations

from contextlib import closing

import pytest

from analyzer import rewards
from analyzer.grading import Limits
from analyzer.rewards.custom.results import score_of
from analyzer.schema import ANSWER_LENGTH, Problem
from analyzer.scoring import Scorer, shortened


@pytest.mark.parametrize(
    ("reward", "gold", "response", "answer"),
    [
        ("gsm8k", "18", "#### 1,8", "18"),
        ("gsm8k", "18", "eighteen", None),
        ("math_dapo", "33", "Answer: $33$", "$33$"),
        ("math_boxed", "1/2", r"\boxed{\frac12}", r"\frac12"),
        ("math_verify", "5", r"so \boxed{5}", "5"),
        ("multiple_choice", "A", "Answer: B", "B"),
        ("numeric", "3", "it is 3.0", "3.0"),
    ],
)
def test_an_answer_is_shown_as_the_reward_found_it(reward: str, gold: str, response: str, answer: str | None) -> None:
    with closing(Scorer(rewards.build(reward), Limits())) as scorer:
        (score,) = scorer.score(Problem("", gold), [response])
    assert score.answer == answer


@pytest.mark.parametrize(
    ("own", "text"), [("18", "18"), (18, "18"), (2.5, "2.5"), (None, None), ([1, "ä"], '[1, "ä"]'), (True, "true")]
)
def test_a_custom_function_s_own_answer_wins_and_is_no_further_column(own: object, text: str | None) -> None:
    score = score_of({"score": 1.0, "answer": own, "pred": "x"})
    assert score.answer == text
    assert score.extra == {"pred": "x"}


def test_long_answers_are_cut_and_stay_distinct() -> None:
    one, other = shortened("x" * 5000), shortened("x" * 4999 + "y")
    assert one is not None
    assert other is not None
    assert len(one) == len(other) == ANSWER_LENGTH
    assert one != other
    assert shortened("x" * ANSWER_LENGTH) == "x" * ANSWER_LENGTH
    assert shortened("\ud800") == "?"
