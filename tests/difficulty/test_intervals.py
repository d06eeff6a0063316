"""Quantiles and intervals are scipy's, which is not imported for them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty.intervals import mean_rate, student_quantile, wilson


@pytest.mark.parametrize("share", [0.95, 0.975, 0.995])
def test_quantiles_of_students_distribution(share: float) -> None:
    freedoms = [*range(1, 60), *range(60, 3000, 37), 1e4, 1e5]
    found = [student_quantile(share, freedom) for freedom in freedoms]
    assert found == pytest.approx(list(map(float, scipy.special.stdtrit(freedoms, share))), rel=1e-10)
    # scipy itself is off by 1e-9 and more from here on; the normal quantile is the limit.
    assert student_quantile(share, 1e9) == pytest.approx(float(scipy.special.stdtrit(1e9, share)), rel=1e-6)


def test_wilsons_interval_to_the_last_digit() -> None:
    for trials in (1, 2, 7, 24, 100, 2000):
        for successes in range(0, trials + 1, max(trials // 50, 1)):
            expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
            assert wilson(successes, trials) == (expected.low, expected.high)


def test_the_interval_of_a_mean_pass_rate_is_wilsons_with_one_sample_a_problem() -> None:
    rates = np.repeat([0.0, 1.0], [80, 20])
    found = mean_rate(rates, np.ones(100, np.int64))
    t, spread = student_quantile(0.95, 99), float(rates.var(ddof=1)) / (0.2 * 0.8)
    n = 100 / spread
    centre = (0.2 + t**2 / (2 * n)) / (1 + t**2 / n)
    assert found.mean == pytest.approx(0.2)
    assert (found.low + found.high) / 2 == pytest.approx(centre)
    assert np.isnan(mean_rate(np.array([0.5]), np.array([8])).low)
    assert np.isnan(mean_rate(np.zeros(0), np.zeros(0, np.int64)).mean)


@pytest.mark.parametrize(("problems", "samples"), [(2, 4), (3, 1), (3, 8), (20, 2)])
def test_the_interval_of_a_mean_pass_rate_holds_the_truth_for_few_and_for_rarely_solved_problems(
    problems: int, samples: int
) -> None:
    """Student's interval was of no width where three problems were never solved, and went from -0.16 to 0.33."""
    random = np.random.default_rng(3)
    drawn = {0.02: np.full((200, problems), 0.02), 0.98: np.full((200, problems), 0.98)}
    drawn |= {0.5: random.random((200, problems)), 0.25: random.beta(0.3, 0.9, (200, problems))}
    for truth, rates in drawn.items():
        found = [mean_rate(k / samples, np.full(problems, samples)) for k in random.binomial(samples, rates)]
        assert all(0 <= one.low <= one.mean <= one.high <= 1 for one in found)
        assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.85, truth
