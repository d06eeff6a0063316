"""passing: what subsets of the samples of a problem show, pass@k and pass^k, and what more samples would.

One record, 2 passes in 8 samples::

    pass@1 0.25, pass@4 0.786 (at least one of 4 passes), pass^2 0.036 (both of 2 pass)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analyzer.difficulty.grid import RATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray


def pass_at(k: int, passes: IntArray, samples: IntArray) -> FloatArray:
    """pass@k = 1 - C(samples - passes, k) / C(samples, k): the share of k-subsets with a pass. NaN where samples < k.

    Unbiased for 1 - (1 - p)^k (Chen et al. 2021, arXiv 2107.03374). Arrays of any one shape.
    """
    return 1 - _subset_share(k, samples - passes, samples)


def all_pass(k: int, passes: IntArray, samples: IntArray) -> FloatArray:
    """pass^k = C(passes, k) / C(samples, k): the share of k-subsets that pass throughout. NaN where samples < k.

    Unbiased for p^k (tau-bench, arXiv 2406.12045).
    """
    return _subset_share(k, passes, samples)


def at_least_one(k: int) -> FloatArray:
    """1 - (1 - p)^k at grid.RATES: its posterior mean is pass@k beyond the samples there are."""
    return 1 - (1 - RATES) ** k


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`: the k of the columns pass@k and pass^k."""
    return [1 << power for power in range(most.bit_length())]


def subset_passes(subset: int, passes: IntArray, samples: IntArray, most: int) -> FloatArray:
    """The probability of at most `most` passes in a random subset of the samples (hypergeometric); NaN where too few.

    In logarithms, so that subsets of thousands do not overflow.
    """
    logs = log_factorials(int(samples.max(initial=subset)))
    failures = samples - passes
    total = np.zeros(np.shape(passes))
    # A loop over few numbers of passes, each over all problems at once.
    for passing in range(min(most, subset) + 1):
        possible = (passes >= passing) & (failures >= subset - passing) & (samples >= subset)
        ways = _log_ways(logs, passes, passing, possible) + _log_ways(logs, failures, subset - passing, possible)
        total += np.where(possible, np.exp(ways - _log_ways(logs, samples, subset, possible)), 0.0)
    return np.where(samples >= subset, total, np.nan)


def unequal(group: int, ranked: FloatArray) -> FloatArray:
    """The share of `group`-subsets whose rewards are not all equal, for any rewards; shape (problems,).

    ranked: sorted along the first axis, (samples, problems) with samples >= group. A run of c equal rewards holds
    C(c, group) = sum of C(t, group - 1) over t = 0 .. c-1 subsets, so each reward adds C(t, group - 1) by its place t
    in its run.
    """
    samples = len(ranked)
    place = np.zeros(ranked.shape, np.int64)
    for row in range(1, samples):
        place[row] = np.where(ranked[row] == ranked[row - 1], place[row - 1] + 1, 0)
    # Exact in Python's integers; only the quotient is rounded.
    whole = math.comb(samples, group)
    table = np.array([math.comb(at, group - 1) / whole for at in range(samples)])
    share: FloatArray = 1 - table[place].sum(axis=0)
    return share


def log_factorials(most: int) -> FloatArray:
    """log(0!), ..., log(most!)."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def _log_ways(logs: FloatArray, of: IntArray, chosen: int, possible: NDArray[np.bool_]) -> FloatArray:
    """log C(of, chosen) where possible."""
    # Impossible draws would index before the start of the table; the caller replaces what comes of them.
    of = np.where(possible, of, chosen)
    ways: FloatArray = logs[of] - logs[chosen] - logs[of - chosen]
    return ways


def _subset_share(k: int, of: IntArray, samples: IntArray) -> FloatArray:
    """C(of, k) / C(samples, k) as a product of k ratios, none of which overflows; NaN where samples < k."""
    enough = samples >= k
    share = np.ones(np.shape(of))
    for taken in range(k if np.any(enough) else 0):
        # Below 0 there is nothing to choose from, so the product is 0 from there on; below 1 the result becomes NaN
        # anyway.
        share *= np.maximum(of - taken, 0) / np.maximum(samples - taken, 1)
    return np.where(enough, share, np.nan)
