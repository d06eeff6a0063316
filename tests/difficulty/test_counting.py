"""pass@k, pass^k, informative groups, subsets: counted out over all subsets; tests and adjustments against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, false_discovery_control, fisher_exact, hypergeom

from analyzer.difficulty import informative
from analyzer.difficulty.comparison import changed, mean_change, mid_p
from analyzer.difficulty.metrics import informative_groups, problem_metrics
from analyzer.difficulty.passing import all_pass, pass_at, powers_of_two, subset_passes
from analyzer.difficulty.posterior import posterior, refitted
from analyzer.difficulty.prior import RATES

outcomes = st.lists(st.booleans(), min_size=1, max_size=9)


@given(outcomes, st.integers(1, 9))
@settings(deadline=None)
def test_pass_at_k_and_all_pass_are_shares_of_subsets(outcome: list[bool], k: int) -> None:
    passes, samples = np.array([sum(outcome)]), np.array([len(outcome)])
    subsets = list(itertools.combinations(outcome, k))
    if not subsets:
        assert np.isnan(pass_at(k, passes, samples)[0])
        assert np.isnan(all_pass(k, passes, samples)[0])
        return
    assert pass_at(k, passes, samples)[0] == pytest.approx(np.mean([any(one) for one in subsets]))
    assert all_pass(k, passes, samples)[0] == pytest.approx(np.mean([all(one) for one in subsets]))
    assert informative.exact(k, passes, samples)[0] == pytest.approx(np.mean([len(set(one)) > 1 for one in subsets]))


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=2, max_size=8), st.integers(2, 8))
@settings(deadline=None)
def test_groups_of_graded_rewards_are_counted_out(rewards: list[float], group: int) -> None:
    subsets = list(itertools.combinations(rewards, group))
    if subsets:
        found = informative.unequal(group, np.sort(np.array(rewards))[:, None])
        assert found[0] == pytest.approx(np.mean([len(set(one)) > 1 for one in subsets]))


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.7, 1.0]), min_size=2, max_size=8), min_size=2, max_size=6))
@settings(deadline=None)
def test_more_groups_are_informative_the_larger_they_are(problems: list[list[float]]) -> None:
    codes = np.repeat(np.arange(len(problems)), [len(one) for one in problems])
    rewards = np.concatenate(problems)
    passes = np.bincount(codes, rewards >= 0.5).astype(np.int64)
    groups = (2, 4, 8, 16, 32)
    graded = informative_groups(codes, rewards, len(problems), groups)
    found = posterior(passes, np.bincount(codes))
    shares = [one.share for one in informative.shares(groups, found, refitted(found.classes, 0), graded).values()]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(shares))


def test_subsets_are_hypergeometric_and_thousands_do_not_overflow() -> None:
    passes, samples = np.array([0, 3, 12, 16, 2000, 1]), np.array([16, 16, 16, 16, 4000, 1])
    for subset, most in ((4, 0), (4, 2), (1, 0)):
        found = subset_passes(subset, passes, samples, most)
        expected = hypergeom.cdf(most, samples[:5], passes[:5], subset)
        assert found[:5] == pytest.approx(expected, rel=1e-9)
    assert np.isnan(subset_passes(4, passes, samples, 0)[-1])
    assert subset_passes(1500, passes[4:5], samples[4:5], 740)[0] == pytest.approx(hypergeom.cdf(740, 4000, 2000, 1500))


def test_columns_stop_at_the_samples_there_are() -> None:
    assert powers_of_two(8) == [1, 2, 4, 8]
    assert powers_of_two(15) == [1, 2, 4, 8]
    assert powers_of_two(0) == []


def test_binomial_chances_are_those_of_scipy() -> None:
    assert informative.binomial(20) == pytest.approx(binom.pmf(np.arange(21)[:, None], 20, RATES), abs=1e-12)


@pytest.mark.parametrize(("samples", "group"), [(16, 8), (8, 8), (4, 16)])
def test_the_share_of_informative_groups_is_near_the_truth_and_the_interval_holds_it(samples: int, group: int) -> None:
    held, bias = [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        rates = random.beta(0.5, 0.9, 300)
        true = float(np.mean(1 - rates**group - (1 - rates) ** group))
        found = posterior(random.binomial(samples, rates), np.full(300, samples))
        said = informative.informative(group, found, refitted(found.classes, seed))
        held.append(said.low <= true <= said.high)
        bias.append(said.share - true)
    assert abs(np.mean(bias)) < 0.02
    assert np.mean(held) >= 0.75


def test_the_interval_of_nothing_is_nothing() -> None:
    found = posterior(np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert np.isnan(informative.informative(4, found, []).share)


def test_more_samples_are_no_advantage_in_the_common_mean() -> None:
    """The mean over all 4-subsets of 16 rewards, and over the one 4-subset of 4."""
    random = np.random.default_rng(0)
    many, few = random.random(9), random.random(4)
    metrics = problem_metrics(np.repeat([0, 1], [9, 4]), np.concatenate([many, few]), 2)
    best = [np.mean(sorted(subset)[-5:]) for subset in itertools.combinations(many, 4)]
    assert metrics.common_samples == 4
    assert metrics.common_mean_at_5 == pytest.approx([np.mean(best), few.mean()])
    variance = [np.var(subset) for subset in itertools.combinations(many, 4)]
    assert metrics.common_std_reward == pytest.approx([np.sqrt(np.mean(variance)), few.std()])
    assert metrics.mean_at[5][0] > metrics.common_mean_at_5[0]


def test_equal_numbers_of_samples_leave_every_metric_as_it_is() -> None:
    rewards = np.random.default_rng(0).random(64)
    metrics = problem_metrics(np.repeat(np.arange(8), 8), rewards, 8)
    assert np.array_equal(metrics.common_mean_at_5, metrics.mean_at[5])
    assert np.array_equal(metrics.common_std_reward, metrics.std_reward)


@given(st.integers(0, 8), st.integers(0, 12))
@settings(deadline=None)
def test_mid_p_is_fisher_less_half_of_what_is_as_likely_as_the_outcome(first: int, second: int) -> None:
    found = mid_p(np.array([first]), np.array([8]), np.array([second]), np.array([12]))[0]
    table = hypergeom.pmf(np.arange(9), 20, 8, first + second)
    same = np.isclose(table, table[first], rtol=1e-7)
    fisher = fisher_exact([[first, 8 - first], [second, 12 - second]]).pvalue
    assert found == pytest.approx(fisher - table[same].sum() / 2, abs=1e-9)


def test_a_run_without_samples_tells_no_change() -> None:
    assert mid_p(np.array([0, 5]), np.array([0, 8]), np.array([3, 0]), np.array([8, 0])).tolist() == [1.0, 1.0]


def test_changed_problems_are_those_of_benjamini_and_hochberg() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.random(80), random.random(20) * 0.01])
    assert np.array_equal(changed(values), false_discovery_control(values) <= 0.1)
    assert not changed(np.array([])).any()


def test_the_mean_change_is_that_of_a_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(0)
    first = random.random(30)
    second = first + 0.1 + 0.05 * random.normal(size=30)
    found = mean_change(np.append(first, np.nan), np.append(second, 0.5))
    interval = ttest_rel(second, first).confidence_interval(0.9)
    assert found.problems == 30
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert np.isnan(mean_change(first[:1], second[:1]).low)


def test_a_mid_p_test_errs_about_as_often_as_it_says() -> None:
    """Of equal runs about 10 % have a mid-p below 0.1; Fisher's own p-value falls far short of that."""
    random = np.random.default_rng(0)
    rates = np.full(4000, 0.4)
    a, b = random.binomial(8, rates), random.binomial(8, rates)
    share = int((mid_p(a, np.full(4000, 8), b, np.full(4000, 8)) < 0.1).sum())
    assert binomtest(share, 4000, 0.1).proportion_ci(0.999).high > 0.05
    assert 0.05 < share / 4000 < 0.13
