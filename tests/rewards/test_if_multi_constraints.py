"""allenai's instructions: the table holds what open-instruct's own checkers said of each case."""

from __future__ import annotations

import textwrap
from importlib.util import find_spec
from typing import Any

import pytest

from analyzer.rewards import ifeval
from analyzer.rewards.if_multi_constraints import RULES, IFMultiConstraints, instructions
from analyzer.schema import GoldError, Problem
from tests import processes

pytestmark = pytest.mark.skipif(find_spec("if_verifiable") is None, reason="the extra ifeval is not installed")


def earned(gold: Any, response: str) -> float | None:
    return IFMultiConstraints().score(Problem("a source", gold), [response])[0].reward


def test_each_case_earns_what_open_instruct_gives(case: dict[str, Any]) -> None:
    assert earned(case["ground_truth"], case["response"]) == case["reward"]
    if not isinstance(case["ground_truth"], str):
        assert earned(repr(case["ground_truth"]), case["response"]) == case["reward"]


def test_every_instruction_of_the_training_set_is_known() -> None:
    trained = [name for name in ifeval.known_checkers() if name.partition(":")[0] not in ("count", "ratio", "words")]
    assert len(RULES) == 29
    assert len(RULES.keys() | set(trained)) >= 54


@pytest.mark.parametrize(
    "gold",
    [
        None,
        3,
        [],
        {},
        "[",
        "__import__('os').system('true')",
        "[" * 100_000,
        {"instruction_id": ["punctuation:no_commas"], "kwargs": [None]},
        {"instruction_id": ["punctuation:no_comma"], "kwargs": []},
        {"instruction_id": ["copy:copy"], "kwargs": [None]},
        {
            "instruction_id": ["length_constraints:number_words"],
            "kwargs": [{"relation": "at least", "num_words": None}],
        },
        {"instruction_id": ["keywords:word_once"], "kwargs": [{"keyword": "("}]},
        {"instruction_id": ["letters:letter_counting"], "kwargs": [{"N": 3, "relation": "around"}]},
    ],
)
def test_what_is_no_instruction_is_a_gold_error(gold: Any) -> None:
    with pytest.raises(GoldError):
        earned(gold, "a text")


def test_the_other_reward_is_named_where_a_ground_truth_is_of_another_set() -> None:
    with pytest.raises(GoldError, match="use the reward if_multi_constraints"):
        ifeval.parse({"instruction_id": ["a"], "kwargs": [None]})
    assert [one.name for one in instructions("[{'instruction_id': ['a'], 'kwargs': [None]}]")] == ["a"]


@pytest.mark.parametrize(
    "words", [[], pytest.param(["load_dataset"], marks=pytest.mark.slow)], ids=["scipy", "datasets"]
)
def test_libraries_that_no_check_uses_are_not_imported_and_can_be_imported_later(words: list[str]) -> None:
    code = """
        import sys
        from analyzer.rewards import build
        before = {*sys.modules}
        build("if_multi_constraints").load()
        print(sorted({name.partition(".")[0] for name in {*sys.modules} - before} & {"scipy", "sklearn", "datasets"}))
        from scipy.special import ndtr
        print(ndtr(0))
        if sys.argv[1:]:
            from datasets import load_dataset
            print(load_dataset.__name__)
    """
    done = processes.run(["-c", textwrap.dedent(code), *words], check=True)
    assert done.stdout.splitlines() == ["[]", "0.5", *words]
