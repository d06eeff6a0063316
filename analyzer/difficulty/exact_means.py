"""Exact means: of many problems at a time, each the mean of its rewards as if computed without error, rounded once.

metrics.py says what depends on that.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analyzer.schema import FloatArray


def exact_mean(columns: FloatArray) -> FloatArray:
    """The mean of each column, shape (size, problems) -> (problems,): the exact mean, rounded once."""
    return exact_means(columns, [])[len(columns)]


def exact_means(columns: FloatArray, ks: Sequence[int]) -> dict[int, FloatArray]:
    """The means of the first k rows, for each of the ascending `ks`, and of all: {k: (problems,)}.

    A sum is kept as two floats, high and low, which hold 106 bits (the error-free sum of Knuth, TAOCP 4.2.2, and
    Dekker, "A floating-point technique for extending the available precision", 1971). That is exact while the rewards
    of a problem other than 0 are within a factor of 10^12 of each other, and off by a last bit at most where they are
    not. Sizes up to 2^27.
    """
    stops = [*ks, len(columns)]
    high, low = _sum_of_rows(columns[: stops[0]])
    means = {stops[0]: _divided(high, low, stops[0])}
    for start, stop in itertools.pairwise(stops):  # the best ten are the best five and five more
        high, low = _added(high, low, *_sum_of_rows(columns[start:stop]))
        means[stop] = _divided(high, low, stop)
    return means


def _sum_of_rows(columns: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Halves are added until one row is left: numpy then adds many at a time. The low part is None where it is 0."""
    high, low = columns, None
    while len(high) > 1:
        half = len(high) // 2
        lows = (None, None) if low is None else (low[:half], low[half : 2 * half])
        total, rest = _added(high[:half], lows[0], high[half : 2 * half], lows[1])
        if len(high) % 2:
            rest = np.vstack((rest, np.zeros_like(high[-1:]) if low is None else low[-1:]))
            total = np.vstack((total, high[-1:]))
        high, low = total, rest
    return high[0], None if low is None else low[0]


def _added(
    high: FloatArray, low: FloatArray | None, other_high: FloatArray, other_low: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """The sum of two sums, each of two floats."""
    total = high + other_high
    # Knuth's two-sum: `shift` is what of the other arrived in the sum, and `rest` what rounding took from both.
    shift = total - high
    rest = (high - (total - shift)) + (other_high - shift)
    if lows := [each for each in (low, other_low) if each is not None]:
        rest += functools.reduce(np.add, lows)
    # Renormalized: what `rest` has gained beyond the last bit of `total` goes over to it, or it would grow.
    grown = total + rest
    return grown, rest - (grown - total)


def _divided(high: FloatArray, low: FloatArray | None, size: int) -> FloatArray:
    """(high + low) / size, rounded once."""
    if low is None:
        return high / size
    quotient = high / size
    # The upper 26 bits of the quotient times a size below 2^27 is exact, and so is the product of the lower bits.
    upper = (np.ascontiguousarray(quotient).view(np.int64) & ~((1 << 27) - 1)).view(np.float64)
    remainder = (high - upper * size) - (quotient - upper) * size + low
    result: FloatArray = quotient + remainder / size
    return result
