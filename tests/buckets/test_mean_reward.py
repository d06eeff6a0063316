"""mean_reward: its table of cases, cases/mean_reward.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_problems_fall_into_the_buckets_of_the_case(case: dict[str, Any], check: Callable[..., None]) -> None:
    check("mean_reward", case)
