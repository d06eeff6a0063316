"""Quantiles and intervals of a mean and of a share, without scipy: importing it takes longer than most analyses.

scipy.special takes 0.2 s of CPU and scipy.stats 0.6 s to import, for two numbers that the standard library gives in
some microseconds. The tests hold both against scipy.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_CONVERGED = 1e-16
_LARGE = 1000  # degrees of freedom from which the expansion is right to 12 digits
NORMAL_975 = 1.959963984540054
"""The z below which 97.5 % of the normal distribution lies; statistics.NormalDist is off in the last digit."""


class Mean(NamedTuple):
    """A mean of pass rates with its 90 % interval; NaN where nothing is known."""

    mean: float
    low: float
    high: float


@functools.lru_cache(1024)  # half a millisecond, and data sources or draws have equally many problems
def student_quantile(share: float, freedom: float) -> float:
    """The t below which this share (0.5 to 1) of Student's distribution with `freedom` degrees of freedom lies."""
    if freedom > _LARGE:
        # The Cornish-Fisher expansion around the normal quantile (Abramowitz and Stegun 26.7.5).
        z, n = NormalDist().inv_cdf(share), freedom
        return z + (
            (z**3 + z) / (4 * n)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
            + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
        )
    # Bisection over x = freedom / (freedom + t^2), of which the share above t is half of the incomplete beta function.
    above = 2 * (1 - share)
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        if _incomplete_beta(freedom / 2, middle) < above:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom * (1 - high) / high)


def _incomplete_beta(a: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, 1/2), by its continued fraction (DLMF 8.17.22)."""
    b = 0.5
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges
        return 1 - _tail(b, a, 1 - x, math.exp(logs + a * math.log(x) + b * math.log1p(-x)))
    return _tail(a, b, x, math.exp(logs + a * math.log(x) + b * math.log1p(-x)))


def _tail(a: float, b: float, x: float, factor: float) -> float:
    # Lentz's method: numerators and denominators of the convergents by their ratios, so that nothing overflows.
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / (1 + step * d or tiny)
            c = 1 + step / c or tiny
            value *= c * d
        if abs(c * d - 1) < _CONVERGED:
            break
    return factor * value / a


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share, which holds near 0 and 1 where the normal one does not."""
    # Operation by operation as scipy.stats has it, so that summaries keep their last digits.
    share, z = successes / trials, NORMAL_975
    scale = 2 * (trials + z**2)
    centre = (2 * trials * share + z**2) / scale
    half = z / scale * math.sqrt(4 * trials * share * (1 - share) + z**2)
    return (centre - half if successes else 0.0), (centre + half if successes < trials else 1.0)


def mean_rate(rates: FloatArray, samples: IntArray) -> Mean:
    """The mean pass rate of problems, with the 90 % interval for problems of this kind; NaN bounds for one problem.

    rates, samples: (problems,), at least one sample each. Wilson's interval for as many independent outcomes as have
    the variance of the mean (as in surveys: Korn and Graubard 1998), with Student's t: it ends at 0 and 1, and is not
    of no width where three problems were never solved.
    """
    count = len(rates)
    if count < 2:
        return Mean(float(rates.sum()) if count else math.nan, math.nan, math.nan)
    mean = min(math.fsum(rates.tolist()) / count, 1.0)  # fsum: the same whatever the order of the problems
    spread = mean * (1 - mean)
    # Rates of a few problems may be equal by chance; that they vary less than their samples do cannot be.
    variance = max(float(rates.var(ddof=1)), spread * float((1 / samples).mean()))
    # Where all passed or none, each problem may stand for all of its samples: so many outcomes are certain.
    outcomes = count * spread / variance if variance > 0 else count
    t = student_quantile(0.95, count - 1)
    scale = 1 + t**2 / outcomes
    centre = (mean + t**2 / (2 * outcomes)) / scale
    half = t / scale * math.sqrt(spread / outcomes + (t / (2 * outcomes)) ** 2)
    return Mean(mean, max(centre - half, 0.0) if mean > 0 else 0.0, min(centre + half, 1.0) if mean < 1 else 1.0)
