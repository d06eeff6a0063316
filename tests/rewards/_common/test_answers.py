from __future__ import annotations

from typing import Any

import pytest

from analyzer import rewards
from analyzer.rewards._common.answers import answer_text


@pytest.mark.parametrize(
    ("name", "response", "text"),
    [
        ("gsm8k", "#### 5", "5"),
        ("math_boxed", "\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("math_dapo", "Answer: 5", "5"),
        ("math_prime", "\\boxed{5}", "5"),
        ("geometry3k", "<think>x</think>\\boxed{5}", "5"),
        ("math_verify", "so $\\boxed{5}$", "5"),
        ("multiple_choice", "The answer is (B).", "B"),
        ("gsm8k", "none", None),
    ],
)
def test_an_answer_of_any_reward_is_shown_as_its_text(name: str, response: str, text: str | None) -> None:
    reward: Any = rewards.build(name)
    assert answer_text(reward.extract(response)) == text


@pytest.mark.parametrize(("answer", "text"), [((), None), ((None, ("x",)), "x"), (5, "5"), ([], None)])
def test_other_shapes_have_a_text_too(answer: Any, text: str | None) -> None:
    assert answer_text(answer) == text
