"""grid: the solve rates that priors and posteriors are tables over.

One record, the likelihood of 2 passes in 8 samples at each of POINTS solve rates from 0 to 1, over the largest::

    [0.0, ..., 0.99, 1.0, 0.99, ..., 0.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_LOGITS = np.linspace(-9.0, 9.0, 361)  # a solve rate of 1 in 8,000 and one of 0 are the same to any run
RATES: FloatArray = np.concatenate([[0.0], 1 / (1 + np.exp(-_LOGITS)), [1.0]])
"""The solve rates of the grid, ascending; 0 and 1 are among them. Shape (POINTS,)."""
POINTS = len(RATES)


def likelihoods(passes: IntArray, samples: IntArray) -> FloatArray:
    """p^passes (1 - p)^(samples - passes) for each rate p of the grid, over its largest value: (classes, POINTS).

    Scaled so that a thousand samples do not underflow; the scale cancels in every posterior.
    """
    inner = RATES[1:-1]
    failures = samples - passes
    # In logarithms: p^1000 is 0 in floating point for every p below 0.47.
    logs = np.multiply.outer(passes, np.log(inner)) + np.multiply.outer(failures, np.log1p(-inner))
    best = np.where(samples > 0, logs.max(axis=1), 0.0)
    # A pass is impossible at a rate of 0, a failure at 1; with none of it those ends are the likeliest of all.
    best = np.where((passes == 0) | (failures == 0), 0.0, best)
    table = np.empty((len(passes), POINTS))
    np.exp(logs - best[:, None], out=table[:, 1:-1])
    table[:, 0], table[:, -1] = passes == 0, failures == 0
    return table


def beta_cells(a: float, b: float) -> FloatArray:
    """The mass of Beta(a, b) in the cell of each rate of the grid, and a little more so that EM can move it anywhere.

    In the logit x the density is e^(a x) / (1 + e^x)^(a + b): its tails are exponential, with the mass density / a
    beyond the first point of the grid and density / b beyond the last.
    """
    # logaddexp(0, x) is log(1 + e^x) without overflow.
    logs = a * _LOGITS - (a + b) * np.logaddexp(0, _LOGITS)
    inner = np.exp(logs - logs.max())
    step = _LOGITS[1] - _LOGITS[0]
    cells: FloatArray = np.concatenate([[inner[0] / a], inner * step, [inner[-1] / b]])
    cells = cells / cells.sum() + 1e-9
    cells /= cells.sum()
    return cells
