"""What several rewards ask of a ground truth."""

from __future__ import annotations

from typing import Any

from analyzer.schema import GoldError


def text_gold(ground_truth: Any) -> str:
    """The ground truth, which must be a string. Raises GoldError: compared with a string, 18 is never "18"."""
    if isinstance(ground_truth, str):
        return ground_truth
    raise GoldError(f"the ground truth must be a string, not {type(ground_truth).__name__} {ground_truth!r:.60}")
