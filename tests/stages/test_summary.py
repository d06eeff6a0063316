"""summary: counts and lengths against plain ones, and what is said of what is not known."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analyzer.difficulty.stability import Stability
from analyzer.schema import NOT_COUNTED, STATUSES, Status
from analyzer.stages.summary import Summary, number, percentiles, stability_line, status_counts, token_counts


def test_statuses_are_counted_and_those_that_do_not_occur_left_out() -> None:
    codes = np.random.default_rng(0).choice([0, 2, 5], 100).astype(np.int8)
    expected = Counter(str(STATUSES[code]) for code in codes)
    assert status_counts(codes) == dict(expected)
    assert next(iter(status_counts(codes))) == Status.OK
    assert status_counts(np.zeros(0, np.int8)) == {}


def test_lengths_are_in_tokens_and_none_where_nothing_was_counted() -> None:
    lengths = np.array([7, 1, 3, 200, 3], np.int32)
    assert token_counts(lengths) == {"mean": 42.8, "median": 3, "p95": 200, "max": 200}
    assert token_counts(np.full(5, NOT_COUNTED, np.int32)) == {}
    assert token_counts(np.zeros(0, np.int32)) == {}
    # Longer than what is counted by a table.
    assert percentiles(np.array([1, 1 << 25], np.int32), (5, 95)) == [1, 1 << 25]


@pytest.mark.parametrize(
    ("statuses", "share"), [({"ok": 4}, 0.0), ({"ok": 3, "timeout": 1}, 0.25), ({"error": 2}, 1.0)]
)
def test_the_unscored_share_is_of_all_rollouts(statuses: dict[str, int], share: float) -> None:
    summary: Any = SimpleNamespace(reward_status=statuses)
    assert Summary.unscored_share.fget(summary) == share  # type: ignore[attr-defined]


def test_how_sure_the_buckets_are_ends_at_0_and_100_percent() -> None:
    known = Stability(0.98, 1.0, {"hard": 0.9, "easy": 1.0}, 0.05)
    line = stability_line(known)
    assert "about 98% (93% to 100%) of the problems" in line
    assert "(hard 90%, easy 100%), 100% in the same or the next" in line
    assert "(0% to 7%)" in stability_line(known._replace(same_bucket=0.02))
    assert stability_line(Stability(None, None, {}, None, "one sample")) == "unknown: one sample"


def test_what_is_no_number_is_null() -> None:
    assert (number(float("nan")), number(0.5)) == (None, 0.5)
