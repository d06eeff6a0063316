"""The shapes that the prior of a few problems starts from."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.shapes import _shapes


def test_shapes_are_distributions() -> None:
    shapes = _shapes()
    assert shapes.bodies.sum(axis=0) == pytest.approx(1)
    assert np.exp(shapes.log_weights).sum() == pytest.approx(1)
    assert (shapes.spikes.sum(axis=1) < 1).all()
    whole = np.exp(shapes.log_weights)
    mean = (whole.sum(axis=0) @ shapes.spikes)[1] + RATES @ shapes.bodies @ (whole @ (1 - shapes.spikes.sum(axis=1)))
    assert mean == pytest.approx(0.5, abs=0.002)  # neither end is likelier before anything is seen
