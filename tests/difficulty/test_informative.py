"""Informative groups: shares of all groups, of any rewards, and what is predicted beyond the samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty import informative as subject
from analyzer.difficulty.graded import by_class, graded_groups, pass_or_fail
from analyzer.difficulty.grid import RATES
from analyzer.difficulty.informative import binomial, exact, informative, mixed, shares
from analyzer.difficulty.metrics import problem_metrics
from analyzer.difficulty.passing import unequal
from analyzer.difficulty.posterior import classes_of, posterior, with_refits

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


def test_a_problem_of_many_samples_is_taken_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    found = posterior(np.array([3, 700, 1500, 4000]), np.array([4000] * 4))
    whole = informative(16, found, [])
    monkeypatch.setattr(subject, "_AT_ONCE", 128)
    parts = informative(16, found, [])
    assert parts == pytest.approx(whole, rel=1e-9)
    sizes = [subject._near(np.arange(first, first + 128), 4000) for first in range(0, 4000, 128)]
    assert max(size.stop - size.start for size in sizes) < len(RATES) / 2  # or a million samples would take minutes


def test_graded_rewards_are_counted_as_they_are_and_larger_groups_differ_at_least_as_often() -> None:
    problems = [[0.0, 0.25, 0.5, 1.0, 1.0, 1.0], [1.0] * 6, [0.5, 0.75, 0.5, 0.5, 1.0, 1.0], [0.0] * 4]
    codes = np.repeat(np.arange(4), [len(rewards) for rewards in problems])
    rewards = np.concatenate(problems)
    passes = np.array([sum(reward >= 0.5 for reward in each) for each in problems])
    found = posterior(passes, np.array([len(each) for each in problems]))
    graded = graded_groups(codes, rewards, np.zeros(4, np.int64), found.classes, groups=(2, 4, 64), seed=1)
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


@pytest.mark.parametrize(
    ("rewards", "threshold", "expected"),
    [
        ([[0.0, 1.0], [1.0, 1.0]], 0.5, True),
        ([[-1.0, 1.0], [math.nan, math.nan]], 0.5, True),
        ([[0.0, 100.0], [0.0, 0.0]], 60, True),
        ([[0.7, 0.7], [0.7, 0.7]], 0.5, True),
        ([[0.0, 0.3], [0.0, 0.0]], 0.5, False),  # groups of these differ, though all fail
        ([[0.6, 1.0], [1.0, 1.0]], 0.5, False),
        ([[0.0, 0.5, 1.0], [1.0, 1.0, 0.0]], 0.5, False),
        ([[1.0, -1.0], [-1.0, -1.0]], -2, False),
    ],
)
def test_passes_tell_all_only_where_the_lower_of_two_rewards_fails(
    rewards: list[list[float]], threshold: float, expected: bool
) -> None:
    values = np.concatenate(rewards)
    found = problem_metrics(np.repeat([0, 1], list(map(len, rewards))), values, 2, values >= threshold)
    assert pass_or_fail(*(getattr(found, name) for name in (*COLUMNS, "pass_rate"))) is expected


COLUMNS = ("mean_reward", "std_reward", "min_reward", "max_reward")


def test_groups_of_graded_rewards_are_predicted_from_how_often_others_agree() -> None:
    """Rewards between 0 and 0.4 all fail, and passes said that no group has a gradient."""
    random = np.random.default_rng(6)
    problems, samples = 120, 4
    for chances in (np.full(40, 1 / 40), np.array([0.5, 0.25, 0.25]), np.array([1.0])):
        drawn = random.choice(len(chances), (problems, samples), p=chances) / 100
        found = posterior(np.zeros(problems, np.int64), np.full(problems, samples))
        codes, source = np.repeat(np.arange(problems), samples), np.arange(problems) % 2
        found = posterior(np.zeros(problems, np.int64), np.full(problems, samples), source)
        graded = graded_groups(codes, drawn.ravel(), source, found.classes, groups=(4, 8, 64), seed=1)
        assert graded.agreeing.classes.problems.sum() == pytest.approx(problems)
        for group, said in shares((4, 8, 64), found, [], graded).items():
            true = 1 - (chances**group).sum()
            assert said.low - 0.01 <= true <= said.high + 0.01
            assert said.share == pytest.approx(true, abs=0.06)
        assert graded.of(1).agreeing.classes.problems.sum() == pytest.approx(problems / 2)


def test_one_sample_a_problem_has_no_share() -> None:
    """It was 78 %, which was the prior's alone."""
    for samples, known in (([1, 1, 1, 8], False), ([1, 1, 2, 2, 2], True)):
        found = posterior(np.zeros(len(samples), np.int64), np.array(samples))
        assert math.isfinite(shares((8,), found, [])[8].share) is known


@pytest.mark.parametrize(("problems", "samples", "high"), [(40, 4, 0.03), (200, 4, 0.005), (3, 8, 0.1)])
def test_problems_that_were_always_solved_may_fail_sometimes(problems: int, samples: int, high: float) -> None:
    """The interval of 40 problems that passed 4 times ended at 0.00002, as if each were known to pass for ever."""
    for passes in (samples, 0):
        found, refits = with_refits(classes_of(np.full(problems, passes), np.full(problems, samples)), 1)
        estimate = shares((8,), found, refits)[8]
        assert estimate.low == 0
        assert high < estimate.high < 0.3
