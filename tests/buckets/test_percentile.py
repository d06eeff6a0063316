"""percentile: its table of cases, cases/percentile.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_problems_fall_into_the_buckets_of_the_case(case: dict[str, Any], check: Callable[..., None]) -> None:
    check("percentile", case)
