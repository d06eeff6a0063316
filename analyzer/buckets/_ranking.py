"""Quarters by rank: what percentile and mean_reward share.

The percentile of a problem is the average 0-based rank of its tie group / (n - 1). Up to 25 % is the first quarter,
up to 50 % the second, up to 75 % the third, the rest the fourth; the hardest tie group is always in the first and the
easiest in the last. So of 10 problems of which 6 are never solved, the six (average rank 2.5, percentile 28) are in
the first quarter, where one would look for them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analyzer.buckets import Assignment
from analyzer.errors import counted

if TYPE_CHECKING:
    from analyzer.buckets import Int8Array
    from analyzer.schema import FloatArray, IntArray

EVEN_WITHIN = 0.1
"""Ties are worth a warning if they change the size of a quarter by more than this share of the problems."""
REMEDY = "more responses per problem can separate them, --bucketing_strategy pass_rate names what they are"


def quarters(buckets: tuple[str, ...], evidence: Mapping[str, FloatArray]) -> Assignment:
    """Four buckets by rank of the evidence: metric name -> (problems,), compared from the first metric to the last."""
    # lexsort takes its last key first, so the evidence is handed over in reverse.
    order = np.lexsort(tuple(evidence.values())[::-1])  # hardest first
    starts_group = np.ones(len(order), np.bool_)
    # Exact comparison: no metric depends on the order of the rollouts, so equal evidence is equal to the last bit.
    starts_group[1:] = np.logical_or.reduce([np.diff(values[order]) != 0 for values in evidence.values()])
    sizes = np.diff(np.append(np.flatnonzero(starts_group), len(order)))  # (tie groups,)
    if len(sizes) == 1:
        shared = _shared_evidence(len(order), evidence, order[0])
        warning = f"{shared}: there is nothing to rank, so all are in {buckets[1]}; {REMEDY}"
        return Assignment(buckets, np.ones(len(order), np.int8), (warning,))

    quarter = _quarter_of_groups(sizes)
    positions = np.empty(len(order), np.int8)
    positions[order] = np.repeat(quarter, sizes)
    # A quarter of n problems is rarely a whole number, so the yardstick is what ranks without ties would give.
    moved = np.abs(np.bincount(quarter, weights=sizes, minlength=4) - _without_ties(len(order))).max()
    if moved <= max(1, EVEN_WITHIN * len(order)):
        return Assignment(buckets, positions)
    largest = int(sizes.argmax())
    shared = _shared_evidence(int(sizes[largest]), evidence, order[sizes[:largest].sum()])
    warning = f"ties make the buckets uneven: {shared} and stay together in {buckets[quarter[largest]]}; {REMEDY}"
    return Assignment(buckets, positions, (warning,))


@functools.lru_cache(maxsize=16)  # the same problems are placed again and again, see difficulty/stability.py
def _without_ties(number: int) -> IntArray:
    """The sizes of the quarters of so many problems, no two of which are equal."""
    return np.bincount(_quarter_of_groups(np.ones(number, np.int64)), minlength=4)


def _quarter_of_groups(sizes: IntArray) -> Int8Array:
    """0 .. 3 for each of at least two tie groups, hardest first; in whole numbers, so that 25 % is exactly 25 %."""
    last = np.cumsum(sizes) - 1
    # The average rank of a tie group may be half of a whole number; twice it is whole.
    twice_the_rank = (last - sizes + 1) + last
    highest = 2 * last[-1]
    quarter = np.zeros(len(sizes), np.int8)
    for part in (1, 2, 3):
        quarter += 4 * twice_the_rank > part * highest
    quarter[0], quarter[-1] = 0, 3
    return quarter


def _shared_evidence(count: int, evidence: Mapping[str, FloatArray], example: int) -> str:
    """For instance "600 of 1000 problems have mean@5 0 and mean_reward 0"."""
    problems = len(next(iter(evidence.values())))
    values = " and ".join(f"{metric} {float(array[example]):.4g}" for metric, array in evidence.items())
    return f"{count} of {counted(problems, 'problem')} {'has' if count == 1 else 'have'} {values}"
