"""The beta distribution that EM starts from is the likeliest one, as scipy's own likelihood says."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty.beta import fitted_betas
from analyzer.difficulty.prior import RATES, fit_prior, likelihoods

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


def test_likelihoods_are_powers_over_the_largest() -> None:
    passes, samples = np.array([0, 3, 5, 0]), np.array([4, 4, 5, 0])
    table = likelihoods(passes, samples)
    for row, k, n in zip(table, passes, samples, strict=True):
        plain = RATES**k * (1 - RATES) ** (n - k)
        assert row == pytest.approx(plain / plain.max(), abs=1e-9)


def test_several_fits_at_once_are_those_one_by_one() -> None:
    passes, samples = np.arange(9), np.full(9, 8)
    counts = RANDOM.multinomial(200, np.full(9, 1 / 9), 3).T  # as many problems in each fit, as in resampled ones
    together = fit_prior(passes, samples, counts)
    for at in range(3):
        assert together[:, at] == pytest.approx(fit_prior(passes, samples, counts[:, at]), abs=1e-9)
    assert together.sum(axis=0) == pytest.approx(1)
