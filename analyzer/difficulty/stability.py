"""stability: how sure the buckets are. Had the same policy been sampled again, where would each problem be?

Eight samples say little of a problem: solved 3 times in 8, it may well be solved 5 times in the next 8, and then it has
another bucket. How often that happens cannot be seen in one set of rollouts, but it can be estimated from it: a solve
rate is drawn for each problem from what its passes say (posterior.py), new passes from that rate, and the new set of
rollouts is put into buckets as the first was.

With one sample per problem nothing can be said: the same numbers fit problems that are always or never solved, which
would stay where they are, and problems that are all alike, which would not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.buckets import Strategy, assign
from analyzer.difficulty.counting import BLOCK, count
from analyzer.difficulty.metrics import problem_metrics
from analyzer.difficulty.posterior import REFITS, Posterior, classes_of, with_refits
from analyzer.schema import PASS_THRESHOLD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

    Draw = tuple[FloatArray, NDArray[np.bool_]]  # (rollouts,) each: rewards, and which pass
    Bucketing = Callable[[IntArray, Sequence[Draw], int], NDArray[np.int8]]

ENOUGH_PROBLEMS = 20_000  # placed again in all draws together: the error of a share is below half a per cent
MOST_DRAWS = 20
FEWEST_DRAWS_TO_SPREAD = 8  # draws from which the spread of the shares can be read; with fewer there are many problems
MOST_ROLLOUTS = 1 << 20  # looked at, of whole problems chosen at random: bounds time and memory
TOGETHER = 1 << 16  # rollouts placed in one call: of few problems, the calls take longer than the work
MARGIN = 1.9  # standard errors either side, which covers 85 to 97 % (benchmarks/bench_difficulty.py)
_MOST_TYPICAL = 1e6  # problems do not differ in their graded rewards
ONE_SAMPLE = (
    "most problems have one scored rollout: whether problems differ or chance does cannot be told; sample at least two "
    "responses per problem"
)


class Stability(NamedTuple):
    """Which share of the problems another set of as many rollouts would put into the same bucket."""

    same_bucket: float | None  # None where nothing can be said; `reason` says why
    same_or_next_bucket: float | None  # the same, or the one before or after it
    by_bucket: dict[str, float]  # of the problems in each bucket, the share that would be in it again
    margin: float | None  # what another set shows is within same_bucket +- margin in about 9 of 10 runs
    reason: str = ""
    moves: dict[str, dict[str, float]] = {}  # noqa: RUF012  # bucket -> share of its problems by bucket after it


class Rollouts(NamedTuple):
    """Scored rollouts of the chosen problems, problem after problem, those that fail and the lowest reward first."""

    rewards: FloatArray  # (rollouts,)
    codes: IntArray  # (rollouts,) 0 .. problems-1
    starts: IntArray  # (problems,) where a problem's rollouts begin
    failures: IntArray  # (problems,)
    passes: IntArray  # (problems,)
    passing: NDArray[np.bool_]  # (rollouts,)


def placing(strategy: Strategy) -> Bucketing:
    """How `stability` puts problems into buckets: the metrics of all draws are computed together."""

    def place(codes: IntArray, draws: Sequence[Draw], problems: int) -> NDArray[np.int8]:
        of = np.concatenate([codes + at * problems for at in range(len(draws))])
        rewards, passing = (np.concatenate(each) for each in zip(*draws, strict=True))
        found = problem_metrics(of, rewards, problems * len(draws), passing)
        own = (slice(at * problems, (at + 1) * problems) for at in range(len(draws)))
        return np.stack([assign(strategy, found.only(rows)).positions for rows in own])

    return place


def stability(
    place: Bucketing,
    buckets: Sequence[str],
    *,
    codes: NDArray[np.integer],
    rewards: NDArray[np.floating],
    problems: int,
    seed: int,
    passing: NDArray[np.bool_] | None = None,
    source: NDArray[np.integer] | None = None,
) -> Stability | None:
    """How many problems stay in their bucket when all are sampled again; None with fewer than two scored problems.

    place: the (draws, problems) positions in `buckets` for codes, the rewards of each draw with what passes, and the
    number of problems.
    codes: the problem of each rollout, 0 .. problems-1; shape (rollouts,). With problems numbered by their data_idx the
    order of the rollouts changes nothing.
    rewards: NaN where the rollout is not scored; shape (rollouts,).
    passing: whether each passes, (rollouts,); None: those with a reward of at least PASS_THRESHOLD do.
    source: the data source of each problem, numbered from 0, (problems,): each has a prior of its own.
    """
    random = np.random.default_rng(seed)
    scored = count(codes, problems, ~np.isnan(rewards))
    number = _numbered(scored, random)
    seen = of_chosen(codes, rewards, number, rewards >= PASS_THRESHOLD if passing is None else passing)
    total = len(seen.starts)
    if total < 2:
        return None
    samples = seen.passes + seen.failures
    if np.median(samples) < 2:
        return Stability(None, None, {}, None, ONE_SAMPLE)
    # Placed again, not taken from the run: percentiles among the chosen problems differ from those among all.
    [before] = place(seen.codes, [(seen.rewards, seen.passing)], total)
    classes = classes_of(seen.passes, samples, None if source is None else source[number >= 0])
    found, refits = with_refits(classes, seed, REFITS if total < ENOUGH_PROBLEMS else 0)
    moved = np.zeros((len(buckets), len(buckets)), np.int64)  # problems by bucket before and after
    shares = []
    draws = min(MOST_DRAWS, math.ceil(ENOUGH_PROBLEMS / total))
    typical = _typical(seen)
    for (after,) in placed_again(place, [seen], itertools.repeat(found, draws), random, typical):
        np.add.at(moved, (before, after), 1)
        shares.append(float((after == before).mean()))
    others = (found.under(priors) for priors in refits)
    again = [float((after == before).mean()) for (after,) in placed_again(place, [seen], others, random, typical)]
    return _of_moves(moved, buckets, MARGIN * _error(shares, again, int((scored > 0).sum())))


def _of_moves(moved: IntArray, buckets: Sequence[str], margin: float) -> Stability:
    """What the moves say. moved: (buckets, buckets) how many problems were in the one before and in the other after."""
    apart = np.abs(np.subtract.outer(np.arange(len(buckets)), np.arange(len(buckets))))
    stay, placed = moved.diagonal(), moved.sum(axis=1)
    return Stability(
        same_bucket=_share(stay.sum(), moved.sum()),
        same_or_next_bucket=_share(moved[apart <= 1].sum(), moved.sum()),
        by_bucket={name: _share(stay[at], placed[at]) for at, name in enumerate(buckets) if placed[at]},
        margin=round(min(margin, 1.0), 4),
        moves={
            name: {other: _share(moved[at, to], placed[at]) for to, other in enumerate(buckets)}
            for at, name in enumerate(buckets)
            if placed[at]
        },
    )


def placed_again(
    place: Bucketing,
    runs: Sequence[Rollouts],
    posteriors: Iterable[Posterior],
    random: np.random.Generator,
    typical: tuple[float, float] | None = None,
) -> Iterator[tuple[NDArray[np.int8], ...]]:
    """The (problems,) positions in each of some runs of the same problems, after a draw from each of the posteriors.

    typical: see `drawn`.
    """
    each, total = max(1, TOGETHER // max(1, *(len(run.codes) for run in runs))), len(runs[0].starts)
    rates = (posterior.draw(random) for posterior in posteriors)
    draws = ([drawn(run, solved, random, typical) for run in runs] for solved in rates)
    while some := list(itertools.islice(draws, each)):
        of_runs = zip(runs, zip(*some, strict=True), strict=True)
        yield from zip(*(place(run.codes, of_run, total) for run, of_run in of_runs), strict=True)


def _error(shares: Sequence[float], refits: Sequence[float], problems: int) -> float:
    """The standard error of `same_bucket` against what another set of rollouts of these problems shows.

    shares: of each draw. refits: of a draw under each of REFITS priors fitted to resampled problems.
    """
    mean = math.fsum(shares) / len(shares)
    of_problems = max(mean * (1 - mean), 1 / problems) / problems  # were each problem independent of the others
    of_draws = float(np.var(shares, ddof=1)) if len(shares) >= FEWEST_DRAWS_TO_SPREAD else of_problems
    # The spread between refits holds that of the draws once; what is more comes from the prior.
    of_prior = max(float(np.var(refits, ddof=1)) - of_draws, 0.0) if len(refits) == REFITS else 0.0
    return math.sqrt(max(of_draws, of_problems / 2) + of_prior)


def _numbered(counts: IntArray, random: np.random.Generator) -> IntArray:
    """The numbers 0, 1, ... of the problems that are looked at, -1 for the others; counts: scored rollouts of each."""
    candidates = random.permutation(np.flatnonzero(counts))
    fitting = np.searchsorted(np.cumsum(counts[candidates]), MOST_ROLLOUTS, side="right")
    chosen = np.sort(candidates[: min(ENOUGH_PROBLEMS, max(int(fitting), 2))])
    number = np.full(len(counts), -1)
    number[chosen] = np.arange(len(chosen))
    return number


def of_chosen(
    codes: NDArray[np.integer], rewards: NDArray[np.floating], number: IntArray, passing: NDArray[np.bool_]
) -> Rollouts:
    """The scored rollouts of some problems, numbered again. number: (problems,) the new number, -1 for the others."""
    chosen = number >= 0
    blocks = (slice(start, start + BLOCK) for start in range(0, len(codes), BLOCK))
    found = [np.flatnonzero(chosen[codes[block]] & ~np.isnan(rewards[block])) + block.start for block in blocks]
    rows = np.concatenate([np.zeros(0, np.int64), *found])
    rows = rows[np.lexsort((rewards[rows], passing[rows], number[codes[rows]]))]
    of, drawn_from, passing = number[codes[rows]], rewards[rows].astype(np.float64), passing[rows]
    counts = np.bincount(of, minlength=int(number.max(initial=-1)) + 1)
    passes = np.bincount(of[passing], minlength=len(counts))
    return Rollouts(drawn_from, of, np.cumsum(counts) - counts, counts - passes, passes, passing)


def _typical(seen: Rollouts) -> tuple[float, float] | None:
    """How typical of all problems the rewards of one are: the variance within problems over that between them.

    Of responses that fail and of those that pass; None where all of each kind have one reward.
    """
    found = []
    for kind, counts in ((False, seen.failures), (True, seen.passes)):
        rewards, of = seen.rewards[seen.passing == kind], seen.codes[seen.passing == kind]
        groups, total = int((counts > 0).sum()), len(rewards)
        if not total or rewards.min() == rewards.max():
            found.append(0.0)
            continue
        means = np.bincount(of, rewards, len(counts)) / np.maximum(counts, 1)
        # One-way analysis of variance, for groups of unequal sizes.
        within = float(((rewards - means[of]) ** 2).sum()) / max(total - groups, 1)
        spread = float(counts @ (means - rewards.mean()) ** 2) - (groups - 1) * within
        between = spread / max(total - float(counts @ counts) / total, 1e-9)
        found.append(min(within / max(between, 1e-9), _MOST_TYPICAL))
    return (found[0], found[1]) if any(found) else None


def drawn(
    seen: Rollouts, rates: FloatArray, random: np.random.Generator, typical: tuple[float, float] | None = None
) -> Draw:
    """New rewards for the same problems, as many of each, and which pass: by its solve rate, rewards among its own.

    rates: the solve rate of each problem, (problems,). typical: of graded rewards, the weight of those of all problems
    where each of its own weighs 1 (a Dirichlet process: Ferguson 1973). Drawn among its own alone they would scatter
    about what was seen as if that were known to be the mean, and lucky rewards would come again.
    """
    samples = seen.passes + seen.failures
    failures = samples - random.binomial(samples, rates)
    passing = np.arange(len(seen.codes)) - seen.starts[seen.codes] >= failures[seen.codes]
    if typical is not None:
        return _drawn_graded(seen, passing, typical, random), passing
    had = np.where(passing, seen.passes[seen.codes], seen.failures[seen.codes])
    first = seen.starts[seen.codes] + np.where(passing, seen.failures[seen.codes], 0)
    at = random.random(len(seen.codes))
    drawn = seen.rewards[np.minimum(first + (at * had).astype(np.int64), len(at) - 1)]
    for kind, otherwise in ((True, 1.0), (False, 0.0)):  # a problem that never passed, or never failed
        lacking = (passing == kind) & (had == 0)
        if not lacking.any():
            continue  # mostly: to sort what there is takes longer than the rest of a draw
        pool = np.sort(seen.rewards[seen.passing == kind])
        drawn[lacking] = pool[(at[lacking] * len(pool)).astype(np.int64)] if len(pool) else otherwise
    return drawn, passing


def _drawn_graded(
    seen: Rollouts, passing: NDArray[np.bool_], typical: tuple[float, float], random: np.random.Generator
) -> FloatArray:
    """Graded rewards for responses of which these pass, (rollouts,): see `drawn`."""
    rewards = np.empty(len(seen.codes))
    upto = np.append(0.0, np.cumsum(random.exponential(size=len(seen.codes))))  # random weights of those that were seen
    ends = np.append(seen.starts, len(seen.codes))
    for kind, weight, otherwise in ((False, typical[0], 0.0), (True, typical[1], 1.0)):
        rows = np.flatnonzero(passing == kind)
        low = (seen.starts + seen.failures if kind else seen.starts)[seen.codes[rows]]
        high = (ends[1:] if kind else seen.starts + seen.failures)[seen.codes[rows]]
        own = upto[high] - upto[low]
        of_all = random.gamma(max(weight, 1e-9), size=len(seen.starts))[seen.codes[rows]]
        pool = seen.rewards[seen.passing == kind]  # in the order of the problems: no need to sort
        at = random.random(len(rows)) * (own + of_all)
        place = np.clip(np.searchsorted(upto, upto[low] + at, side="right") - 1, low, np.maximum(high - 1, low))
        another = (random.random(len(rows)) * len(pool)).astype(np.int64)
        others = pool[another] if len(pool) else otherwise
        rewards[rows] = np.where((at < own) & (high > low), seen.rewards[np.minimum(place, len(upto) - 2)], others)
    return rewards


def _share(part: int, whole: int) -> float:
    return round(int(part) / int(whole), 4)
