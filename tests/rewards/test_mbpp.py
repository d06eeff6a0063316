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
    "test",
    [
        "assert Find_Max([1, 2]) == 2",
        "assert sorted(Find_Max([1])) == [1]",
        "import math\nassert math.isclose(Find_Max(1), 1.0) and not Find_Max(2)",
        "assert Find_Max(1) == 1 and round(Find_Max(2.5)) == 2",
    ],
)
def test_a_function_may_have_a_capital_letter(reward: Mbpp, test: str) -> None:
    assert reward.read({"test_list": [test]}).entry_points == ("Find_Max",)


@pytest.mark.parametrize(
    "gold",
    [
        {"test_list": []},
        {"test_list": ["assert True"]},
        {"test_list": ["assert f([Pair(1, 2)]) == 1"]},
        {"test_list": ["assert Pair(1, 2) == Pair(1, 2)"]},
        {"test_list": ["pair = Pair(1)\nassert pair.x == 1"]},
        {"test_list": ["assert Pair(1).x == 1"]},
        {"test_list": ["assert isinstance(f(1), Pair)"]},
        {"test_list": [3]},
    ],
)
def test_tests_that_cannot_be_run_are_a_gold_error(reward: Mbpp, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


ONE_SIDED = (
    "open('a', 'w').write('1')\nassert f('a') == 1",
    "import tempfile\nwith tempfile.NamedTemporaryFile() as t: assert f(t.name) == 1",
    "from unittest.mock import patch\nwith patch('time.sleep'): assert f() == 1",
    "from unittest import mock\nwith mock.patch('builtins.open', mock.mock_open()): assert f() == 1",
    "import random\nfrom unittest import mock\nwith mock.patch.object(random, 'random'): assert f() == 1",
    "import os\nfrom unittest import mock\nwith mock.patch.dict(os.environ, A='1'): assert f() == 1",
    "import random\nrandom.random = lambda: 1\nassert f() == 1",
    "import os\nos.environ['A'] = '1'\nassert f() == 1",
)
BOTH_SIDED = (
    "import io, sys\nsys.stdout = io.StringIO()\nassert f() == 1",
    "from unittest.mock import patch\nwith patch('builtins.input', lambda: 1): assert f() == 1",
    "class A: pass\na = A()\na.x = 1\nassert f(a.x) == 1",
    "import numpy as np\na = np.zeros(2)\na[0] = 1\nassert f(a) == 1",
)


def test_a_test_may_not_change_what_its_program_does_not_see(reward: Mbpp) -> None:
    for test in ONE_SIDED:
        with pytest.raises(GoldError, match="in another sandbox, does not see"):
            reward.check_gold({"test_list": [test]})
    for test in BOTH_SIDED:
        reward.check_gold({"test_list": [test]})


def test_a_test_that_calls_nothing_is_a_gold_error_when_it_ends(reward: Mbpp) -> None:
    with pytest.raises(GoldError, match="every program would pass"):
        reward.grade(("def f(x): return x",), {"test_list": ["def g(): return f(1)\nassert True"]})
