"""prior: how the solve rates of a data source are spread, estimated from passes and samples.

One record, 1,319 problems with 8 samples each, 400 of them always solved and 90 never::

    Prior(weights=[0.04, ..., 0.21])    # over POINTS solve rates from 0 to 1

Solve rates of real data have humps and spikes (never, always) that no beta distribution has, so the distribution is
left free on a grid: the nonparametric maximum likelihood estimate (Kiefer and Wolfowitz 1956; Laird 1978), computed by
EM from the best beta. EM is stopped early, after one step for every ten problems: run to the end it would put all
weight on a handful of rates, which with few problems is noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_LOGITS = np.linspace(-9.0, 9.0, 361)  # a solve rate of 1 in 8,000 and one of 0 are the same to any run
RATES: FloatArray = np.concatenate([[0.0], 1 / (1 + np.exp(-_LOGITS)), [1.0]])
"""The solve rates of the grid, ascending; 0 and 1 are among them. Shape (POINTS,)."""
POINTS = len(RATES)
MOST_STEPS = 300
_BLOCK = 1 << 12  # classes whose likelihoods are held at a time

_LOGIT_BOUNDS = (-16.0, 16.0)  # of the mean of the beta distribution
_STRENGTH_BOUNDS = (-7.0, 9.0)  # of log(a + b), which has no best value where all problems are alike
_PRECISION = 1e-4
_LEAN = 1e-6  # towards a + b = 2, which decides where the rollouts do not

_Counted = tuple[tuple[int, float], ...]  # (value, problems that have it)


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
    starts = [_beta_cells(*fitted_beta(passes, samples - passes, each)) for each in several.T]
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


# ---------------------------------------------------------------- the beta distribution EM starts from


def fitted_beta(passes: IntArray, failures: IntArray, weights: FloatArray | None = None) -> tuple[float, float]:
    """The a and b of the beta distribution under which these numbers of passes and failures are likeliest.

    passes, failures: (problems,), or (classes,) with `weights` problems each. With one rollout per problem nothing
    tells how much problems differ: then only the mean of the distribution means something, and a + b is that of the
    uniform distribution. scipy.optimize would find the same; to import it takes longer than a small run.
    """
    each = np.ones(len(passes)) if weights is None else weights
    return _likeliest(*(_counted(values, each) for values in (passes, failures, passes + failures)))


# A report draws charts of priors that the analysis has fitted before it. The key is a few numbers per class, whatever
# the number of problems.
@functools.lru_cache(maxsize=1024)
def _likeliest(passed: _Counted, failed: _Counted, tried: _Counted) -> tuple[float, float]:
    def likelihood(logit: float, strength: float) -> float:
        a, b = _beta(logit, strength)
        return _rising(a, passed) + _rising(b, failed) - _rising(a + b, tried)

    def best_mean(strength: float) -> float:
        return _peak(lambda logit: likelihood(logit, strength), *_LOGIT_BOUNDS)

    def how_good(strength: float) -> float:
        return likelihood(best_mean(strength), strength) - _LEAN * (strength - math.log(2)) ** 2

    strength = _peak(how_good, *_STRENGTH_BOUNDS)
    return _beta(best_mean(strength), strength)


def _beta(logit: float, strength: float) -> tuple[float, float]:
    """The a and b of the beta distribution whose mean has this logit, and whose a + b has this logarithm."""
    both = math.exp(strength)
    return both / (1 + math.exp(-logit)), both / (1 + math.exp(logit))


def _counted(values: IntArray, weights: FloatArray) -> _Counted:
    """Each value above 0 that problems have, and how many of them."""
    distinct, inverse = np.unique(values, return_inverse=True)
    pairs = zip(distinct.tolist(), np.bincount(inverse.reshape(-1), weights).tolist(), strict=True)
    return tuple((value, times) for value, times in pairs if value and times)  # the others add 0 to every likelihood


def _rising(start: float, counted: _Counted) -> float:
    """The sum of log(start (start + 1) .. (start + n - 1)) over all n."""
    # Called some ten thousand times for one small analysis, hence a list and no generator.
    log_gamma, base = math.lgamma, math.lgamma(start)
    return math.fsum([times * (log_gamma(start + n) - base) for n, times in counted])


def _peak(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one maximum is largest, by golden-section search."""
    # Each step uses one of the two values of the step before: half of the evaluations of a search by thirds.
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > _PRECISION:
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = function(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = function(left)
    return (low + high) / 2
