"""prior: how the solve rates of a data source are spread, estimated from passes and samples.

One record, 1,319 problems with 8 samples each, 400 of them always solved and 90 never::

    Prior(weights=[0.04, ..., 0.21])    # over POINTS solve rates from 0 to 1

Solve rates of real data have humps and spikes (never, always) that no beta distribution has, so the distribution is
left free on a grid: the nonparametric maximum likelihood estimate (Kiefer and Wolfowitz 1956; Laird 1978), computed by
EM from the best beta. EM is stopped early, after one step for every ten problems: run to the end it would put all
weight on a handful of rates, which with few problems is noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.difficulty.beta import fitted_betas

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_LOGITS = np.linspace(-9.0, 9.0, 361)  # a solve rate of 1 in 8,000 and one of 0 are the same to any run
RATES: FloatArray = np.concatenate([[0.0], 1 / (1 + np.exp(-_LOGITS)), [1.0]])
"""The solve rates of the grid, ascending; 0 and 1 are among them. Shape (POINTS,)."""
POINTS = len(RATES)
MOST_STEPS = 300
_BLOCK = 1 << 12  # classes whose likelihoods are held at a time


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


def fit_prior(passes: IntArray, samples: IntArray, problems: IntArray | FloatArray) -> FloatArray:
    """The weights of the grid, (POINTS,), for classes of problems with equal passes and samples (at least 1).

    passes, samples: (classes,). problems: how many problems are in each class, (classes,); or (classes, fits) for
    several data sets at once, which gives (POINTS, fits): resampled problems, for the error of an estimate.
    """
    counts = np.asarray(problems, np.float64)
    several = counts if counts.ndim == 2 else counts[:, None]  # (classes, fits)
    total = several.sum(axis=0)
    starts = [_beta_cells(*each) for each in fitted_betas(passes, samples - passes, several)]
    weights = np.stack(starts, axis=1)  # (POINTS, fits)
    table = likelihoods(passes, samples)
    for _ in range(max(1, min(int(total.max()) // 10, MOST_STEPS))):
        # One step of EM: the posteriors of all problems, averaged. All fits are in one matrix product.
        weights *= table.T @ (several / np.maximum(table @ weights, 1e-300)) / total
    weights /= weights.sum(axis=0)
    fitted: FloatArray = weights if counts.ndim == 2 else weights[:, 0]
    return fitted


def _beta_cells(a: float, b: float) -> FloatArray:
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
