from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.rewards import default_route
from analyzer.rewards.multiple_choice import MultipleChoice
from analyzer.schema import GoldError

REWARD = MultipleChoice()
BENCHMARK = re.compile(r"answer is \(?([A-J])\)?")  # the first step of MMLU-Pro's extractor; later steps guess


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert reward_of(case["response"], case["ground_truth"]) == case["reward"]


def test_agrees_with_the_benchmark_where_it_did_not_guess(shared: Callable[[str], Path]) -> None:
    """28 of 5,327 differ: it takes the first of several answers, and the first letter of "(B) or (G)"."""
    table = pq.read_table(shared("data/mmlu_pro.parquet"), columns=["response", "original_reward_model", "label"])
    rows = [row for row in table.to_pylist() if BENCHMARK.search(row["response"])]
    agreeing = [
        reward_of(row["response"], row["original_reward_model"]["ground_truth"]) == row["label"] for row in rows
    ]
    assert len(rows) == 5327
    assert sum(agreeing) >= 5299


def test_is_the_route_of_mmlu_pro() -> None:
    assert default_route("TIGER-Lab/MMLU-Pro") == "multiple_choice"


@pytest.mark.parametrize("gold", ["K", "", "b", "BA", "AA", "A or B", "A,K", 2, None, [], ["A", "A"], ["A", 2]])
def test_a_ground_truth_that_is_no_letter_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError, match="letter"):
        REWARD.check_gold(gold)


@pytest.mark.parametrize("gold", "ABCDEFGHIJ")
@pytest.mark.parametrize(
    "form",
    [
        *(
            "the answer is {}",
            "The answer is ({})",
            "Answer: {}",
            "**Answer**: {}",
            "Final Answer: **({})**",
            "ANSWER: {}",
        ),
        *("the correct answer is option {}.", "the best choice is {}.", "{} is the correct answer", "\\boxed{{{}}}"),
        *(
            "\\boxed{{\\text{{{}}}}}",
            "$\\boxed{{({})}}$",
            "<answer>{}</answer>",
            "It is:\n{}",
            "It is:\n({})",
            "{}",
            "({})",
        ),
        *(
            "The answer is \\({}\\)",
            "Answer: ${}$",
            "the answer to this question is {}",
            "The answer choice is ({}) 12",
        ),
    ],
)
def test_the_usual_phrasings_name_every_letter(form: str, gold: str) -> None:
    assert REWARD.extract("Because of that,\n" * (form[0] != "{") + form.format(gold)) == gold
