from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards import default_route
from analyzer.rewards.math_dapo import NO_ANSWER, MathDapo, normalise
from analyzer.schema import Score

REWARD = MathDapo()


def score(response: str, ground_truth: str) -> Score:
    return REWARD.grade(REWARD.extract(response), ground_truth)


def test_each_case_earns_its_reward_and_names_its_prediction(case: dict[str, Any]) -> None:
    reward, _, _, extra, *_ = score(case["response"], case["ground_truth"])
    assert (reward, extra["pred"]) == (case["reward"], case["pred"])


@pytest.mark.parametrize("data_source", ["math_dapo", "aime2024", "aime2025"])
def test_equals_verl_on_every_row_in_score_and_prediction(
    data_source: str, parity: Callable[[str], Iterator[Any]]
) -> None:
    for row in parity(data_source):
        reward, _, _, extra, *_ = score(row.response, row.ground_truth)
        assert (reward, extra["pred"]) == (row.verl_score, row.verl_pred), row


@pytest.mark.parametrize("data_source", ["math", "math_dapo", "math_dapo_reasoning", "aime", "aime_2025", "aime24"])
def test_its_data_sources_are_routed_here(data_source: str) -> None:
    assert default_route(data_source) == "math_dapo"


lines = st.text(st.characters(exclude_characters="\n"), max_size=280).map(str.strip)


@given(lines.filter(lambda gold: normalise(gold) != NO_ANSWER))
def test_a_presented_line_earns_the_maximum(gold: str) -> None:
    assert score(REWARD.present(gold), gold).reward == REWARD.maximum


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("\\text{a}\\text{b}", "ab"),
        ("\\text{\\text{a}b", "\\text{ab"),
        ("\\text{a\n}", "\\text{a\n}"),
        ("\\text{a\n\\text{b}", "\\text{a\nb"),
        ("\\boxed{\\frac{1}{2}}3}4", "\\frac{1}{2}}34"),
        ("}\\boxed{2", "}\\boxed{2"),
        ("$1$2$3\n4$5", "1\n45"),
    ],
)
def test_commands_are_unwrapped_within_their_line(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize("unit", ["\\text{", "\\text{\n", "\\text{a}", "$", "\\boxed{", "\\boxed{\n}", "frac", "a "])
def test_a_megabyte_of_ground_truth_is_normalized(unit: str) -> None:
    assert score("Answer: 1", unit * (1_000_000 // len(unit)) + "}").reward == -1.0
