from __future__ import annotations

from typing import Any

import pytest

from analyzer.rewards.includes import Includes
from analyzer.schema import GoldError


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = Includes(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == case["reward"]


@pytest.mark.parametrize("gold", ["", "  ", ["Paris", ""], 5, [], None])
def test_a_ground_truth_that_every_response_holds_or_that_is_no_text_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError):
        Includes().check_gold(gold)
