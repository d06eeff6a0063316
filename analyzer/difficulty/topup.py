"""topup: which problems to sample more, and how often, so that the most problems settle in their bucket.

A problem solved 0 times in 4 where half of the problems are never solved is all but settled; one solved 1 time in 4
may be in three buckets. The loss of a problem is the posterior probability that its most likely bucket is not its
bucket. What h more samples would leave of it is known beforehand, on average over what they may show: so the samples
go where they buy most (the knowledge gradient: Frazier, Powell and Dayanik 2008).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.informative import binomial

if TYPE_CHECKING:
    from analyzer.difficulty.posterior import Posterior
    from analyzer.schema import FloatArray, IntArray

CUTS = (0.25, 0.5, 0.75)
"""Solve rates between the buckets that samples are to tell apart; a rate on a cut is in the easier one."""
STEP = 4  # samples are given in portions of this
AHEAD = (4, 12, 32)  # further samples looked ahead: some problems gain nothing from 4 and much from 12
MOST = 128  # further samples of one problem
FIRST_BOUND = 16  # ... that are tried first


class TopUp(NamedTuple):
    """A plan, and what it is expected to buy."""

    samples: IntArray  # (problems,) further samples of each
    settled_before: float  # expected share of the scored problems whose most likely bucket is their bucket
    settled_after: float


def plan_top_up(found: Posterior, budget: int, most: int = MOST, refits: Sequence[FloatArray] = ()) -> TopUp:
    """Spend `budget` further samples, each portion where it settles the most problems per sample.

    Among problems with equal evidence those that come first get the last portions. A problem without scored rollouts
    is left alone: more samples would not be scored either. The plan holds fewer than `budget` samples only where
    every problem has its `most`.

    refits: priors that fit resampled problems (posterior.with_refits). Under the prior that chose the likeliest buckets
    these are too likely, by 5 to 15 points with 20 problems; the refits say by how much (_settled_with).
    """
    bound = min(most, FIRST_BOUND)
    while True:  # hardly any problem gets many samples, and what many of them would show is costly to work out
        given = _plan_within(found, budget, bound)
        if bound >= most or (given < bound).all():
            break
        bound = min(2 * bound, most)
    before = _share_settled(found, np.zeros_like(given), refits)
    # More samples settle no fewer; that a dozen refits say so, where hardly anything is gained, is their noise.
    return TopUp(given, before, max(before, _share_settled(found, given, refits)))


def _plan_within(found: Posterior, budget: int, most: int) -> IntArray:
    """Further samples of each problem, (problems,), where none gets more than `most` of them."""
    classes = found.classes
    # Rounded up: the last portion may be a part of one.
    portions = -(-most // STEP)
    starts = np.arange(portions + 1) * STEP
    levels = np.unique(np.add.outer(starts, (0, *AHEAD)))
    value = np.zeros((len(classes.problems), int(levels[-1]) + 1))  # (classes, further samples), at `levels`
    for more in levels.tolist():
        value[:, more] = _settled_with(found, more)
    # Per sample, and the best of several horizons: where 4 more samples cannot change the likeliest bucket, 4 more gain
    # nothing and 12 may.
    gains = [(value[:, starts[:-1] + ahead] - value[:, starts[:-1]]) / ahead for ahead in AHEAD]
    # A portion is never taken before the one in front of it.
    score = np.minimum.accumulate(np.maximum.reduce(gains), axis=1)
    # No scored rollout means a scorer that fails, and not a problem that nobody tried.
    score[classes.samples == 0] = -np.inf
    given = np.zeros(len(classes.of), np.int64)
    # stable: within a class those that come first are served first.
    members = np.split(np.argsort(classes.of, kind="stable"), np.cumsum(classes.problems)[:-1])
    left = budget
    # One sorted list of (class, portion) in place of a queue: gains of a class never rise, so its portions come in
    # order.
    for at in np.argsort(-score, axis=None, kind="stable").tolist():
        if left <= 0 or not np.isfinite(score.flat[at]):
            break
        # All problems of a class at once, as they gain the same; as many of them as the budget has portions left.
        taken = members[at // portions][: -(-left // STEP)]
        given[taken] += STEP
        left -= STEP * len(taken)
        if left < 0:  # the last portion is not a whole one
            given[taken[-1]] += left
    return given


def _share_settled(found: Posterior, further: IntArray, refits: Sequence[FloatArray]) -> float:
    """The expected share of the scored problems whose likeliest bucket is their bucket after that many samples."""
    of = found.classes.of[scored := found.classes.samples[found.classes.of] > 0]
    further = further[scored]
    total = sum(
        float(_settled_with(found, more, refits)[of[further == more]].sum()) for more in np.unique(further).tolist()
    )
    return min(max(total / max(len(of), 1), 0.0), 1.0)  # a correction may lead a little beyond


def _settled_with(found: Posterior, more: int, refits: Sequence[FloatArray] = ()) -> FloatArray:
    """The probability that the likeliest bucket of each class is its bucket; shape (classes,).

    After `more` further samples, in expectation over what they may show. Less the optimism of that (Efron 1983): a
    refit overrates the buckets that it finds likeliest, against the fitted prior, as the fitted prior overrates its
    own, against the truth.
    """
    chances = binomial(more)
    edges = [0, *np.searchsorted(RATES, CUTS).tolist(), len(RATES)]

    def joint(of: Posterior) -> FloatArray:
        # With the number of passes, (buckets, more + 1, classes): the likeliest bucket after each outcome is known
        # without dividing by the probability of that outcome, which the sum over outcomes would multiply by again.
        return np.stack([chances[:, low:high] @ of.weights[:, low:high].T for low, high in itertools.pairwise(edges)])

    parts = joint(found)
    settled: FloatArray = parts.max(axis=0).sum(axis=0)
    for priors in refits:
        again = joint(found.under(priors))
        its_own = np.take_along_axis(parts, again.argmax(axis=0)[None], axis=0)[0]
        settled = settled - (again.max(axis=0) - its_own).sum(axis=0) / len(refits)
    return settled
