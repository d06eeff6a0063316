"""KodCode: a module against a file of tests for pytest."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.kodcode import PYTEST, KodCode
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


NUMBERS = [
    0,
    1,
    -1,
    1.0,
    1 + 1e-7,
    1 + 1e-5,
    1e6,
    1e6 + 0.5,
    1e-13,
    float("inf"),
    -float("inf"),
    float("nan"),
    2j,
    "a",
    None,
]
VALUES = [*NUMBERS, [1, 2.0], [1, 2.0000001], (1, 2.1), [1], {"a": 1.0}, {"a": 1.0000001}, {"b": 1.0}, ["a", None]]


@pytest.mark.parametrize("options", [{}, {"abs": 1e-3}, {"rel": 1e-3}, {"abs": 0.1, "rel": 1e-9}, {"nan_ok": True}])
def test_approx_is_pytest_s(options: dict[str, Any]) -> None:
    names: dict[str, Any] = {}
    exec(PYTEST, names)
    # Later versions of pytest refuse a tolerance for what is no number.
    for expected in VALUES if "rel" not in options else [1, 1.0, 1 + 1e-5, 1e6, float("inf"), [1, 2.0], {"a": 1.0}]:
        for value in VALUES:
            theirs = value == pytest.approx(expected, **options)
            assert (value == names["pytest"].approx(expected, **options)) is bool(theirs), (expected, value)


ROOT = "def root(x):\n    if x < 0:\n        raise {}\n    return x ** 0.5\n"
RAISES = {  # test -> what raises it, for a right and for a wrong program
    "with pytest.raises(ValueError, match='^x is -1$'):\n        root(-1)": ("ValueError('x is -1')", "ValueError('')"),
    "with pytest.raises(ValueError) as caught:\n        root(-1)\n    assert str(caught.value) == 'no'": (
        "ValueError('no')",
        "ValueError('yes')",
    ),
    "pytest.raises(ValueError, root, -1)": ("ValueError", "TypeError"),
    "with raises(KeyError) as caught:\n        root(-1)\n    assert caught.value.args == ('a',)": (
        "KeyError('a')",
        "KeyError('b')",
    ),
    "with pytest.raises(OSError, match='No such'):\n        root(-1)": (
        "FileNotFoundError(2, 'No such file')",
        "OSError('other')",
    ),
}


@pytest.mark.parametrize("test", RAISES)
def test_what_is_raised_is_looked_at_as_in_pytest(reward: KodCode, test: str) -> None:
    gold = {"test": f"import pytest\nfrom pytest import raises\nfrom solution import root\ndef test_a():\n    {test}\n"}
    right, wrong = (f"```python\n{ROOT.format(error)}```" for error in RAISES[test])
    assert [reward.grade(reward.extract(program), gold).reward for program in (right, wrong)] == [1.0, 0.0]
