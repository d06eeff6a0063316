"""Priors and posteriors: against a plain reading of the formulas, and against rates that are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty import beta as fits
from analyzer.difficulty.passing import at_least_one
from analyzer.difficulty.posterior import (
    _drawn,
    classes_of,
    fit_priors,
    gathered,
    posterior,
    posterior_of,
    refitted,
    refitted_each,
    with_refits,
)
from analyzer.difficulty.prior import POINTS, RATES, fit_prior, likelihoods


def test_likelihoods_are_binomial_up_to_a_scale_and_do_not_underflow() -> None:
    passes, samples = np.array([0, 3, 8, 0, 2000]), np.array([8, 8, 8, 0, 4000])
    table = likelihoods(passes, samples)
    for row, k, n in zip(table, passes, samples, strict=True):
        expected = scipy.stats.binom.pmf(k, n, RATES)
        assert row / row.sum() == pytest.approx(expected / expected.sum(), abs=1e-12)
        assert row.max() > 0.5


def test_the_prior_is_the_em_of_the_formula() -> None:
    """w <- w * sum over problems of Bin(k | n, g) / (P sum of w Bin), one step for every ten problems."""
    random = np.random.default_rng(0)
    passes, samples = random.integers(0, 9, 45), np.full(45, 8)
    classes = classes_of(passes, samples)
    once = fit_prior(classes.passes[:1], classes.samples[:1], np.array([1]))  # one step from the same start
    assert once.shape == (POINTS,)
    weights = fit_prior(passes, samples, np.ones(45))
    assert weights == pytest.approx(fit_prior(classes.passes, classes.samples, classes.problems), abs=1e-9)
    chances = scipy.stats.binom.pmf(passes[:, None], 8, RATES)
    likelihood = np.log(chances @ weights).sum()
    step = weights * (chances / (chances @ weights)[:, None]).sum(axis=0) / 45
    assert np.log(chances @ step).sum() > likelihood  # stopped early: a further step still gains
    assert step.sum() == pytest.approx(1)


def test_two_humps_are_found_where_a_beta_has_none() -> None:
    random = np.random.default_rng(1)
    passes = random.binomial(8, random.choice([0.1, 0.9], 3000))
    prior = fit_prior(np.arange(9), np.full(9, 8), np.bincount(passes, minlength=9))
    assert prior[(RATES > 0.3) & (RATES < 0.7)].sum() < 0.02
    assert prior @ RATES == pytest.approx(passes.mean() / 8, abs=0.005)


def test_several_fits_at_once_are_what_each_is_alone() -> None:
    random = np.random.default_rng(2)
    classes = classes_of(random.integers(0, 9, 200), np.full(200, 8))
    counts = np.stack([classes.problems, random.multinomial(200, classes.problems / 200)], axis=1)
    together = fit_prior(classes.passes, classes.samples, counts)
    alone = [fit_prior(classes.passes, classes.samples, column) for column in counts.T]
    assert together == pytest.approx(np.stack(alone, axis=1), abs=1e-12)


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
    first, second = refitted(classes, 7), refitted(classes, 7)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    means = [priors[0] @ RATES for priors in first]
    assert 0.005 < np.std(means) < 0.1
    assert not np.array_equal(first[0], refitted(classes, 8)[0])


def test_a_posterior_and_its_refits_are_found_in_one_search_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = classes_of(np.arange(90) % 9, np.full(90, 8))
    fits._known.clear()
    alone, refits = posterior_of(classes, fit_priors(classes, classes.problems)), refitted(classes, 7)
    fits._known.clear()
    monkeypatch.delattr(fits, "_alone")  # the search for one fit
    found, again = with_refits(classes, 7)
    assert np.array_equal(found.weights, alone.weights)
    assert np.array_equal(again, refits)


def test_priors_of_several_data_sources_and_sets_are_searched_for_at_once_and_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches = []
    together = fits._together
    monkeypatch.setattr(fits, "_together", lambda several: searches.append(len(several)) or together(several))
    passes, samples = np.arange(300) % 9, np.full(300, 8)
    sets = [classes_of(passes, samples, np.arange(300) % 5), classes_of(passes[:90], samples[:90])]
    fits._known.clear()
    found = refitted_each(sets, 7)
    assert searches == [78]  # 12 fits of 6 data sources, and one of the problems themselves
    for classes, priors in zip(sets, found, strict=True):
        for number in range(5 if classes is sets[0] else 1):
            fits._known.clear()
            those = classes.source == number
            drawn = _drawn(classes, 7)[those]
            alone = fit_prior(classes.passes[those], classes.samples[those], drawn)
            assert np.array_equal(np.stack([each[number] for each in priors], axis=1), alone)


def test_the_mean_of_a_function_predicts_pass_at_k() -> None:
    classes = classes_of(np.array([0, 4, 8]), np.full(3, 8))
    found = posterior_of(classes, fit_priors(classes, np.array([10, 10, 10])))
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
