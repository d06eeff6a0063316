"""Metrics: from one reward per rollout to the numbers that say how hard each problem is.

One record, the problem with rewards 1, 0, 0 and one rollout that could not be scored::

    num_samples 4, num_scored 3, mean@1 1.0, mean@3 0.333, mean@5 0.333, pass_rate 0.333 (between 0.25 and 0.5)

Every mean is the exact mean rounded once, so it depends neither on the order of the rollouts nor on their number:
five rewards of 0.9 and eight of them have the same mean to the last bit (a running sum in floating point gives 0.9 and
0.9000000000000001), mean@k never rises with k, and problems with equal evidence compare as equal when they are put in
buckets.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.counting import BLOCK, code_blocks, count, distinct
from analyzer.difficulty.exact_means import exact_mean, exact_means
from analyzer.difficulty.passing import subset_passes, unequal
from analyzer.schema import MEAN_AT, NOTHING, PASS_THRESHOLD, Metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

_TABLED = 1 << 14  # rewards of all pairs of counts together up to which the metrics of each pair are kept
_RECTANGLE = 1 << 16  # rewards worked on at a time: few enough to stay in the cache


class Overall(NamedTuple):
    """Averages over the scored problems; NaN where no problem is scored."""

    mean_pass_rate: float
    mean_reward: float
    mean_at_5: float


def problem_metrics(
    codes: NDArray[np.integer],
    rewards: NDArray[np.floating],
    problems: int,
    passing: NDArray[np.bool_] | None = None,
    parts: Mapping[str, FloatArray] = NOTHING,
) -> Metrics:
    """The metrics of each problem.

    codes: the problem of each rollout, 0 .. problems-1, in any order; shape (rollouts,).
    rewards: NaN where the rollout is not scored, else finite and below 1e150 in size; shape (rollouts,). float32 or
    float64, the metrics are computed in float64.
    passing: whether each rollout passes, (rollouts,); None: those with a reward of at least PASS_THRESHOLD do.
    parts: of sums of rewards, what each part gave, by name; as `rewards`.
    Raises ValueError for a code that is negative or not below `problems`.
    """
    scored = ~np.isnan(rewards)
    passing = rewards >= np.float64(PASS_THRESHOLD) if passing is None else passing & scored
    num_samples, num_scored, passes = _counts(codes, problems, scored, passing)
    part_means = {name: _part_mean(codes, np.where(scored, values, np.nan), problems) for name, values in parts.items()}
    of_rewards = _of_two_values(codes, rewards, problems, num_scored)
    if of_rewards is None:
        of_rewards = _of_rewards(*_grouped(codes, rewards, problems))
    pass_rate = low = high = _share(passes, num_scored, np.nan)
    if not np.array_equal(num_samples, num_scored) or not num_samples.all():
        low, high = _share(passes, num_samples, 0.0), _share(passes + num_samples - num_scored, num_samples, 1.0)
    return Metrics(
        **of_rewards._asdict(),
        pass_rate=pass_rate,
        num_samples=num_samples,
        num_scored=num_scored,
        pass_rate_low=low,
        pass_rate_high=high,
        passes=passes,
        parts=part_means,
    )


class _OfRewards(NamedTuple):
    """The metrics that follow from the rewards of a problem alone, as `Metrics` has them."""

    mean_at: dict[int, FloatArray]
    mean_reward: FloatArray
    max_reward: FloatArray
    min_reward: FloatArray
    std_reward: FloatArray
    common_samples: int
    common_mean_at_5: FloatArray
    common_std_reward: FloatArray


def _of_rewards(rewards: NDArray[np.floating], num_scored: IntArray) -> _OfRewards:
    """rewards: of the scored rollouts, problem after problem. num_scored: (problems,) how many each problem has."""
    problems = len(num_scored)
    starts = np.cumsum(num_scored) - num_scored  # (problems,) where a problem's rewards begin
    most = int(num_scored.max(initial=0))
    mean, highest, lowest, std, common_mean = (np.full(problems, np.nan) for _ in range(5))
    # The best one is the highest, and where no problem has more than k rollouts, mean@k is the mean: the same arrays,
    # for millions of problems.
    mean_at = {k: highest if k == 1 else mean if k >= most else np.full(problems, np.nan) for k in MEAN_AT}
    common = int(num_scored[num_scored > 0].min()) if num_scored.any() else 0
    unequal = common < most
    for block in _blocks(num_scored):
        # Problems of equal size make a rectangle, and every metric of thousands of problems is one numpy call.
        ranked = _ranked(rewards, starts[block], int(num_scored[block[0]]))
        highest[block], lowest[block] = ranked[0], ranked[-1]
        found = exact_means(ranked, [k for k, means in mean_at.items() if 1 < k < len(ranked)])
        mean[block] = found[len(ranked)]
        std[block] = np.sqrt(exact_mean((ranked - mean[block]) ** 2))
        for k, means in mean_at.items():
            if means is not mean and means is not highest:
                means[block] = found[min(k, len(ranked))]
        if unequal:
            common_mean[block] = _mean_of_best(5, common, ranked)
    return _OfRewards(
        mean_at=mean_at,
        mean_reward=mean,
        max_reward=highest,
        min_reward=lowest,
        std_reward=std,
        common_samples=common,
        common_mean_at_5=common_mean if unequal else mean_at[5],
        common_std_reward=_std_of(common, std, num_scored) if unequal else std,
    )


def two_values(rewards: NDArray[np.floating]) -> tuple[float, float] | None:
    """The lowest and the highest reward where all scored rollouts have the one or the other; None where not.

    Infinite, the highest below the lowest, where none is scored.
    """
    low, high = np.fmin.reduce(rewards, initial=np.inf), np.fmax.reduce(rewards, initial=-np.inf)
    # In blocks, which end at the first third value: masks of all would be as large as the rewards.
    for start in range(0, len(rewards), BLOCK):
        part = rewards[start : start + BLOCK]
        if not ((part == low) | (part == high) | np.isnan(part)).all():
            return None
    return float(low), float(high)


def _of_two_values(
    codes: NDArray[np.integer], rewards: NDArray[np.floating], problems: int, num_scored: IntArray
) -> _OfRewards | None:
    """Where rewards are one of two values, right and wrong, as they mostly are; None where they are not.

    Problems with equally many of each have equal metrics. So they are worked out once for each pair of counts, of which
    there are some hundreds, and no rollout has to be sorted or copied.
    """
    if (values := two_values(rewards)) is None:
        return None
    low, high = values
    hits = count(codes, problems, rewards == high) if low < high else num_scored
    sizes = np.flatnonzero(np.bincount(num_scored))
    if sizes @ (sizes + 1) <= _TABLED:
        first = np.zeros(int(sizes.max(initial=0)) + 1, np.int64)  # of each size, the place of the pair without hits
        first[sizes] = np.cumsum(sizes + 1) - (sizes + 1)
        found, of = _of_all_counts(tuple(sizes.tolist()), low, high), first[num_scored] + hits
    else:
        span = int(num_scored.max(initial=0)) + 1
        keys, of = distinct(num_scored * span + hits, span * span)
        found = _of_counts(keys // span, keys % span, low, high)
    gathered: dict[int, FloatArray] = {}  # by the array it is made from: what is one array stays one

    def gather(values: FloatArray) -> FloatArray:
        return gathered.setdefault(id(values), values[of])

    return _OfRewards(
        mean_at={k: gather(values) for k, values in found.mean_at.items()},
        mean_reward=gather(found.mean_reward),
        max_reward=gather(found.max_reward),
        min_reward=gather(found.min_reward),
        std_reward=gather(found.std_reward),
        common_samples=found.common_samples,
        common_mean_at_5=gather(found.common_mean_at_5),
        common_std_reward=gather(found.common_std_reward),
    )


# Resampled problems are put into buckets some thirty times, each with another set of pairs of the same sizes.
@functools.lru_cache(maxsize=8)
def _of_all_counts(sizes: tuple[int, ...], low: float, high: float) -> _OfRewards:
    """The metrics of problems of these numbers of rollouts with 0, 1, .. all of them of the higher reward."""
    pairs = np.array(sizes, np.int64) + 1
    hits = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    return _of_counts(np.repeat(pairs - 1, pairs), hits, low, high)


def _of_counts(sizes: IntArray, hits: IntArray, low: float, high: float) -> _OfRewards:
    """The metrics of problems of which `hits` of `sizes` rollouts have the higher of two rewards."""
    starts = np.cumsum(sizes) - sizes
    place = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
    return _of_rewards(np.where(place < np.repeat(hits, sizes), high, low), sizes)


def _part_mean(codes: NDArray[np.integer], values: FloatArray, problems: int) -> FloatArray:
    """The mean of what one part of a sum gave to the scored rollouts of each problem, NaN where it gave nothing."""
    grouped, sizes = _grouped(codes, values, problems)
    starts = np.cumsum(sizes) - sizes
    mean = np.full(problems, np.nan)
    for block in _blocks(sizes):
        mean[block] = exact_mean(_ranked(grouped, starts[block], int(sizes[block[0]])))
    return mean


def informative_groups(
    codes: NDArray[np.integer], rewards: NDArray[np.floating], problems: int, groups: Sequence[int]
) -> dict[int, FloatArray]:
    """The share of each problem's groups of a size whose rewards are not all equal: size -> (problems,).

    NaN for problems with fewer scored rollouts. codes, rewards: as for problem_metrics.
    """
    rewards, num_scored = _grouped(codes, rewards, problems)
    starts = np.cumsum(num_scored) - num_scored
    shares = {group: np.full(problems, np.nan) for group in groups}
    for block in _blocks(num_scored):
        ranked = _ranked(rewards, starts[block], int(num_scored[block[0]]))
        for group in groups:
            if group <= len(ranked):
                shares[group][block] = unequal(group, ranked)
    return shares


class EqualRuns(NamedTuple):
    """Rollouts of problems with as many others of equal reward; arrays of shape (kinds,)."""

    source: IntArray
    samples: IntArray  # scored rollouts of the problem
    size: IntArray  # rollouts with the same reward, each with itself
    problems: FloatArray  # such rollouts, those of each problem counting 1 together


def equal_runs(codes: NDArray[np.integer], rewards: NDArray[np.floating], source: NDArray[np.integer]) -> EqualRuns:
    """How many rollouts of a problem agree in their reward. source: (problems,); the others as for problem_metrics."""
    rewards, num_scored = _grouped(codes, rewards, len(source))
    starts = np.cumsum(num_scored) - num_scored
    found: dict[tuple[int, int, int], float] = {}
    for block in _blocks(num_scored):
        ranked = _ranked(rewards, starts[block], samples := int(num_scored[block[0]]))
        last = np.ones(ranked.shape, bool)
        last[:-1] = ranked[1:] != ranked[:-1]
        problem, row = np.nonzero(last.T)  # runs end after each other within a problem
        first = np.where(np.append(True, problem[1:] != problem[:-1])[: len(problem)], -1, np.roll(row, 1))
        keys, times = np.unique(
            source[block][problem].astype(np.int64) * (samples + 1) + row - first, return_counts=True
        )
        for key, number in zip(keys.tolist(), times.tolist(), strict=True):
            of, size = divmod(key, samples + 1)
            found[of, samples, size] = found.get((of, samples, size), 0.0) + number * size / samples
    of_kind, sizes, runs = np.array(sorted(found), np.int64).reshape(-1, 3).T
    return EqualRuns(of_kind, sizes, runs, np.array([found[kind] for kind in sorted(found)]))


def _mean_of_best(best: int, subset: int, ranked: FloatArray) -> FloatArray:
    """The mean of the `best` highest rewards expected of a random `subset` of the rollouts; shape (problems,).

    ranked: (size, problems), highest first, size >= subset. A reward with i above it is among the best of the subset
    when it is drawn and at most best - 1 of those i are (hypergeometric). So a problem sampled 16 times has no
    advantage over one sampled 4 times, as it has in mean@5: the best 5 of 16 are better than the best 4 of 4.
    """
    size = len(ranked)
    above = np.arange(size)
    chance = subset / size * subset_passes(subset - 1, above, np.full(size, size - 1), best - 1)
    total = np.zeros(ranked.shape[1])
    for row, weight in zip(ranked, chance.tolist(), strict=True):  # one order of addition, whatever the block
        total += row * weight
    # Equal rewards must give an equal mean whatever their number; rounding would tell 0.9 from 0.9000000000000001.
    rounded: FloatArray = np.round(total / min(best, subset), 12) + 0.0
    return rounded


def _std_of(subset: int, std: FloatArray, num_scored: IntArray) -> FloatArray:
    """The root of the variance expected of a random `subset` (2 at least) of the rollouts; shape (problems,).

    The population variance of n rewards is (n - 1) / n of what they are a sample of, so few samples look alike.
    """
    subset = max(subset, 2)
    ratio = np.maximum(num_scored, 1) / np.maximum(num_scored - 1, 1) * (subset - 1) / subset
    return np.round(std * np.sqrt(ratio), 12)


def overall_metrics(metrics: Metrics) -> Overall:
    """The averages of the summary: every scored problem counts once, however many rollouts it has."""
    scored = metrics.num_scored > 0
    return Overall(
        mean_pass_rate=_average(metrics.pass_rate[scored]),
        mean_reward=_average(metrics.mean_reward[scored]),
        mean_at_5=_average(metrics.mean_at[5][scored]),
    )


def _average(values: FloatArray) -> float:
    # No list of millions: a float is 32 bytes there.
    parts = (values[start : start + _RECTANGLE].tolist() for start in range(0, len(values), _RECTANGLE))
    return math.fsum(itertools.chain.from_iterable(parts)) / len(values) if len(values) else math.nan


def _counts(
    codes: NDArray[np.integer], problems: int, scored: NDArray[np.bool_], passing: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, IntArray]:
    """(problems,) each: all rollouts of each problem, those scored, and those of them that pass; masks: (rollouts,)."""
    counts = np.zeros((3, problems), np.int64)
    # One pass over the codes instead of three: failed, passed and unscored rollouts of a problem are neighbouring bins.
    for low, rows in code_blocks(codes, problems):
        kind = np.where(scored[rows], passing[rows].view(np.int8), np.int8(2))
        binned = codes[rows].astype(np.int64)  # changed in place: each new array of a block costs as much as the sum
        binned -= low
        binned *= 3
        binned += kind
        of_kinds = np.bincount(binned)
        of_kinds = np.pad(of_kinds, (0, -len(of_kinds) % 3)).reshape(-1, 3)
        counts[:, low : low + len(of_kinds)] += of_kinds.T
    failed, passed, unscored = counts
    num_scored = failed + passed
    return (num_scored + unscored if unscored.any() else num_scored), num_scored, passed.copy()


def _grouped(
    codes: NDArray[np.integer], rewards: NDArray[np.floating], problems: int
) -> tuple[NDArray[np.floating], IntArray]:
    """The rewards that are not NaN, problem after problem as the codes ascend, and how many each problem has.

    codes: 0 .. problems-1, which `count` has checked.
    """
    scored = ~np.isnan(rewards)
    if (codes[1:] >= codes[:-1]).all():
        if not scored.all():
            codes, rewards = codes[scored], rewards[scored]
        return rewards, count(codes, problems)
    from scipy.sparse import csr_array

    # A matrix with one reward in each row, in the column of its problem: by columns, the rewards stand problem after
    # problem. That is a counting sort, in time that is linear in the rollouts. Unscored ones have a column of their
    # own after the others, which is less work than copying all that is scored.
    rows = np.arange(len(codes) + 1, dtype=np.int32 if len(codes) < 1 << 31 else np.int64)
    columns = np.where(scored, codes, problems).astype(rows.dtype, copy=False)
    matrix = csr_array((rewards, columns, rows), shape=(len(codes), problems + 1)).tocsc()
    grouped: NDArray[np.floating] = matrix.data[: matrix.indptr[problems]]
    return grouped, np.diff(matrix.indptr[:-1]).astype(np.int64)


def _share(part: IntArray, whole: IntArray, otherwise: float) -> FloatArray:
    """part / whole, and `otherwise` where whole is 0."""
    share = np.full(len(whole), otherwise)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _blocks(num_scored: IntArray) -> Iterator[IntArray]:
    """Groups of problems with equally many scored rollouts (at least 1), some _RECTANGLE rewards each."""
    scored = np.flatnonzero(num_scored)
    # stable: within a size the problems keep their order, so that memory is read forwards.
    order = scored[np.argsort(num_scored[scored], kind="stable")]
    sizes, firsts, counts = np.unique(num_scored[order], return_index=True, return_counts=True)
    for size, first, stop in zip(sizes.tolist(), firsts.tolist(), (firsts + counts).tolist(), strict=True):
        step = max(1, _RECTANGLE // size)
        yield from (order[at : min(at + step, stop)] for at in range(first, stop, step))


def _ranked(rewards: NDArray[np.floating], starts: IntArray, size: int) -> FloatArray:
    """The rewards of problems with `size` scored rollouts each, highest first; shape (size, problems)."""
    # Each problem is one slice, copied whole: an index for each reward would be as large as the rewards.
    rows = np.lib.stride_tricks.sliding_window_view(rewards, size)[starts]
    rows.sort(axis=1)
    ranked = np.ascontiguousarray(rows.T[::-1], dtype=np.float64)
    # + 0.0 makes every zero positive: which of two equal zeros comes first depends on the order of the rows.
    ranked += 0.0
    return ranked
