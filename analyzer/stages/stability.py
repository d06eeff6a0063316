"""stability: how sure the buckets are. Had the same policy been sampled again, where would each problem be?

Eight samples say little of a problem: solved 3 times in 8, it may well be solved 5 times in the next 8, and then it has
another bucket. How often that happens cannot be seen in one set of rollouts, but it can be estimated from it. The
solve rates of all problems are taken to follow a beta distribution, fitted by maximum likelihood to the numbers of
passes (the beta-binomial model of Efron and Morris's empirical Bayes; Casella, "An introduction to empirical Bayes
data analysis", 1985). What is known of one problem, k passes in n, is then the distribution Beta(a + k, b + n - k).
From it a new set of rollouts is drawn, which is put into buckets as the first was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.schema import PASS_THRESHOLD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

    Place = Callable[[IntArray, FloatArray, int], NDArray[np.int8]]

ENOUGH_PROBLEMS = 20_000  # placed again in all draws together: the error of a share is below half a per cent
MOST_DRAWS = 20
MOST_ROLLOUTS = 1 << 20  # looked at, of whole problems chosen at random: bounds time and memory
_LOG_BOUNDS = [(-7.0, 9.0), (-7.0, 9.0)]  # of the prior's parameters: where all problems are alike it has no maximum


class Stability(NamedTuple):
    """Which share of the problems another set of as many rollouts would put into the same bucket."""

    same_bucket: float
    same_or_next_bucket: float  # the same, or the one before or after it
    by_bucket: dict[str, float]  # of the problems in each bucket, the share that would be in it again


class _Rollouts(NamedTuple):
    """Scored rollouts of the chosen problems, problem after problem, lowest reward first."""

    rewards: FloatArray  # (rollouts,)
    codes: IntArray  # (rollouts,) 0 .. problems-1
    starts: IntArray  # (problems,) where a problem's rollouts begin
    failures: IntArray  # (problems,)
    passes: IntArray  # (problems,)


def stability(
    place: Place, buckets: Sequence[str], *, codes: IntArray, rewards: FloatArray, problems: int, seed: int
) -> Stability | None:
    """How many problems stay in their bucket when all are sampled again; None with fewer than two scored problems.

    place: the (problems,) positions in `buckets` for codes, rewards and the number of problems.
    codes: the problem of each rollout, 0 .. problems-1; shape (rollouts,). With problems numbered by their data_idx the
    order of the rollouts changes nothing.
    rewards: NaN where the rollout is not scored; shape (rollouts,).
    """
    random = np.random.default_rng(seed)
    seen = _chosen(codes, rewards, problems, random)
    total = len(seen.starts)
    if total < 2:
        return None
    before = place(seen.codes, seen.rewards, total)
    draws = min(MOST_DRAWS, math.ceil(ENOUGH_PROBLEMS / total))
    prior = fitted_prior(seen.passes, seen.failures)
    moved = np.zeros((len(buckets), len(buckets)), np.int64)  # problems by bucket before and after
    for _ in range(draws):
        np.add.at(moved, (before, place(seen.codes, _drawn(seen, prior, random), total)), 1)
    apart = np.abs(np.subtract.outer(np.arange(len(buckets)), np.arange(len(buckets))))
    stay, there = moved.diagonal(), moved.sum(axis=1)
    return Stability(
        same_bucket=_share(stay.sum(), moved.sum()),
        same_or_next_bucket=_share(moved[apart <= 1].sum(), moved.sum()),
        by_bucket={name: _share(stay[at], there[at]) for at, name in enumerate(buckets) if there[at]},
    )


def _chosen(codes: IntArray, rewards: FloatArray, problems: int, random: np.random.Generator) -> _Rollouts:
    scored = ~np.isnan(rewards)
    counts = np.bincount(codes[scored], minlength=problems)
    there = random.permutation(np.flatnonzero(counts))
    fitting = np.searchsorted(np.cumsum(counts[there]), MOST_ROLLOUTS, side="right")
    chosen = np.sort(there[: min(ENOUGH_PROBLEMS, max(int(fitting), 2))])
    number = np.full(problems, -1)
    number[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(scored & (number[codes] >= 0))
    rows = rows[np.lexsort((rewards[rows], number[codes[rows]]))]
    codes, rewards = number[codes[rows]], rewards[rows]
    passes = np.bincount(codes[rewards >= PASS_THRESHOLD], minlength=len(chosen))
    counts = counts[chosen]
    return _Rollouts(rewards, codes, np.cumsum(counts) - counts, counts - passes, passes)


def fitted_prior(passes: IntArray, failures: IntArray) -> tuple[float, float]:
    """The a and b of the beta distribution under which these numbers of passes and failures are likeliest.

    Both of shape (problems,). With one rollout per problem nothing tells how much problems differ: then only the mean
    of the distribution means something.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln

    pairs, times = np.unique(np.column_stack([passes, failures]), axis=0, return_counts=True)

    def unlikelihood(logs: FloatArray) -> float:
        a, b = np.exp(logs)
        return -float((times * (betaln(pairs[:, 0] + a, pairs[:, 1] + b) - betaln(a, b))).sum())

    a, b = np.exp(minimize(unlikelihood, np.zeros(2), method="Nelder-Mead", bounds=_LOG_BOUNDS).x)
    return float(a), float(b)


def _drawn(seen: _Rollouts, prior: tuple[float, float], random: np.random.Generator) -> FloatArray:
    """New rewards for the same problems, as many of each: passes by its solve rate, rewards among those it had."""
    a, b = prior
    rates = random.beta(a + seen.passes, b + seen.failures)
    failures = seen.passes + seen.failures - random.binomial(seen.passes + seen.failures, rates)
    passing = np.arange(len(seen.codes)) - seen.starts[seen.codes] >= failures[seen.codes]
    had = np.where(passing, seen.passes[seen.codes], seen.failures[seen.codes])
    first = seen.starts[seen.codes] + np.where(passing, seen.failures[seen.codes], 0)
    at = random.random(len(seen.codes))
    drawn = seen.rewards[np.minimum(first + (at * had).astype(np.int64), len(at) - 1)]
    passes_at_all = seen.rewards >= PASS_THRESHOLD
    for kind, otherwise in ((True, 1.0), (False, 0.0)):  # a problem that never passed, or never failed
        lacking = (passing == kind) & (had == 0)
        pool = np.sort(seen.rewards[passes_at_all == kind])
        drawn[lacking] = pool[(at[lacking] * len(pool)).astype(np.int64)] if len(pool) else otherwise
    return drawn


def _share(part: int, whole: int) -> float:
    return round(int(part) / int(whole), 4)
