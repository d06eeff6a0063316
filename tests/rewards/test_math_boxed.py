from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards.math_boxed import MathBoxed
from analyzer.schema import GoldError

REWARD = MathBoxed()


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert reward_of(case["response"], case["ground_truth"]) == case["reward"]


@pytest.mark.parametrize("data_source", MathBoxed.data_sources)
def test_equals_verl_on_every_row(data_source: str, parity: Callable[[str], Iterator[Any]]) -> None:
    differences = [row for row in parity(data_source) if reward_of(row.response, row.ground_truth) != row.verl_score]
    assert differences == []


@pytest.mark.parametrize("gold", [420, None, ["420"]])
def test_a_ground_truth_that_is_no_string_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError, match="must be a string"):
        REWARD.check_gold(gold)


def braced(pairs: list[tuple[str, str]]) -> str:
    return "".join(f"{atom}{{{inner}}}" for atom, inner in pairs)


atoms = st.sampled_from(
    ["1", "x", "-", "\\frac12", "\\sqrt3", "\\text{ cm}", "=", "/", ".", " ", "\\%", "\\left(", "π"]
)
latex = st.recursive(st.lists(atoms).map("".join), lambda inner: st.lists(st.tuples(atoms, inner)).map(braced))


@given(latex)
def test_a_presented_gold_with_balanced_braces_earns_the_maximum(gold: str) -> None:
    assert reward_of(REWARD.present(gold), gold) == REWARD.maximum
