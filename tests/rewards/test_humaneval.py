"""HumanEval: a function against its test, on made-up cases and on programs of real models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.errors import SandboxError
from analyzer.rewards import default_route
from analyzer.rewards.humaneval import HumanEval
from analyzer.schema import GoldError, Status, Unscored

EXPLAINED = {
    (48, "gpt-3.5-turbo-0613"): "the test needs encode_shift, which stands in the prompt and not in the program",
    (74, "gpt-3.5-turbo-0613"): "as 48, encode_cyclic",
    (106, "starcoder"): "uses math without an import, which the authors counted wrong for codellama (8, 64, 111)",
    (133, "starcoder"): "as 106",
}
"""Rows of humaneval_llmdebugger whose reward is not their label."""


@pytest.fixture(scope="module")
def reward() -> HumanEval:
    reward = HumanEval(allow_code_execution=True)
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: HumanEval, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert score.status is Status.OK
    assert (score.reward, score.extra["verdict"]) == (case["reward"], case["verdict"]), score.detail


@pytest.mark.parametrize("data_source", ["humaneval", "openai/openai_humaneval"])
def test_humaneval_comes_here(data_source: str) -> None:
    assert default_route(data_source) == "humaneval"


def check_labels(reward: HumanEval, path: Path, problems: int, models: list[str]) -> None:
    rows = pq.read_table(path, filters=[("model", "in", models), ("data_idx", "<", problems)]).to_pylist()
    assert len(rows) == problems * len(models)
    different = set()
    for row in rows:
        gold = row["original_reward_model"]["ground_truth"]
        score = reward.grade(reward.extract(row["response"]), gold)
        assert score.status is Status.OK
        if score.reward != row["label"]:
            different.add((row["data_idx"], row["model"]))
    assert different == {(problem, model) for problem, model in EXPLAINED if model in models and problem < problems}


def test_real_programs_get_the_label_of_their_authors(reward: HumanEval, shared: Callable[[str], Path]) -> None:
    check_labels(reward, shared("data/humaneval_llmdebugger.parquet"), 40, ["gpt-3.5-turbo-0613"])


@pytest.mark.slow
def test_all_real_programs_get_the_label_of_their_authors(reward: HumanEval, shared: Callable[[str], Path]) -> None:
    models = ["codellama", "gpt-3.5-turbo-0613", "gpt-4-1106-preview", "reflexion", "starcoder"]
    check_labels(reward, shared("data/humaneval_llmdebugger.parquet"), 164, models)


GOLD_ERRORS = {
    "none": None,
    "bare": "3",
    "no_test": {"entry_point": "f", "prompt": ""},
    "test_no_text": {"entry_point": "f", "test": 3},
    "prompt_no_text": {"entry_point": "f", "test": "assert f(1)", "prompt": [{"role": "user"}]},
    "entry_point_no_text": {"entry_point": 5, "test": "assert f(1)"},
    "test_no_python": {"entry_point": "f", "test": "def check("},
    "undefined_name": {"entry_point": "f", "test": "def check(candidate):\n    assert candidate(undefined)\n"},
}


@pytest.mark.parametrize("gold", GOLD_ERRORS.values(), ids=GOLD_ERRORS)
def test_a_ground_truth_without_a_test_is_a_gold_error(reward: HumanEval, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


def test_a_test_that_fails_by_itself_is_a_gold_error(reward: HumanEval) -> None:
    gold = {"entry_point": "f", "test": "def check(candidate):\n    assert len([]) == 1\n    assert candidate(1)\n"}
    reward.check_gold(gold)  # it looks well
    with pytest.raises(GoldError, match="the test itself fails"):
        reward.grade(("def f(x): return x",), gold)


def test_imports_may_be_given(reward: HumanEval) -> None:
    gold = {"entry_point": "f", "test": "def check(candidate):\n    assert candidate(4) == 2\n"}
    program = ("def f(x: Any): return math.isqrt(x)",)
    assert reward.grade(program, gold).reward == 0.0
    assert HumanEval(allow_code_execution=True, imports=True).grade(program, gold).reward == 1.0


def test_equal_programs_are_one_answer(reward: HumanEval) -> None:
    assert reward.extract("First:\n```python\nx = 1\n```") == reward.extract("Now:\n```py\nx = 1\n```\nDone.")


def test_the_datas_own_solution_is_presented(reward: HumanEval, case: dict[str, Any]) -> None:
    gold = case["ground_truth"]
    assert reward.grade(reward.extract(reward.present(gold)), gold).reward == 1.0
    table = json.loads(gold)
    del table["canonical_solution"]
    with pytest.raises(Unscored):
        reward.present(table)


def test_the_tests_of_a_problem_are_read_once_for_all_its_answers(
    reward: HumanEval, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(reward, "read", lambda table: read.append(table) or HumanEval.read(reward, table))
    for right, gold in enumerate(f"def check(candidate):\n    assert candidate(1) == {at}\n" for at in range(2)):
        table = json.dumps({"entry_point": "f", "test": gold})
        reward.check_gold(table)
        rewards = [reward.grade((f"def f(x): return {answer}",), table).reward for answer in range(2)]
        assert rewards == [float(answer == right) for answer in range(2)]
    assert len(read) == 2
