"""What several rewards ask of a ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from analyzer.schema import GoldError

SHOWN = 60  # characters of a ground truth in a message


def text_gold(ground_truth: Any) -> str:
    """The ground truth, which must be a string. Raises GoldError: compared with a string, 18 is never "18"."""
    if isinstance(ground_truth, str):
        return ground_truth
    raise GoldError(f"the ground truth must be a string, not {shown(ground_truth)}")


def text_golds(ground_truth: Any) -> list[str]:
    """The ground truth as the list of right answers: one string, or several. Raises GoldError."""
    if isinstance(ground_truth, str):
        return [ground_truth]
    if isinstance(ground_truth, list) and any(isinstance(one, str) for one in ground_truth):
        # A whole number among texts is its text, as in a column of texts; numbers alone are never equal to a text.
        texts = [str(one) if type(one) is int else one for one in ground_truth]
        if all(isinstance(one, str) for one in texts):
            return texts
    raise GoldError(f"the ground truth must be a string or a list of strings, not {shown(ground_truth)}")


def struct_gold(ground_truth: Any) -> Mapping[str, Any]:
    """The ground truth as a struct; files hold one as it is or as JSON. Raises GoldError."""
    struct = ground_truth
    # Parquet cannot hold a struct whose values differ in type from row to row, so data sets store JSON text.
    if isinstance(struct, str):
        try:
            struct = json.loads(struct)
        except (ValueError, RecursionError) as error:
            raise GoldError(f"the ground truth {shown(ground_truth)} is not JSON: {error}") from None
    if not isinstance(struct, Mapping):
        raise GoldError(f"the ground truth must be a struct or a JSON object, not {shown(ground_truth)}")
    return struct


def shown(ground_truth: Any) -> str:
    """The type and the beginning of a ground truth, for a message."""
    kind = type(ground_truth).__name__
    try:
        return f"{kind} {ground_truth!r:.{SHOWN}}"
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits, or lists a thousand deep
        return f"{kind} too large to show"
