"""prior: how the solve rates of a data source are spread, estimated from passes and samples.

One record, 1,319 problems with 8 samples each, 400 of them always solved and 90 never::

    Prior(weights=[0.04, ..., 0.21])    # over POINTS solve rates from 0 to 1

Solve rates of real data have humps and spikes (never, always) that no beta distribution has, so the distribution is
left free on a grid: the nonparametric maximum likelihood estimate (Kiefer and Wolfowitz 1956; Laird 1978), computed by
EM from the best beta. EM is stopped early, after one step for every ten problems: run to the end it would put all
weight on a handful of rates, which with few problems is noise.

Fewer than FEW problems do not tell which beta is the best: of two that are never solved it is the one at 0, as if it
were known that none ever will be. Nor do fewer than FEWEST_SAMPLES a problem: two samples tell mean and variance, and
the best beta is often one where all problems are alike. Nor do a few passes or failures. There EM starts from an
average of shapes instead (shapes.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.difficulty import shapes
from analyzer.difficulty.beta import fit_ahead, fitted_betas
from analyzer.difficulty.grid import beta_cells, likelihoods

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.schema import FloatArray, IntArray

FEW = 20
"""Problems of a data source below which one beta distribution says too much."""
FEW_OUTCOMES = 8
"""Passes of a data source, or failures, below which it does so, too."""
FEWEST_SAMPLES = 4
"""Samples of a problem, on average, below which it does so, too."""
MOST_STEPS = 300


def fit_prior(
    passes: IntArray, samples: IntArray, problems: IntArray, resampled: IntArray, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The weights of the grid, (POINTS,), and those of each refit, (POINTS, refits).

    passes, samples: of classes of problems with equal passes and samples (at least 1), (classes,). problems: how many
    problems are in each class, (classes,). resampled: how many of them in each refit, (classes, refits).
    """
    table = likelihoods(passes, samples)
    if _is_sparse(passes, samples, problems):
        start, again = shapes.starts(table, problems, resampled.shape[1], random)
    else:
        betas = fitted_betas(passes, samples - passes, np.column_stack([problems, resampled]))
        start, *rest = (beta_cells(*beta) for beta in betas)
        again = np.stack(rest, axis=1) if rest else np.empty((len(start), 0))
    # Apart: in one matrix product the first would depend, by a last bit, on whether there are refits.
    return _em(table, problems[:, None], start[:, None])[:, 0], _em(table, resampled, again)


def prepare(data: Iterable[tuple[IntArray, IntArray, IntArray, IntArray]]) -> None:
    """Do what `fit_prior` takes longest for at once for several data sources: passes, samples, problems, resampled."""
    fit_ahead(
        (passes, samples - passes, np.column_stack([problems, resampled]))
        for passes, samples, problems, resampled in data
        if not _is_sparse(passes, samples, problems)
    )


def _is_sparse(passes: IntArray, samples: IntArray, problems: IntArray) -> bool:
    passed, tried = float(problems @ passes), float(problems @ samples)
    # Of 40 problems that were always solved the best beta has all at 1, and of resampled ones as well.
    total = float(problems.sum())
    return total < FEW or min(passed, tried - passed) < FEW_OUTCOMES or tried < FEWEST_SAMPLES * total


def _em(table: FloatArray, problems: IntArray, weights: FloatArray) -> FloatArray:
    """EM from these weights, (POINTS, fits), for as many problems as there are in each class, (classes, fits)."""
    counts = problems.astype(np.float64)
    total = round(float(problems.sum(axis=0).max(initial=0)))  # the same in all fits
    for _ in range(min(total // 10, MOST_STEPS)):
        # One step: the posteriors of all problems, averaged. All fits are in one matrix product.
        weights = weights * (table.T @ (counts / np.maximum(table @ weights, 1e-300)) / total)
    normalised: FloatArray = weights / weights.sum(axis=0)
    return normalised
