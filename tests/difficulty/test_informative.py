"""Informative groups: shares of all groups, of any rewards, and what is predicted beyond the samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.informative import binomial, by_class, exact, informative, mixed, shares, unequal
from analyzer.difficulty.metrics import informative_groups
from analyzer.difficulty.posterior import posterior, with_refits

rewards_of_a_problem = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=6)


def share_of_groups(rewards: list[float], group: int) -> float:
    """Of all groups of that size the share that holds different rewards."""
    return float(np.mean([len(set(each)) > 1 for each in itertools.combinations(rewards, group)]))


@given(rewards_of_a_problem, st.integers(2, 6))
def test_the_share_of_unequal_groups_is_that_of_all_groups(rewards: list[float], group: int) -> None:
    if group <= len(rewards):
        ranked = np.array(sorted(rewards, reverse=True))[:, None]
        assert unequal(group, ranked) == pytest.approx([share_of_groups(rewards, group)])


def test_pass_or_fail_is_the_case_of_two_rewards() -> None:
    passes = np.arange(7)
    found = exact(3, passes, np.full(7, 6))
    assert found == pytest.approx([share_of_groups([1.0] * k + [0.0] * (6 - k), 3) for k in range(7)])
    assert np.isnan(exact(4, np.array([1]), np.array([3]))).all()
    assert mixed(3) == pytest.approx([1 - p**3 - (1 - p) ** 3 for p in RATES])


def test_the_chances_of_passes_are_binomial_at_every_rate() -> None:
    expected = [scipy.stats.binom.pmf(passes, 5, RATES) for passes in range(6)]
    assert binomial(5) == pytest.approx(np.array(expected), abs=1e-12)


def test_graded_rewards_are_counted_as_they_are_and_larger_groups_differ_at_least_as_often() -> None:
    problems = [[0.0, 0.25, 0.5, 1.0, 1.0, 1.0], [1.0] * 6, [0.5, 0.75, 0.5, 0.5, 1.0, 1.0], [0.0] * 4]
    codes = np.repeat(np.arange(4), [len(rewards) for rewards in problems])
    rewards = np.concatenate(problems)
    passes = np.array([sum(reward >= 0.5 for reward in each) for each in problems])
    found = posterior(passes, np.array([len(each) for each in problems]))
    graded = informative_groups(codes, rewards, 4, (2, 4, 64))
    estimates = shares((2, 4, 64), found, with_refits(found.classes, 1)[1], graded)
    for group in (2, 4):
        expected = np.mean([share_of_groups(each, group) for each in problems])
        assert estimates[group].share == pytest.approx(expected)
    # By passes alone the first problem's groups would be less often unequal, and the third's never.
    assert estimates[4].share > informative(4, found, []).share
    assert estimates[64].share >= estimates[4].share
    assert all(one.low <= one.share <= one.high for one in estimates.values())


def test_where_all_is_counted_the_interval_is_the_spread_of_the_samples() -> None:
    """Of each class the variance of the share over what its rates could have shown, added up."""
    passes = np.array([0, 1, 3, 3, 6, 8, 8, 2])
    found = posterior(passes, np.full(8, 8))
    share = exact(4, np.arange(9), np.full(9, 8))
    chances = np.array([scipy.stats.binom.pmf(k, 8, RATES) for k in range(9)])
    at_rate = (share[:, None] ** 2 * chances).sum(axis=0) - (share[:, None] * chances).sum(axis=0) ** 2
    variance = found.classes.problems @ (found.weights @ at_rate)
    estimate = informative(4, found, with_refits(found.classes, 1)[1])
    assert estimate.share == pytest.approx(exact(4, passes, np.full(8, 8)).mean())
    assert estimate.high - estimate.share == pytest.approx(1.645 * math.sqrt(variance) / 8)


def test_nothing_scored_has_no_share() -> None:
    found = posterior(np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert all(math.isnan(value) for value in informative(8, found, []))


def test_values_of_problems_are_averaged_within_a_class() -> None:
    classes = posterior(np.array([1, 0, 1]), np.array([2, 2, 2])).classes
    assert by_class(classes, np.array([0.2, 0.5, 0.4])).tolist() == pytest.approx([0.5, 0.3])
