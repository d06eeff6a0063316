"""The likelihoods that a prior is fitted by, and the beta distribution that EM starts from."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest
from numpy.typing import NDArray

from analyzer.difficulty.beta import fitted_betas
from analyzer.difficulty.grid import RATES, beta_cells, likelihoods
from analyzer.difficulty.prior import fit_prior

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.6), (2.0, 5.0), (9.0, 3.0)])
def test_the_fitted_beta_is_the_likeliest(a: float, b: float) -> None:
    samples = RANDOM.integers(2, 17, 400)
    passes = RANDOM.binomial(samples, RANDOM.beta(a, b, 400))

    def loss(logs: np.ndarray) -> float:
        return -float(scipy.stats.betabinom.logpmf(passes, samples, *np.exp(logs)).sum())

    found = np.log(fitted_betas(passes, samples - passes, np.ones((400, 1)))[0])
    best = scipy.optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert found == pytest.approx(best.x, abs=2e-3)
    classes, inverse = np.unique(np.stack([passes, samples]), axis=1, return_inverse=True)
    weights = np.bincount(inverse.reshape(-1)).astype(float)
    [fitted] = fitted_betas(classes[0], classes[1] - classes[0], weights[:, None])
    assert fitted == pytest.approx(np.exp(found), rel=1e-6)


def test_the_prior_is_the_distribution_that_the_solve_rates_came_from() -> None:
    rates = np.random.default_rng(0).beta(0.7, 2.1, 50_000)
    passes = np.random.default_rng(1).binomial(8, rates)
    [fitted] = fitted_betas(passes, 8 - passes, np.ones((len(passes), 1)))
    assert fitted == pytest.approx((0.7, 2.1), rel=0.05)


@pytest.mark.parametrize(("a", "b", "samples"), [(0.1, 0.2, 4), (5.0, 1.0, 16), (50.0, 50.0, 8), (1.0, 1.0, 200)])
def test_no_other_prior_is_likelier(a: float, b: float, samples: int) -> None:
    """The likelihood is scipy's."""
    random = np.random.default_rng(3)
    tried = random.integers(1, samples + 1, 500)
    passes = random.binomial(tried, random.beta(a, b, 500))
    logs = np.log(fitted_betas(passes, tried - passes, np.ones((500, 1)))[0])

    def likelihood(logs: NDArray[np.float64]) -> float:
        return float(scipy.stats.betabinom.logpmf(passes, tried, *np.exp(logs)).sum())

    assert all(likelihood(logs + 0.02 * random.normal(size=2)) < likelihood(logs) for _ in range(20))


def test_one_rollout_per_problem_tells_the_mean_alone() -> None:
    [(a, b)] = fitted_betas(np.array([0, 1]), np.array([1, 0]), np.array([[60.0], [20.0]]))
    assert (a + b, a / (a + b)) == pytest.approx((2, 0.25), rel=0.05)


def test_likelihoods_are_powers_over_the_largest() -> None:
    passes, samples = np.array([0, 3, 5, 0]), np.array([4, 4, 5, 0])
    table = likelihoods(passes, samples)
    for row, k, n in zip(table, passes, samples, strict=True):
        plain = RATES**k * (1 - RATES) ** (n - k)
        assert row == pytest.approx(plain / plain.max(), abs=1e-9)


def test_cells_hold_the_mass_of_a_beta_distribution() -> None:
    edges = 1 / (1 + np.exp(-np.linspace(-8.975, 8.975, 360)))  # between the rates of the grid
    for a, b in ((0.05, 0.2), (0.4, 0.6), (2.0, 5.0), (90.0, 30.0)):
        upto = np.cumsum(beta_cells(a, b))
        assert upto[1:-2] == pytest.approx(scipy.stats.beta.cdf(edges, a, b), abs=1e-3), (a, b)


@pytest.mark.parametrize("total", [12, 200])
def test_refits_at_once_are_those_one_by_one(total: int) -> None:
    passes, samples = np.arange(9), np.full(9, 8)
    problems, *several = RANDOM.multinomial(
        total, np.full(9, 1 / 9), 4
    )  # as many problems in each, as in resampled ones
    prior, refits = fit_prior(passes, samples, problems, np.stack(several, axis=1), np.random.default_rng(1))
    assert np.array_equal(
        prior, fit_prior(passes, samples, problems, np.empty((9, 0), int), np.random.default_rng(1))[0]
    )
    assert refits.sum(axis=0) == pytest.approx(1)
    if total >= 20:  # below, a refit starts from a shape that is drawn
        for refit, counts in zip(refits.T, several, strict=True):
            alone = fit_prior(passes, samples, counts, np.empty((9, 0), int), np.random.default_rng(1))[0]
            assert refit == pytest.approx(alone, abs=1e-9)
