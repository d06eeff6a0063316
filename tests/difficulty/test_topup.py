"""Top-up: the budget is spent, where it buys most, and buys what the plan says."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty import topup
from analyzer.difficulty.grid import RATES
from analyzer.difficulty.posterior import classes_of, posterior, with_refits


@pytest.mark.parametrize("budget", [0, 1, 4, 403, 5000])
def test_the_budget_is_spent_to_the_last_sample(budget: int) -> None:
    random = np.random.default_rng(0)
    found = posterior(random.binomial(4, random.beta(1, 1, 200)), np.full(200, 4))
    plan = topup.plan_top_up(found, budget)
    assert plan.samples.sum() == budget
    assert plan.samples.min() >= 0
    assert plan.settled_after >= plan.settled_before - 1e-12


def test_a_budget_beyond_all_bounds_ends_at_the_bound_and_unscored_problems_get_nothing() -> None:
    found = posterior(np.array([0, 2, 4, 0]), np.array([4, 4, 4, 0]))
    assert topup.plan_top_up(found, 10**6, most=8).samples.tolist() == [8, 8, 8, 0]


def test_what_is_settled_is_left_and_what_is_on_a_cut_is_sampled() -> None:
    """Problems that are never or always solved, and some near a cut."""
    random = np.random.default_rng(1)
    rates = np.concatenate([np.zeros(400), np.ones(400), random.uniform(0.1, 0.9, 200)])
    passes = random.binomial(4, rates)
    given = topup.plan_top_up(posterior(passes, np.full(1000, 4)), 800).samples
    assert given[(passes > 0) & (passes < 4)].sum() > 0.9 * 800


def test_the_expected_gain_is_that_of_the_formula() -> None:
    """It is the sum over j of the largest joint probability, over buckets, of a bucket and of j passes in `more`."""
    found = posterior(np.array([0, 1, 3, 8]), np.full(4, 8))
    bucket = np.digitize(RATES, topup.CUTS)
    for row, weights in enumerate(found.weights):
        for more in (0, 4, 12):
            chances = scipy.stats.binom.pmf(np.arange(more + 1)[:, None], more, RATES) * weights
            joint = np.stack([chances[:, bucket == b].sum(axis=1) for b in range(4)])
            assert topup._settled_with(found, more)[row] == pytest.approx(joint.max(axis=0).sum(), abs=1e-12)


def test_a_plan_buys_more_than_the_same_samples_for_all_and_about_what_it_says() -> None:
    random = np.random.default_rng(2)
    said, planned, uniform = [], [], []
    for _ in range(10):
        rates = np.where(random.random(600) < 0.5, 0.0, random.beta(0.6, 1.2, 600))
        right = np.digitize(rates, topup.CUTS)

        def settled(passes: np.ndarray, samples: np.ndarray, right: np.ndarray = right) -> float:
            found = posterior(passes, samples)
            masses = np.stack([found.weights[:, np.digitize(RATES, topup.CUTS) == b].sum(axis=1) for b in range(4)])
            return float((masses.argmax(axis=0)[found.classes.of] == right).mean())

        first, four = random.binomial(4, rates), np.full(600, 4)
        plan = topup.plan_top_up(posterior(first, four), 2400)
        planned.append(settled(first + random.binomial(plan.samples, rates), four + plan.samples))
        uniform.append(settled(first + random.binomial(4, rates), four + 4))
        said.append(plan.settled_after)
    assert np.mean(planned) > np.mean(uniform) + 0.01
    assert np.mean(said) == pytest.approx(np.mean(planned), abs=0.025)


def test_problems_with_equal_evidence_are_served_in_their_order() -> None:
    found = posterior(np.full(10, 2), np.full(10, 4))
    assert topup.plan_top_up(found, 10).samples.tolist() == [4, 4, 2, 0, 0, 0, 0, 0, 0, 0]


def test_what_a_plan_buys_is_not_what_its_own_prior_says() -> None:
    """The likeliest bucket under one prior is too likely under it: with 20 problems by 10 points."""
    random = np.random.default_rng(11)
    gaps = []
    for _ in range(12):
        rates = random.beta(2, 2, 20)
        found, refits = with_refits(classes_of(random.binomial(4, rates), np.full(20, 4)), 1)
        edges = [0, *np.searchsorted(RATES, topup.CUTS).tolist()]
        likeliest = np.add.reduceat(found.weights, edges, axis=1).argmax(axis=1)[found.classes.of]
        true = (likeliest == np.digitize(rates, topup.CUTS)).mean()
        gaps.append([topup._share_settled(found, np.zeros(20, np.int64), each) - true for each in ((), refits)])
        plan = topup.plan_top_up(found, 4, refits=refits)
        assert 0 <= plan.settled_before <= plan.settled_after <= 1
    alone, corrected = np.mean(gaps, axis=0)
    assert 0 < corrected < 0.65 * alone
