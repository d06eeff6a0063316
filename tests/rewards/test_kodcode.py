"""KodCode: a module against a file of tests for pytest."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.code import pytest_names
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
    "part_of_pytest": {"test": "import pytest\nfrom solution import f\ndef test_a():\n    with pytest.warns(): f()\n"},
    "mark": {"test": "import pytest\nfrom solution import f\n@pytest.mark.xfail\ndef test_a():\n    assert f()\n"},
    "part_of_a_fixture": {
        "test": "from solution import f\ndef test_a(capsys):\n    capsys.disabled()\n    assert f()\n"
    },
    "setup": {"test": "from solution import f\ndef setup_module(): pass\ndef test_a():\n    assert f()\n"},
    "class_in_class": {
        "test": "from solution import f\nclass TestA:\n    class TestB:\n        def test_a(self): assert f()\n"
    },
    "expected_failure": {
        "test": "import unittest\nfrom solution import f\nclass A(unittest.TestCase):\n    @unittest.expectedFailure\n"
        "    def test_a(self):\n        assert f()\n"
    },
    "base_class": {"test": "from solution import f\nclass TestA(Base):\n    def test_a(self):\n        assert f()\n"},
    "file": {"test": "from solution import f\ndef test_a():\n    assert f() == open('a').read()\n"},
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
    # Later versions of pytest refuse a tolerance for what is no number.
    for expected in VALUES if "rel" not in options else [1, 1.0, 1 + 1e-5, 1e6, float("inf"), [1, 2.0], {"a": 1.0}]:
        for value in VALUES:
            theirs = value == pytest.approx(expected, **options)
            assert (value == pytest_names.approx(expected, **options)) is bool(theirs), (expected, value)


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


HEAD = "import pytest\nfrom solution import show\n"
PROGRAM = "def show(x):\n    if x < 0:\n        raise ValueError('negative')\n    print(x)\n    return x\n"
FORMS = {  # a file of tests that the program passes; where `1` stands for `show(1)`'s answer, another one does not
    "coroutine": "@pytest.mark.asyncio\nasync def test_a(): assert show(1) == 1",
    "class": "class TestA:\n    def setup_method(self): self.x = 1\n    def test_a(self): assert show(self.x) == 1",
    "unittest": "import unittest\nclass A(unittest.TestCase):\n    def setUp(self): self.x = 1\n"
    "    def test_a(self):\n        self.assertEqual(show(self.x), 1)\n"
    "        with self.assertRaises(ValueError): show(-1)\n"
    "    @unittest.skip('')\n    def test_b(self): assert False\nif __name__ == '__main__': unittest.main()",
    "fail": "def test_a():\n    try: show(-1)\n    except ValueError: pass\n    else: pytest.fail()\n"
    "    if show(1) != 1: pytest.fail('no')",
    "skip": "def test_a(): assert show(1) == 1\ndef test_b():\n    pytest.skip()\n    assert False\n"
    "@pytest.mark.skip(reason='')\ndef test_c(missing): assert False\n"
    "@pytest.mark.skipif(True, reason='')\ndef test_d(): assert False",
    "marks": "@pytest.mark.slow\n@pytest.mark.timeout(5)\ndef test_a(): assert show(1) == 1",
    "fixtures": "ended = []\n@pytest.fixture\ndef one(): return 1\n@pytest.fixture\ndef two(one):\n"
    "    yield one + 1\n    ended.append(one)\n@pytest.fixture(autouse=True)\ndef three(): ended.append(0)\n"
    "@pytest.mark.parametrize('x', [1, 2])\n@pytest.mark.parametrize('y, z', [(1, 2), pytest.param(3, 4, id='a')])\n"
    "def test_a(x, y, z, two): assert show(x) + two + z - y == x + 3\n"
    "def test_b(): assert show(1) == 1 and ended == [0, 1] * 4 + [0]",
    "lasting_fixture": "@pytest.fixture(scope='module')\ndef seen():\n    yield []\n"
    "def test_a(seen): seen.append(show(1))\ndef test_b(seen, x=1): assert seen == [x]",
    "skipped_class": "def test_a(): assert show(1) == 1\n@pytest.mark.skip(reason='')\nclass TestA:\n"
    "    def test_a(self): assert False",
    "capsys": "def test_a(capsys):\n    assert show(1) == 1\n    assert capsys.readouterr().out == '1\\n'\n"
    "    show(2)\n    assert capsys.readouterr() == ('2\\n', '')",
    "monkeypatch": "def test_a(monkeypatch):\n    seen = []\n    monkeypatch.setattr('builtins.print', seen.append)\n"
    "    assert show(1) == 1 and seen == [1]",
    "patch": "from unittest.mock import patch\n@patch('builtins.print')\ndef test_a(p):\n    assert show(1) == 1\n"
    "    p.assert_called_once_with(1)",
    "module": "import solution, math\nimport solution as s\n"
    "def test_a(): assert solution.show(1) == s.show(math.sqrt(1)) == 1",
    "other_name": "from solution import show as g\ndef test_a(): assert g(1) == 1",
    "arrays": "import numpy as np\ndef test_a(): assert np.array([show(1)]) == pytest.approx(np.array([1 + 1e-9]))",
    "second_of_two": "def test_a(): pass\nclass TestB:\n    def test_a(self): assert show(1) == 1",
}


def test_forms_of_tests_that_pytest_runs_are_run(reward: KodCode) -> None:
    wrong = PROGRAM.replace("return x", "return x + 0.5")
    for name, test in FORMS.items():
        scores = [reward.grade((program,), {"test": HEAD + test}) for program in (PROGRAM, wrong)]
        assert [score.reward for score in scores] == [1.0, 0.0], (name, [score.detail for score in scores])


def test_a_fixture_that_is_not_there_is_found_before_the_first_call(reward: KodCode) -> None:
    first = f"{HEAD}def test_a(): assert show(1) == 1\n"
    for second in ("def test_b(tmp_path): show(1)", "@pytest.fixture\ndef a(tmp_path): pass\ndef test_b(a): show(1)"):
        for program in (PROGRAM, "def show(x): pass"):
            with pytest.raises(GoldError, match="the fixture tmp_path"):
                reward.grade((program,), {"test": first + second})


def test_a_program_without_the_function_does_not_raise_what_a_test_expects(reward: KodCode) -> None:
    test = f"{HEAD}def test_a():\n    with pytest.raises(Exception): show(-1)\n"
    scores = [reward.grade((program,), {"test": test}) for program in (PROGRAM, "def other(x): pass")]
    assert [(score.reward, score.extra["verdict"]) for score in scores] == [(1.0, "accepted"), (0.0, "runtime_error")]
