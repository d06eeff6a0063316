from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import ConfigError
from analyzer.rewards.repetition import Repetition


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = Repetition(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == pytest.approx(case["reward"])


@pytest.mark.parametrize(
    "options", [{"ngram_size": 0}, {"ngram_size": 2.0}, {"max_penalty": 0.5}, {"max_penalty": "1"}]
)
def test_options_that_are_no_penalty_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Repetition(**options)
