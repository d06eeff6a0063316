"""KodCode: a module against a file of tests for pytest."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.kodcode import KodCode
from analyzer.schema import GoldError, Status


@pytest.fixture(scope="module")
def reward() -> KodCode:
    reward = KodCode(allow_code_execution=True)
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: KodCode, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert score.status is Status.OK
    assert (score.reward, score.extra["verdict"]) == (case["reward"], case["verdict"]), score.detail


@pytest.mark.parametrize("data_source", ["kodcode", "KodCode/KodCode-V1"])
def test_its_data_sources_come_here(data_source: str) -> None:
    assert default_route(data_source) == "kodcode"


GOLD_ERRORS: dict[str, Any] = {
    "none": None,
    "no_python": {"test": "def test_("},
    "no_tests": {"test": "from solution import f\nassert f()"},
    "nothing_imported": {"test": "def test_a():\n    assert 1\n"},
    "star": {"test": "from solution import *\ndef test_a():\n    assert f()\n"},
    "another_name": {"test": "from solution import f as g\ndef test_a():\n    assert g()\n"},
    "fixture": {"test": "from solution import f\ndef test_a(tmp_path):\n    assert f()\n"},
    "class": {"test": "from solution import Stack\ndef test_a():\n    assert Stack()\n"},
}


@pytest.mark.parametrize("gold", GOLD_ERRORS.values(), ids=GOLD_ERRORS)
def test_what_holds_no_tests_is_a_gold_error(reward: KodCode, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


def test_the_datas_own_solution_passes(reward: KodCode, case: dict[str, Any]) -> None:
    if case["id"] not in ("does_not_raise",):  # whose solution is that of the others
        gold = case["ground_truth"]
        assert reward.grade(reward.extract(reward.present(gold)), gold).reward == 1.0
