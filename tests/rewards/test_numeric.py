from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import ConfigError
from analyzer.rewards import build
from analyzer.rewards.numeric import Numeric
from analyzer.schema import GoldError, Status, Unscored

REWARD = Numeric()


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = Numeric(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == case["reward"]


@pytest.mark.parametrize(
    "gold",
    [
        *(
            "7" * 5_000,
            "7" * 257,
            10**256,
            10**5_000,
            "nan",
            "inf",
            "1e400",
            "1_0",
            "0x10",
            "",
            "x",
            "1/0",
            "1, 2",
            "(3,4)",
        ),
        *(float("nan"), float("inf"), True, None, ["5"], {"target": 5}),
    ],
    ids=range(20),
)
def test_a_ground_truth_that_is_no_number_or_over_the_limit_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError, match="must be a number"):
        REWARD.check_gold(gold)


@pytest.mark.parametrize("answer", ["nan", "inf", "-inf", "1e400", "1_0", "0x10", "Infinity", "1e4000", "７"])
@pytest.mark.parametrize("form", ["\\boxed{{{}}}", "#### {}", "The answer is {}", "Answer: {}", "it is {}", "{}"])
def test_what_is_no_number_in_writing_is_equal_to_nothing(answer: str, form: str) -> None:
    reward = Numeric(rel_tol=1.0)
    for gold in ("0", "1", "10", "16", "7", 1e308):
        assert reward.grade(reward.extract(form.format(answer)), gold).reward == 0.0


def test_a_box_that_holds_no_number_counts_as_not_found() -> None:
    assert not REWARD.grade(REWARD.extract("\\boxed{none}"), "5").found


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30) | st.integers(-(10**9))
)
def test_a_presented_number_earns_the_maximum(gold: Decimal | int) -> None:
    text = str(gold) if isinstance(gold, int) else f"{gold:f}"
    if sum(map(str.isdigit, text)) <= 256:
        assert reward_of(REWARD.present(text), text) == 1.0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_presented_float_earns_the_maximum(gold: float) -> None:
    assert reward_of(REWARD.present(gold), gold) == 1.0


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_only_equal_integers_are_equal(answer: int, gold: int) -> None:
    assert reward_of(f"\\boxed{{{answer:,}}}", gold) == (answer == gold)


def test_the_last_number_is_not_cut_where_the_window_begins() -> None:
    assert reward_of("12345" + "." * 497, "345") == 0.0
    assert reward_of("12345" + " " * 497, "345") == 0.0


def test_a_response_of_more_than_a_million_characters_is_refused() -> None:
    with pytest.raises(Unscored) as refusal:
        REWARD.extract("5" * 1_000_001)
    assert refusal.value.status is Status.LIMIT


@pytest.mark.parametrize("option", [{"rel_tol": -1}, {"abs_tol": float("nan")}, {"abs_tol": "1"}])
def test_a_tolerance_is_a_number_of_0_or_more(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tol"):
        build("numeric", option)
