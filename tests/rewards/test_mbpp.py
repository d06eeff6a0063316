"""MBPP: a function against a list of assertions that call it by name."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.humaneval import Mbpp
from analyzer.schema import GoldError


@pytest.fixture(scope="module")
def reward() -> Mbpp:
    reward = Mbpp(allow_code_execution=True)
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: Mbpp, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert (score.reward, score.extra["verdict"]) == (case["reward"], case["verdict"]), score.detail


def test_mbpp_comes_here() -> None:
    assert default_route("mbpp") == "mbpp"


@pytest.mark.parametrize(
    "gold",
    [
        {"test_list": []},
        {"test_list": ["assert True"]},
        {"test_list": ["assert f([Pair(1, 2)]) == 1"]},
        {"test_list": [3]},
    ],
    ids=["empty", "calls_nothing", "objects_of_the_program", "no_text"],
)
def test_tests_that_cannot_be_run_are_a_gold_error(reward: Mbpp, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)
