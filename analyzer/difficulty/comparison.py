"""comparison: has anything changed between two runs of the same problems, and which problems have detectably?

Two checkpoints, or one sampled twice: with 8 samples a problem, 16 to 19 of 70 problems change their bucket although
nothing has changed. So first the mean of the paired differences with its interval (Miller, "Adding error bars to
evals", arXiv 2411.00640), then the moves beside the number expected by chance, and single problems only where an
exact test with a bound on the share of false discoveries names them.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.counting import distinct
from analyzer.difficulty.intervals import student_quantile
from analyzer.difficulty.passing import log_factorials
from analyzer.difficulty.posterior import posterior
from analyzer.difficulty.stability import ENOUGH_PROBLEMS, of_chosen, placed_again

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.difficulty.stability import Bucketing
    from analyzer.schema import FloatArray, IntArray

FALSE_DISCOVERIES = 0.1
"""The share of the problems named as changed that may be named by chance."""
CONFIDENCE = 0.9
_MOST_DRAWS = 50


class MeanChange(NamedTuple):
    """The mean of the paired differences, second run minus first."""

    change: float
    low: float  # the interval, of 90 % unless another confidence is asked for
    high: float
    problems: int


def mean_change(first: FloatArray, second: FloatArray, confidence: float = CONFIDENCE) -> MeanChange:
    """The mean change over problems that have a value in both runs (pass rates, NaN for none).

    Each problem is its own control, so what problems differ in does not widen the interval: se = sd / sqrt(problems),
    with Student's t for few problems. NaN bounds with fewer than two.
    """
    change = second - first
    change = change[~np.isnan(change)]
    count = len(change)
    if count < 2:
        return MeanChange(float(change.mean()) if count else math.nan, math.nan, math.nan, count)
    # fsum: the same mean whatever the order of the problems.
    mean = math.fsum(change.tolist()) / count
    width = student_quantile((1 + confidence) / 2, count - 1) * float(change.std(ddof=1)) / math.sqrt(count)
    if (change == change[0]).all():
        # As after three problems that nobody solves: others may have changed, as many as could stay unseen here.
        width = 1 - (1 - confidence) ** (1 / count)
    return MeanChange(mean, max(mean - width, -1.0), min(mean + width, 1.0), count)


def mid_p(first_passes: IntArray, first_samples: IntArray, passes: IntArray, samples: IntArray) -> FloatArray:
    """Two-sided mid-p of Fisher's exact test for each problem: are both runs' solve rates the same? Shape (problems,).

    Given all passes together, the first run's are hypergeometric. The p-value is the probability of all outcomes less
    likely than what was seen, and half of those equally likely: without the half, a test of 8 against 8 samples
    names next to nothing (Lancaster 1961). 1 where a run has no samples.
    """
    # Many problems, few distinct outcomes: each is tested once.
    span = int(np.maximum(first_samples, samples).max(initial=0)) + 1
    one, of_one = distinct(first_passes * span + first_samples, span**2)
    other, of_other = distinct(passes * span + samples, span**2)
    rows, of = distinct(of_one.astype(np.int64) * len(other) + of_other, len(one) * len(other))
    (a, n), (b, m) = (np.divmod(pairs, span) for pairs in (one[rows // len(other)], other[rows % len(other)]))
    total = a + b
    logs = log_factorials(int((n + m).max(initial=0)))
    outcome = np.arange(int(n.max(initial=0)) + 1)  # passes of the first run
    rest = total[:, None] - outcome
    possible = (outcome <= n[:, None]) & (rest >= 0) & (rest <= m[:, None])
    rest = np.where(possible, rest, 0)
    first_failed = np.where(possible, n[:, None] - outcome, 0)
    # Up to a constant, by which all outcomes are divided below; largest first, so that exp cannot overflow.
    log_chance = -(logs[outcome] + logs[first_failed] + logs[rest] + logs[np.where(possible, m[:, None] - rest, 0)])
    log_chance = np.where(possible, log_chance, -np.inf)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    seen = chance[np.arange(len(rows)), a][:, None]
    same = np.abs(chance - seen) <= 1e-9 * seen  # equal but for rounding
    p = (np.where((chance < seen) & ~same, chance, 0.0) + np.where(same, chance / 2, 0.0)).sum(axis=1)
    p /= chance.sum(axis=1)
    found: FloatArray = np.where((n > 0) & (m > 0), p, 1.0)[of]
    return found


def q_values(p_values: FloatArray) -> FloatArray:
    """The share of false discoveries at which each problem is named: Benjamini and Hochberg 1995. Shape (problems,)."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * count / np.arange(1, count + 1)
    found = np.empty(count)
    # The smallest of all larger ranks: a smaller p-value must not get a larger q-value.
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


class Moves(NamedTuple):
    """Problems by bucket in the first and in the second run, had nothing changed between them."""

    expected: FloatArray  # (buckets, buckets) problems
    changed: float  # those off the diagonal
    spread: float  # standard deviation of `changed` from one pair of runs to the next


class Run(NamedTuple):
    """The rollouts of one run; arrays of shape (rollouts,)."""

    codes: IntArray  # the problem of each, 0 .. problems-1
    rewards: FloatArray  # NaN: not scored
    passing: NDArray[np.bool_]


def moves_by_chance(
    place: Bucketing,
    buckets: int,
    runs: tuple[Run, Run],
    source: IntArray,
    *,
    seed: int,
) -> Moves:
    """How many problems would change bucket between two runs of the same policy.

    place: as in stability. buckets: how many there are. runs: every problem must have a scored rollout in both.
    source: the data source of each problem, (problems,).

    Were the policies the same, the passes of both runs say together how solvable a problem is: a solve rate is drawn
    from that posterior, both runs are drawn from it, and both go through the strategy as the real ones did. Of many
    problems as many are looked at as the error of a share below half a per cent needs.
    """
    random = np.random.default_rng(seed)
    problems = len(source)
    chosen = np.sort(random.permutation(problems)[:ENOUGH_PROBLEMS])
    number = np.full(problems, -1)
    number[chosen] = np.arange(len(chosen))
    seen = [of_chosen(run.codes, run.rewards, number, run.passing) for run in runs]
    passes = seen[0].passes + seen[1].passes
    samples = passes + seen[0].failures + seen[1].failures
    found = posterior(passes, samples, source[chosen])
    total = np.zeros((buckets, buckets))
    counts = []
    draws = min(_MOST_DRAWS, math.ceil(ENOUGH_PROBLEMS / max(len(chosen), 1)))
    for first, second in placed_again(place, seen, itertools.repeat(found, draws), random):
        np.add.at(total, (first, second), 1.0)
        counts.append(int((first != second).sum()))
    scale = problems / max(len(chosen), 1)
    share = float(np.mean(counts)) / max(len(chosen), 1)
    # With few draws there are many problems, and each moves almost independently of the others.
    spread = float(np.std(counts, ddof=1)) if len(counts) >= 8 else math.sqrt(share * (1 - share) * problems)
    return Moves(total / len(counts) * scale, float(np.mean(counts)) * scale, spread)
