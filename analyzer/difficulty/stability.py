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
_LOGIT_BOUNDS = (-16.0, 16.0)  # of the prior's mean
_STRENGTH_BOUNDS = (-7.0, 9.0)  # of log(a + b), which has no best value where all problems are alike
_PRECISION = 1e-4
_LEAN = 1e-6  # towards a + b = 2, which decides where the rollouts do not


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
    of the distribution means something, and a + b is that of the uniform distribution. scipy.optimize would find the
    same; to import it takes longer than a small run.
    """
    passed, failed, tried = map(_counted, (passes, failures, passes + failures))

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


def _counted(values: IntArray) -> list[tuple[int, int]]:
    """Each value, and how often it is there."""
    there, times = np.unique(values, return_counts=True)
    return list(zip(there.tolist(), times.tolist(), strict=True))


def _rising(start: float, counted: Sequence[tuple[int, int]]) -> float:
    """The sum of log(start (start + 1) .. (start + n - 1)) over all n."""
    return math.fsum(times * (math.lgamma(start + n) - math.lgamma(start)) for n, times in counted)


def _peak(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one maximum is largest, by golden-section search."""
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
