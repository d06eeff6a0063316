from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards.gsm8k import Gsm8k
from analyzer.schema import GoldError

REWARD = Gsm8k()
NUMBERS = re.compile(r"#### (-?[0-9.,]+)")


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert reward_of(case["response"], case["ground_truth"]) == case["reward"]


def test_equals_verl_on_every_row(parity: Callable[[str], Iterator[Any]]) -> None:
    differences = [row for row in parity("openai/gsm8k") if reward_of(row.response, row.ground_truth) != row.verl_score]
    assert differences == []


@pytest.mark.parametrize("gold", [18, 18.0, None, ["18"]])
def test_a_ground_truth_that_is_no_string_is_refused_since_it_would_never_be_equal(gold: Any) -> None:
    with pytest.raises(GoldError, match="must be a string"):
        REWARD.check_gold(gold)


@given(st.from_regex(r"-?[0-9]+(\.[0-9]+)?", fullmatch=True).filter(lambda gold: len(gold) < 290))
def test_a_presented_number_earns_the_maximum(gold: str) -> None:
    assert reward_of(REWARD.present(gold), gold) == REWARD.maximum


@given(st.text(alphabet="# 18-.,$\n", max_size=400))
def test_the_last_number_is_the_one_that_a_search_from_the_left_ends_with(response: str) -> None:
    found = NUMBERS.findall(response[-300:])
    assert REWARD.extract(response) == (found[-1].replace(",", "") if found else None)
