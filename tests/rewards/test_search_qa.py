from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards import default_route
from analyzer.rewards._common.tags import last_tagged
from analyzer.rewards.search_qa import SearchQa
from analyzer.schema import GoldError

REWARD = SearchQa()
PAIR = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert reward_of(case["response"], case["ground_truth"]) == case["reward"]


def test_equals_verl_on_every_row(parity: Callable[[str], Iterator[Any]]) -> None:
    for row in parity("searchR1_nq"):
        assert reward_of(row.response, row.ground_truth) == row.verl_score, row
        assert reward_of(row.response, json.loads(row.ground_truth)) == row.verl_score, row


@pytest.mark.parametrize("dataset", ["nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle"])
def test_its_data_sources_are_routed_here(dataset: str) -> None:
    assert default_route(f"searchR1_{dataset}") == "search_qa"


@pytest.mark.parametrize(
    "gold",
    ["Paris", "[" * 100_000, "7" * 5_000, "[]", '{"target": 5}', {"answer": "Paris"}, {"target": [5]}, ["Paris"], None],
    ids=range(9),
)
def test_a_ground_truth_without_targets_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError):
        REWARD.check_gold(gold)


@given(st.lists(st.text().filter(lambda text: "<" not in text), min_size=1))
def test_a_presented_target_earns_the_maximum(golds: list[str]) -> None:
    assert reward_of(REWARD.present({"target": golds}), {"target": golds}) == REWARD.maximum


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "<", ">", "a", " "])).map("".join))
def test_the_last_pair_is_the_one_that_a_search_from_the_left_ends_with(response: str) -> None:
    pairs = PAIR.findall(response)
    assert last_tagged(response) == (pairs[-1].strip() if pairs else None)
