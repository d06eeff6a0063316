from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards.last_number import LastNumber
from analyzer.schema import GoldError

REWARD = LastNumber()


def test_each_case_finds_its_answer_and_earns_its_reward(case: dict[str, Any]) -> None:
    answer = REWARD.extract(case["response"])
    assert answer == case["answer"]
    assert REWARD.grade(answer, case["ground_truth"]).reward == case["reward"]


def harness(response: str, gold: str) -> float:
    """The steps of lm-eval's filter and metric, one after the other as its task file lists them."""
    groups = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", response)
    found = next(filter(None, groups[-1])).strip() if groups else "[invalid]"
    for ignored in (",", r"\$", r"(?s).*#### ", r"\.$"):
        found, gold = re.sub(ignored, "", found), re.sub(ignored, "", gold)
    return float(found.lower() == gold.lower())


def reward_of(response: str, gold: str) -> float | None:
    return REWARD.grade(REWARD.extract(response), gold).reward


@given(st.text(alphabet="-$0123456789., #x\n", max_size=40), st.text(alphabet="-$0123456789., #x", max_size=10))
def test_equals_the_harness_on_any_text(response: str, gold: str) -> None:
    assert reward_of(response, gold) == harness(response, gold)


def test_equals_the_harness_on_real_responses(shared: Callable[[str], Path]) -> None:
    table = pq.read_table(shared("data/gsm8k_openai.parquet"), columns=["response", "original_reward_model"])
    earned = []
    for row in table.to_pylist():
        gold = row["original_reward_model"]["ground_truth"]
        earned.append(reward_of(row["response"], gold))
        assert earned[-1] == harness(row["response"], gold)
    assert 0 < sum(map(bool, earned)) < len(earned) == 2640


@pytest.mark.parametrize("gold", [18, ["18"], None])
def test_a_ground_truth_that_is_no_text_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError):
        REWARD.check_gold(gold)
