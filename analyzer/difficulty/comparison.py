"""comparison: has anything changed between two runs of the same problems, and which problems can be told to have?

Two checkpoints, or one sampled twice: with 8 samples a problem, 16 to 19 of 70 problems change their bucket although
nothing has changed. So first the mean of the paired differences with its interval (Miller, "Adding error bars to
evals", arXiv 2411.00640), then the moves beside the number expected by chance, and single problems only where an
exact test with a bound on the share of false discoveries names them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.passing import log_factorials

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

FALSE_DISCOVERIES = 0.1
"""The share of the problems named as changed that may be named by chance."""
CONFIDENCE = 0.9


class MeanChange(NamedTuple):
    """The mean of the paired differences, second run minus first."""

    change: float
    low: float  # 90 % interval
    high: float
    problems: int


def mean_change(first: FloatArray, second: FloatArray) -> MeanChange:
    """The mean change over problems that have a value in both runs (pass rates or mean rewards, NaN for none).

    Each problem is its own control, so what problems differ in does not widen the interval: se = sd / sqrt(problems),
    with Student's t for few problems. NaN bounds with fewer than two.
    """
    return mean_interval(second - first)


def mean_interval(values: FloatArray) -> MeanChange:
    """The mean of values, NaN left out, with its 90 % interval."""
    change = values[~np.isnan(values)]
    count = len(change)
    if count < 2:
        return MeanChange(float(change.mean()) if count else math.nan, math.nan, math.nan, count)
    from scipy.special import stdtrit

    mean = math.fsum(change.tolist()) / count
    width = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * float(change.std(ddof=1)) / math.sqrt(count)
    return MeanChange(mean, mean - width, mean + width, count)


def mid_p(first_passes: IntArray, first_samples: IntArray, passes: IntArray, samples: IntArray) -> FloatArray:
    """Two-sided mid-p of Fisher's exact test for each problem: are both runs' solve rates the same? Shape (problems,).

    Given all passes together, the first run's are hypergeometric. The p-value is the probability of all outcomes less
    likely than what was seen, and half of those equally likely: without the half, a test of 8 against 8 samples
    names next to nothing (Lancaster 1961). 1 where a run has no samples.
    """
    rows, of = np.unique(np.stack([first_passes, first_samples, passes, samples], axis=1), axis=0, return_inverse=True)
    a, n, b, m = rows.T
    total = a + b
    logs = log_factorials(int((n + m).max(initial=0)))
    outcome = np.arange(int(n.max(initial=0)) + 1)  # passes of the first run
    rest = total[:, None] - outcome
    possible = (outcome <= n[:, None]) & (rest >= 0) & (rest <= m[:, None])
    rest = np.where(possible, rest, 0)
    first_failed = np.where(possible, n[:, None] - outcome, 0)
    log_chance = -(logs[outcome] + logs[first_failed] + logs[rest] + logs[np.where(possible, m[:, None] - rest, 0)])
    log_chance = np.where(possible, log_chance, -np.inf)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    seen = chance[np.arange(len(rows)), a][:, None]
    same = np.abs(chance - seen) <= 1e-9 * seen  # equal but for rounding
    p = (np.where((chance < seen) & ~same, chance, 0.0) + np.where(same, chance / 2, 0.0)).sum(axis=1)
    p /= chance.sum(axis=1)
    found: FloatArray = np.where((n > 0) & (m > 0), p, 1.0)[of.reshape(-1)]
    return found


def changed(p_values: FloatArray, share: float = FALSE_DISCOVERIES) -> NDArray[np.bool_]:
    """The problems that can be told to have changed: Benjamini and Hochberg 1995. Shape (problems,)."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    passing = np.flatnonzero(p_values[order] <= share * np.arange(1, count + 1) / max(count, 1))
    found = np.zeros(count, np.bool_)
    if len(passing):
        found = p_values <= p_values[order[passing[-1]]]
    return found
