"""Geometry3K: the answer and the format. Hostile text is in test_math_prime.py, which shares the grader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analyzer.rewards import default_route
from analyzer.rewards.geometry3k import Geometry3k
from analyzer.schema import Score

REWARD = Geometry3k()


def score(response: str, ground_truth: str) -> Score:
    return REWARD.grade(REWARD.extract(response), ground_truth)


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert score(case["response"], case["ground_truth"]).reward == case["reward"]


def test_equals_verl_on_every_row(parity: Callable[[str], Iterator[Any]]) -> None:
    for row in parity("hiyouga/geometry3k"):
        assert score(row.response, row.ground_truth).reward == row.verl_score, row


def test_its_data_source_is_routed_here() -> None:
    assert default_route("hiyouga/geometry3k") == "geometry3k"


@pytest.mark.parametrize(
    ("response", "found"), [("5", False), ("<think></think>\\boxed{", False), ("\\boxed{5}", True)]
)
def test_an_answer_is_found_in_a_box_alone(response: str, found: bool) -> None:
    assert score(response, "7").found is found
