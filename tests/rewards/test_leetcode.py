"""LeetCode: a class Solution against its check."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.leetcode import LeetCode
from analyzer.schema import GoldError, Status


@pytest.fixture(scope="module")
def reward() -> LeetCode:
    reward = LeetCode(allow_code_execution=True)
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: LeetCode, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert score.status is Status.OK
    assert (score.reward, score.extra["verdict"]) == (case["reward"], case["verdict"]), score.detail


@pytest.mark.parametrize("data_source", ["leetcode", "newfacade/LeetCodeDataset"])
def test_its_data_sources_come_here(data_source: str) -> None:
    assert default_route(data_source) == "leetcode"


GOLD_ERRORS: dict[str, Any] = {
    "none": None,
    "no_check": {"test": "def check(candidate): pass"},
    "no_python": {"functional": "check(Solution().f"},
    "no_class": {"functional": "assert f(1) == 2"},
}


@pytest.mark.parametrize("gold", GOLD_ERRORS.values(), ids=GOLD_ERRORS)
def test_what_holds_no_tests_is_a_gold_error(reward: LeetCode, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


def test_a_check_of_objects_is_a_gold_error(reward: LeetCode) -> None:
    gold = {"functional": "class Node: pass\n\nassert Solution().f(Node())"}
    with pytest.raises(GoldError, match="the test itself fails"):
        reward.grade(("class Solution:\n    def f(self, node): return True",), gold)
