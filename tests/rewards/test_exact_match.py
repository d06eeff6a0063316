from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import ConfigError
from analyzer.rewards import build
from analyzer.rewards._common.places import PLACES
from analyzer.rewards.exact_match import ExactMatch
from analyzer.schema import GoldError


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = ExactMatch(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == case["reward"]


@given(
    st.text(st.characters(exclude_characters="\\{}<>\n", exclude_categories=["Z", "C"]), min_size=1),
    st.sampled_from([*PLACES]),
    st.booleans(),
    st.booleans(),
)
def test_a_presented_gold_earns_the_maximum_in_every_place(
    gold: str, place: str, strip: bool, ignore_case: bool
) -> None:
    reward = ExactMatch(place=place, strip=strip, ignore_case=ignore_case)
    assert reward.grade(reward.extract(reward.present(gold)), gold).reward == reward.maximum


@pytest.mark.parametrize("gold", [5, [], ["a", 5], {"target": "a"}, None])
def test_a_ground_truth_that_is_no_text_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError):
        ExactMatch().check_gold(gold)


def test_an_unknown_place_names_the_places() -> None:
    with pytest.raises(ConfigError, match="whole, last_line, tag, boxed"):
        build("exact_match", {"place": "middle"})


def test_what_the_audit_looks_for_follows_the_place() -> None:
    assert ExactMatch(place="tag").expects == "an <answer>...</answer>"
