"""Quarters by rank: where the cuts are, and from how uneven on ties are worth a warning."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.buckets._ranking import quarters

NAMES = ("hard", "medium-hard", "medium-easy", "easy")


@pytest.mark.parametrize("problems", [2, 3, 4, 5, 8, 9, 101])
def test_without_ties_a_problem_is_where_its_percentile_is(problems: int) -> None:
    found = quarters(NAMES, {"mean": np.arange(float(problems))})
    percentile = np.arange(problems) / (problems - 1)
    expected = np.select([percentile <= 0.25, percentile <= 0.5, percentile <= 0.75], [0, 1, 2], 3)
    assert found.positions.tolist() == expected.tolist()
    assert found.warnings == ()


@pytest.mark.parametrize(("tied", "warned"), [(60, False), (61, False), (100, True)])
def test_ties_are_warned_of_where_they_move_more_than_a_tenth_of_the_problems(tied: int, warned: bool) -> None:
    """The easiest of 200 are tied: 50 would be in the last bucket without ties, and 20 more are a tenth."""
    values = np.minimum(np.arange(200.0), 200.0 - tied)
    found = quarters(NAMES, {"mean": values})
    assert (found.positions == 3).sum() == tied
    assert bool(found.warnings) is warned
    for warning in found.warnings:
        assert warning.startswith(
            f"ties make the buckets uneven: {tied} of 200 problems have mean 100 and stay together"
        )


def test_the_second_metric_decides_where_the_first_is_equal() -> None:
    evidence = {"mean@5": np.array([1.0, 0.0, 1.0, 1.0]), "mean_reward": np.array([0.9, 0.0, 0.5, 0.2])}
    assert quarters(NAMES, evidence).positions.tolist() == [3, 0, 2, 1]
