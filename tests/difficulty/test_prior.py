"""The likelihoods that a prior is fitted by, and the shapes that EM starts from."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty.prior import RATES, _beta_cells, _shapes, likelihoods


def test_likelihoods_are_powers_over_the_largest() -> None:
    passes, samples = np.array([0, 3, 5, 0]), np.array([4, 4, 5, 0])
    table = likelihoods(passes, samples)
    for row, k, n in zip(table, passes, samples, strict=True):
        plain = RATES**k * (1 - RATES) ** (n - k)
        assert row == pytest.approx(plain / plain.max(), abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.2), (0.4, 0.6), (2.0, 5.0), (90.0, 30.0)])
def test_cells_hold_the_mass_of_a_beta_distribution(a: float, b: float) -> None:
    upto = np.cumsum(_beta_cells(a, b))
    edges = 1 / (1 + np.exp(-np.linspace(-8.975, 8.975, 360)))  # between the rates of the grid
    assert upto[1:-2] == pytest.approx(scipy.stats.beta.cdf(edges, a, b), abs=1e-3)


def test_shapes_are_distributions() -> None:
    shapes = _shapes()
    assert shapes.bodies.sum(axis=0) == pytest.approx(1)
    assert np.exp(shapes.log_weights).sum() == pytest.approx(1)
    assert (shapes.spikes.sum(axis=1) < 1).all()
    whole = np.exp(shapes.log_weights)
    mean = (whole.sum(axis=0) @ shapes.spikes)[1] + RATES @ shapes.bodies @ (whole @ (1 - shapes.spikes.sum(axis=1)))
    assert mean == pytest.approx(0.5, abs=0.002)  # neither end is likelier before anything is seen
