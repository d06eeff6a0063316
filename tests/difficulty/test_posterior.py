"""Priors and posteriors: against a plain reading of the formulas, and against rates that are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty import beta as fits
from analyzer.difficulty.grid import POINTS, RATES, beta_cells, likelihoods
from analyzer.difficulty.passing import at_least_one
from analyzer.difficulty.posterior import REFITS, classes_of, gathered, posterior, with_refits


def test_likelihoods_are_binomial_up_to_a_scale_and_do_not_underflow() -> None:
    passes, samples = np.array([0, 3, 8, 0, 2000]), np.array([8, 8, 8, 0, 4000])
    table = likelihoods(passes, samples)
    for row, k, n in zip(table, passes, samples, strict=True):
        expected = scipy.stats.binom.pmf(k, n, RATES)
        assert row / row.sum() == pytest.approx(expected / expected.sum(), abs=1e-12)
        assert row.max() > 0.5


@pytest.mark.parametrize("problems", [20, 45, 320])
def test_the_prior_is_the_em_of_the_formula(problems: int) -> None:
    """From the best beta, w <- w * sum of Bin(k | n, g) / (P sum of w Bin), once for every ten problems."""
    random = np.random.default_rng(0)
    samples = random.integers(2, 9, problems)
    passes = random.binomial(samples, random.choice([0.02, 0.5, 0.9], problems))
    [beta] = fits.fitted_betas(passes, samples - passes, np.ones((problems, 1)))
    weights = beta_cells(*beta)
    chances = scipy.stats.binom.pmf(passes[:, None], samples[:, None], RATES)
    for _ in range(problems // 10):
        weights = weights * (chances / (chances @ weights)[:, None]).sum(axis=0) / problems
    [prior] = posterior(passes, samples).priors
    assert prior.shape == (POINTS,)
    assert prior == pytest.approx(weights / weights.sum(), abs=1e-9)


def test_two_humps_are_found_where_a_beta_has_none() -> None:
    random = np.random.default_rng(1)
    passes = random.binomial(8, random.choice([0.1, 0.9], 3000))
    [prior] = posterior(passes, np.full(3000, 8)).priors
    assert prior[(RATES > 0.3) & (RATES < 0.7)].sum() < 0.02
    assert prior @ RATES == pytest.approx(passes.mean() / 8, abs=0.005)


KNOWN = {  # solve rates of problems, from uniform numbers
    "uniform": lambda u, v: u,
    "rarely": lambda u, v: 0.05 * u**2,
    "spikes": lambda u, v: np.where(v < 0.3, 0.0, np.where(v > 0.8, 1.0, u)),
    "humps": lambda u, v: np.where(v < 0.5, 0.1, 0.9),
    "alike": lambda u, v: np.full(len(u), 0.5),
    "never": lambda u, v: np.zeros(len(u)),
}


@pytest.mark.parametrize(("problems", "samples"), [(1, 4), (3, 2), (10, 3), (60, 2)])
def test_the_interval_of_a_solve_rate_holds_the_truth_with_few_problems_or_samples(problems: int, samples: int) -> None:
    """Few problems do not tell how rates spread: fitted as if they did, 0 of 2 had an interval of 0.000 to 0.000."""
    random = np.random.default_rng(5)
    for name, rates_of in KNOWN.items():
        source = np.repeat(np.arange(max(30 // problems, 4)), problems)
        rates = rates_of(random.random(len(source)), random.random(len(source)))
        found = posterior(random.binomial(samples, rates), np.full(len(source), samples), source)
        low, high = (gathered(found.classes, found.quantile(share)) for share in (0.05, 0.95))
        assert np.mean((low <= rates + 1e-9) & (rates <= high + 1e-9)) >= 0.7, name


def test_the_posterior_of_a_beta_population_is_near_the_conjugate_one() -> None:
    random = np.random.default_rng(3)
    passes = random.binomial(8, random.beta(2, 3, 5000))
    found = posterior(passes, np.full(5000, 8))
    k = found.classes.passes
    assert found.mean() == pytest.approx((2 + k) / 13, abs=0.03)
    assert found.quantile(0.05) == pytest.approx(scipy.stats.beta.ppf(0.05, 2 + k, 11 - k), abs=0.08)
    assert found.quantile(0.95) == pytest.approx(scipy.stats.beta.ppf(0.95, 2 + k, 11 - k), abs=0.08)
    assert found.variance() == pytest.approx(scipy.stats.beta.var(2 + k, 11 - k), abs=0.004)
    drawn = found.draw(random)
    each = np.bincount(found.classes.of, drawn) / found.classes.problems
    assert each == pytest.approx(found.mean(), abs=0.05)


def test_solve_rates_are_nearer_to_the_truth_than_pass_rates_and_their_interval_holds_it() -> None:
    random = np.random.default_rng(4)
    rates = np.where(random.random(2000) < 0.3, 0.0, random.beta(0.8, 1.2, 2000))
    passes = random.binomial(4, rates)
    found = posterior(passes, np.full(2000, 4))
    solve_rate, low, high = (
        gathered(found.classes, values) for values in (found.mean(), found.quantile(0.05), found.quantile(0.95))
    )
    assert np.sqrt(np.mean((solve_rate - rates) ** 2)) < 0.9 * np.sqrt(np.mean((passes / 4 - rates) ** 2))
    assert 0.87 < np.mean((low <= rates) & (rates <= high)) < 0.97


def test_data_sources_have_priors_of_their_own_and_unscored_problems_no_part() -> None:
    passes, samples = np.array([0] * 50 + [8] * 50 + [0]), np.array([8] * 100 + [0])
    source = np.array([0] * 50 + [1] * 51)
    found = posterior(passes, samples, source)
    rates = gathered(found.classes, found.mean())
    assert rates[:50].max() < 0.02
    assert rates[50:100].min() > 0.98
    assert np.isnan(rates[100])
    alone = posterior(passes[:50], samples[:50])
    assert rates[0] == pytest.approx(alone.mean()[0], abs=1e-12)
    others = posterior(passes[50:100], samples[50:100])
    assert found.priors[1] == pytest.approx(others.priors[0], abs=1e-12)


def test_one_sample_a_problem_fits_the_mean_alone() -> None:
    found = posterior(np.repeat([0, 1], [60, 20]), np.ones(80, np.int64))
    assert found.priors[0] @ RATES == pytest.approx(0.25, abs=0.01)


def test_refits_are_of_resampled_problems_and_repeatable() -> None:
    classes = classes_of(np.arange(100) % 9, np.full(100, 8), np.arange(100) % 2)
    first, second = with_refits(classes, 7)[1], with_refits(classes, 7)[1]
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    means = [priors[0] @ RATES for priors in first]
    assert 0.005 < np.std(means) < 0.1
    assert not np.array_equal(first[0], with_refits(classes, 8)[1][0])


def test_priors_and_refits_of_several_data_sources_are_searched_for_at_once_and_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches = []
    together = fits._together
    monkeypatch.setattr(fits, "_together", lambda several: searches.append(len(several)) or together(several))
    passes, samples, source = np.arange(300) % 9, np.full(300, 8), np.arange(300) % 5
    fits._known.clear()
    found, refits = with_refits(classes_of(passes, samples, source), 7)
    assert searches == [5 * (1 + REFITS)]
    assert len(refits) == REFITS
    for number in range(5):
        fits._known.clear()
        alone = posterior(passes[source == number], samples[source == number])
        assert np.array_equal(found.priors[number], alone.priors[0])


def test_the_mean_of_a_function_predicts_pass_at_k() -> None:
    classes = classes_of(np.array([0, 4, 8]), np.full(3, 8))
    found = with_refits(classes._replace(problems=np.array([10, 10, 10])), 0, refits=0)[0]
    at = [found.mean(at_least_one(k)) for k in (1, 4, 32)]
    assert (np.diff(at, axis=0) >= -1e-12).all()
    assert at[0] == pytest.approx(found.mean())


def test_a_single_sample_is_evidence_and_none_is_not() -> None:
    passes, samples = np.array([1, 0, 0, 3, 2]), np.array([1, 1, 0, 4, 2])
    found = posterior(passes, samples)
    values = np.array([float(n) for n in range(len(found.classes.problems))])
    shown = np.asarray(gathered(found.classes, values)[np.arange(5)])
    assert np.isnan(shown).tolist() == [False, False, True, False, False]
    assert shown[[0, 1, 3, 4]].tolist() == values[found.classes.of[[0, 1, 3, 4]]].tolist()
