"""Is what the program says of difficulty true? Said from some samples of real rollouts, held against the others.

    .venv/bin/python benchmarks/bench_difficulty.py [--points 2 3] [--splits 20]

prints one line for each figure: what, where, figure, bound, and whether it holds. The real rollouts are those of
difficulty_data.py; tests/difficulty/test_estimates.py asks the same of fewer splits.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import difficulty_data as data
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyzer import buckets, rewards
from analyzer.difficulty import comparison, flags, informative, topup
from analyzer.difficulty import posterior as posteriors
from analyzer.difficulty.answers import majorities
from analyzer.difficulty.grid import RATES
from analyzer.difficulty.metrics import problem_metrics
from analyzer.difficulty.stability import placing, stability
from analyzer.grading import Limits
from analyzer.schema import Problem
from analyzer.scoring import Scorer

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Figure(NamedTuple):
    """One figure beside its bound."""

    point: int
    what: str
    where: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        holds = "ok" if self.low <= self.value <= self.high else "MISSED"
        return f"{self.point}  {self.what:46} {self.where:34} {self.value:8.3f}  {self.low:g} to {self.high:g}  {holds}"


def passes_of(name: str, rows: Ints) -> Ints:
    """Passes of each problem in a split, (problems,)."""
    found: Ints = (data.load(name).rewards[rows] >= 0.5).sum(axis=1)
    return found


def positions(strategy: str, passes: Ints, samples: int) -> NDArray[np.int8]:
    """The bucket of each problem."""
    return buckets.assign(buckets.build(strategy), problem_metrics(*rollouts(passes, samples))).positions


def rollouts(passes: Ints, samples: int) -> tuple[Ints, NDArray[np.float64], int]:
    """Codes, rewards of 0 and 1, and the number of problems."""
    problems = len(passes)
    passing = np.arange(samples) < passes[:, None]
    return np.repeat(np.arange(problems), samples), passing.ravel().astype(float), problems


def enough(name: str, samples: int) -> bool:
    """Whether every problem has so many rollouts."""
    return bool(np.bincount(data.load(name).codes).min() >= samples)


# ---------------------------------------------------------------- 1. never solved


def never_solved() -> Iterator[Figure]:
    """Ground truths that cannot earn the maximum."""
    for name, expected in (("gsm8k_zeroeval", 14), ("math_l5_zeroeval", 0)):
        loaded = data.load(name)
        found = unearnable(loaded, rewards.build("gsm8k" if expected else "math_boxed"))
        yield Figure(1, "gold_unearnable", name, found.sum(), expected, expected)
        if expected:
            false = sum("," not in loaded.golds[problem] for problem in np.flatnonzero(found))
            yield Figure(1, "gold_unearnable, false ones", name, false, 0, 0)


def unearnable(loaded: data.Data, reward: rewards.BaseReward) -> Bools:
    """Problems whose ground truth its own reward does not reward."""
    scorer, found = Scorer(reward, Limits()), np.zeros(loaded.problems, bool)
    for problem, gold in enumerate(loaded.golds):
        best = loaded.rewards[loaded.codes == problem].max()
        if best < reward.maximum:
            found[problem] = scorer.earns(Problem("", gold), []) is False
    scorer.close()
    return found


# ---------------------------------------------------------------- 2. how sure


def how_sure(splits: int) -> Iterator[Figure]:
    """`stability` of one half of the samples against the buckets of the other."""
    for name in data.NAMES:
        for samples in (4, 8, 16):
            if enough(name, 2 * samples):
                for strategy in ("percentile", "pass_rate"):
                    yield from _by_bucket(name, samples, strategy, splits)
    yield _two_humps(splits)


def _by_bucket(name: str, samples: int, strategy: str, splits: int) -> Iterator[Figure]:
    names = buckets.build(strategy).buckets
    said, seen, sizes = (np.zeros((splits, len(names))) for _ in range(3))
    bias = []
    for seed in range(splits):
        first, second = (passes_of(name, rows) for rows in data.split(data.load(name), seed, samples, samples))
        predicted = _stability(first, samples, strategy, seed)
        before, after = positions(strategy, first, samples), positions(strategy, second, samples)
        sizes[seed] = np.bincount(before, minlength=len(names))
        said[seed] = [predicted.by_bucket.get(bucket, 0.0) for bucket in names]
        seen[seed] = np.bincount(before[before == after], minlength=len(names)) / np.maximum(sizes[seed], 1)
        bias.append((predicted.same_bucket or 0) - float((before == after).mean()))
    there = sizes > 0
    mean = [(values * there).sum(axis=0) / np.maximum(there.sum(axis=0), 1) for values in (said, seen)]
    error, size, problems = np.abs(mean[0] - mean[1]), sizes.mean(axis=0), sizes[0].sum()
    where = f"{name} n={samples} {strategy}"
    yield Figure(2, "by bucket, mean |said - true|", where, error[size >= 0.05 * problems].mean(), 0, 0.035)
    yield Figure(2, "by bucket, worst with 30 problems or more", where, error[size >= 30].max(initial=0), 0, 0.1)
    if problems >= 500:
        yield Figure(2, "overall bias", where, float(np.mean(bias)), -0.03, 0.03)


def _two_humps(splits: int) -> Figure:
    errors = []
    for seed in range(splits):
        random = np.random.default_rng(seed)
        rates = random.choice([0.1, 0.9], 1000)
        first, second = random.binomial(8, rates), random.binomial(8, rates)
        before, after = positions("percentile", first, 8), positions("percentile", second, 8)
        predicted = _stability(first, 8, "percentile", seed).by_bucket
        names = buckets.build("percentile").buckets
        errors.append([predicted.get(names[at], 0) - (after[before == at] == at).mean() for at in np.unique(before)])
    return Figure(
        2, "two humps, mean |said - true|", "rates .1, .9", float(np.abs(np.mean(errors, axis=0)).mean()), 0, 0.06
    )


def _stability(passes: Ints, samples: int, strategy: str, seed: int):  # type: ignore[no-untyped-def]
    built = buckets.build(strategy)
    codes, values, problems = rollouts(passes, samples)
    return stability(placing(built), built.buckets, codes=codes, rewards=values, problems=problems, seed=seed)


def margins(splits: int) -> Iterator[Figure]:
    """How often the other half lies within the stated margin."""
    for name in data.NAMES:
        for problems in (20, 50, 100):
            if problems <= data.load(name).problems:
                held = []
                for seed in range(splits):
                    halves = data.split(data.load(name), seed, 8, 8)
                    chosen = np.random.default_rng(seed).choice(len(halves[0]), problems, replace=False)
                    first, second = (passes_of(name, rows[chosen]) for rows in halves)
                    predicted = _stability(first, 8, "pass_rate", seed)
                    seen = (positions("pass_rate", first, 8) == positions("pass_rate", second, 8)).mean()
                    held.append(abs(predicted.same_bucket - seen) <= predicted.margin + 1e-9)
                yield Figure(2, "margin covers", f"{name} n=8 P={problems}", float(np.mean(held)), 0.85, 0.97)


# ---------------------------------------------------------------- 3. informative groups


def informative_share(splits: int) -> Iterator[Figure]:
    """The share of groups with both outcomes, against what the other samples show."""
    for name in data.NAMES:
        total = int(np.bincount(data.load(name).codes).min())
        for samples in (4, 8, 16):
            for group in (4, 8, 16, 32):
                if total - samples >= group:
                    yield from _informative(name, samples, total - samples, group, splits)


def _informative(name: str, samples: int, rest: int, group: int, splits: int) -> Iterator[Figure]:
    bias, held = [], []
    for seed in range(splits):
        first, second = (passes_of(name, rows) for rows in data.split(data.load(name), seed, samples, rest))
        found = posteriors.posterior(first, np.full(len(first), samples))
        said = informative.informative(group, found, posteriors.with_refits(found.classes, seed)[1])
        others = posteriors.posterior(second, np.full(len(second), rest))
        true = informative.informative(group, others, [])
        # What the other samples show has an error of its own.
        error = np.hypot(said.high - said.low, true.high - true.low) / 2
        bias.append(said.share - true.share)
        held.append(abs(said.share - true.share) <= error)
    bound = 0.01 if samples >= group else 0.03
    yield Figure(3, "informative share, bias", f"{name} n={samples} G={group}", float(np.mean(bias)), -bound, bound)
    yield Figure(
        3, "informative share, interval covers", f"{name} n={samples} G={group}", float(np.mean(held)), 0.85, 0.95
    )


# ---------------------------------------------------------------- 4. top-up, unequal n


def top_up(splits: int) -> Iterator[Figure]:
    """Samples where they pay, against more samples for all."""
    for name, mean, uniform in (
        ("aime_amc_50", 8, 24),
        ("game24_cot", 8, 32),
        ("gsm8k_zeroeval", 16, 28),
        ("math_l5_zeroeval", 16, 24),
    ):
        results = np.mean([_topped_up(name, mean, uniform, seed) for seed in range(splits)], axis=0)
        where = f"{name} {mean} against {uniform}"
        yield Figure(4, "misbucketed, topped up minus uniform", where, results[0] - results[2], -1, 0.005)
        yield Figure(4, "misbucketed, said minus true", where, results[1] - results[0], -0.025, 0.025)
    yield from _unequal(splits)


def _topped_up(name: str, mean: int, uniform: int, seed: int) -> tuple[float, float, float]:
    loaded, random = data.load(name), np.random.default_rng(seed)
    known = posteriors.posterior(
        np.bincount(loaded.codes, loaded.rewards >= 0.5).astype(np.int64), np.bincount(loaded.codes)
    )
    rates = known.draw(random)
    right = np.digitize(rates, topup.CUTS)
    samples = np.full(len(rates), 4)
    passes = random.binomial(samples, rates)
    while (left := mean * len(rates) - int(samples.sum())) > 0:
        round_of = min(topup.STEP * max(1, len(rates) // 10), left)
        given = topup.plan_top_up(posteriors.posterior(passes, samples), round_of, topup.STEP).samples
        passes, samples = passes + random.binomial(given, rates), samples + given
    found = posteriors.posterior(passes, samples)
    everywhere = posteriors.posterior(random.binomial(uniform, rates), np.full(len(rates), uniform))
    said = 1 - float(_bucket_masses(found).max(axis=1) @ found.classes.problems) / len(rates)
    return _misbucketed(found, right), said, _misbucketed(everywhere, right)


def _misbucketed(found: posteriors.Posterior, right: Ints) -> float:
    return float((_bucket_masses(found).argmax(axis=1)[found.classes.of] != right).mean())


def _bucket_masses(found: posteriors.Posterior) -> NDArray[np.float64]:
    """The posterior probability of each bucket between the cuts of a top-up, (classes, buckets)."""
    bucket = np.digitize(RATES, topup.CUTS)
    return np.stack([found.weights[:, bucket == at].sum(axis=1) for at in range(len(topup.CUTS) + 1)], axis=1)


def _unequal(splits: int) -> Iterator[Figure]:
    loaded = data.load("gsm8k_zeroeval")
    for strategy in buckets.names():
        shares = []
        for seed in range(splits):
            (rows,) = data.split(loaded, seed, 16)
            few = np.random.default_rng(seed).random(len(rows)) < 0.5
            kept = np.where(few[:, None], np.arange(16) < 4, True)
            codes = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)[kept]
            metrics = problem_metrics(codes, loaded.rewards[rows][kept], len(rows))
            hardest = buckets.assign(buckets.build(strategy), metrics).positions == 0
            shares.append(hardest[few].mean() - hardest[~few].mean())
        yield Figure(
            4, "share in the hardest bucket, n=4 less n=16", f"gsm8k {strategy}", float(np.mean(shares)), -0.06, 0.06
        )


# ---------------------------------------------------------------- 5. suspect ground truths


def suspects(splits: int) -> Iterator[Figure]:
    """Flags against GSM8K-Platinum's verdicts, and against planted wrong ground truths."""
    loaded = data.load("gsm8k_zeroeval")
    verdicts = pq.read_table(data.SHARED / "gsm8k_verdicts.parquet").to_pydict()
    bad = {number: verdict != "kept" for number, verdict in zip(verdicts["data_idx"], verdicts["verdict"], strict=True)}
    flagged = _flagged(loaded, np.arange(len(loaded.codes)), loaded.golds)
    known = [bad[loaded.ids[problem]] for problem in flagged if loaded.ids[problem] in bad]
    print(f"   flagged without a verdict: {[loaded.ids[p] for p in flagged if loaded.ids[p] not in bad]}")
    yield Figure(5, "precision of those with a verdict", "gsm8k, 22 samples", float(np.mean(known)), 0.75, 1)
    results = np.mean([_planted(loaded, bad, seed) for seed in range(splits)], axis=0)
    yield Figure(5, "planted 5 %: precision", "gsm8k, best 10 models, n=8", results[0], 0.93, 1)
    yield Figure(5, "planted 5 %: recall", "gsm8k, best 10 models, n=8", results[1], 0.9, 1)
    aime = data.load("aime_amc_50")
    passing = aime.rewards >= 0.5
    yield Figure(
        5, "flags of a weak policy", "aime_amc_50", len(_flags_of(aime, passing, np.zeros(aime.problems, bool))), 0, 1
    )


def _flagged(loaded: data.Data, rows: Ints, golds: list[str]) -> Ints:
    part = loaded._replace(
        codes=loaded.codes[rows], answers=[loaded.answers[row] for row in rows], rewards=loaded.rewards[rows]
    )
    passing = np.array([answer == golds[code] for answer, code in zip(part.answers, part.codes, strict=True)])
    return _flags_of(part, passing, np.array(["," in gold for gold in golds]))


def _flags_of(loaded: data.Data, passing: Bools, unearnable: Bools) -> Ints:
    number = {answer: at for at, answer in enumerate(sorted({answer for answer in loaded.answers if answer}))}
    answers = np.array([number.get(answer or "", -1) for answer in loaded.answers])
    samples = np.bincount(loaded.codes, minlength=loaded.problems)
    nothing = np.zeros(loaded.problems, np.int64)
    evidence = flags.Evidence(
        np.bincount(loaded.codes[passing], minlength=loaded.problems),
        samples,
        samples,
        unearnable,
        majorities(loaded.codes, answers, passing, loaded.problems),
        nothing,
        nothing,
        nothing,
    )
    codes = flags.flags(evidence, flags.reliabilities(evidence, 1))
    return np.flatnonzero(codes == flags.FLAGS.index(flags.SUSPECT_GOLD))


def _planted(loaded: data.Data, bad: dict[int, bool], seed: int) -> tuple[float, float]:
    random = np.random.default_rng(seed)
    models = np.array(loaded.models)
    best = sorted(set(loaded.models), key=lambda model: -loaded.rewards[models == model].mean())[:10]
    rows = random.permutation(np.flatnonzero(np.isin(models, best)))
    rows = rows[np.argsort(loaded.codes[rows], kind="stable")]
    place = np.arange(len(rows)) - np.searchsorted(loaded.codes[rows], loaded.codes[rows])
    rows = rows[place < 8]
    wrong: dict[int, list[str]] = {}
    for row in np.flatnonzero(loaded.rewards < 0.5).tolist():
        if (answer := loaded.answers[row]) is not None:
            wrong.setdefault(int(loaded.codes[row]), []).append(answer)
    anything = [answer for answers in wrong.values() for answer in answers]
    golds, planted = list(loaded.golds), random.choice(loaded.problems, loaded.problems // 20, replace=False)
    for problem in planted.tolist():
        golds[problem] = str(random.choice(wrong.get(problem) or anything))
    flagged = set(_flagged(loaded, rows, golds).tolist())
    hits = flagged & set(planted.tolist())
    # A flag on a problem that nobody has looked at is neither right nor wrong.
    judged = [problem for problem in flagged - hits if loaded.ids[problem] in bad]
    right = len(hits) + sum(bad[loaded.ids[problem]] for problem in judged)
    return right / max(len(hits) + len(judged), 1), len(hits) / len(planted)


# ---------------------------------------------------------------- 6. comparison


def compared(splits: int) -> Iterator[Figure]:
    """The same policy twice: nothing has changed."""
    for name in data.NAMES:
        wrong, covered, moves, predicted = [], [], [], []
        for seed in range(splits):
            first, second = (passes_of(name, rows) for rows in data.split(data.load(name), seed, 8, 8))
            eight = np.full(len(first), 8)
            q_values = comparison.q_values(comparison.mid_p(first, eight, second, eight))
            wrong.append((q_values <= comparison.FALSE_DISCOVERIES).any())
            mean = comparison.mean_change(first / 8, second / 8)
            covered.append(mean.low <= 0 <= mean.high)
            before, after = positions("pass_rate", first, 8), positions("pass_rate", second, 8)
            moves.append((before != after).sum())
            both = [_stability(passes, 8, "pass_rate", seed).same_bucket or 0.0 for passes in (first, second)]
            predicted.append((1 - np.mean(both)) * len(first))
        yield Figure(6, "splits with a wrong 'changed'", name, float(np.mean(wrong)), 0, 0.1)
        yield Figure(6, "interval of the mean change covers 0", name, float(np.mean(covered)), 0.85, 0.95)
        yield Figure(6, "moves by chance, said / true", name, float(np.mean(predicted) / np.mean(moves)), 0.8, 1.2)


def chance(splits: int) -> Iterator[Figure]:
    """What chance alone does on AIME and AMC, as docs/difficulty.md says it."""
    moved, never = [], []
    for seed in range(splits):
        first, second = (passes_of("aime_amc_50", rows) for rows in data.split(data.load("aime_amc_50"), seed, 8, 8))
        moved.append((positions("pass_rate", first, 8) != positions("pass_rate", second, 8)).sum())
        (four,) = data.split(data.load("aime_amc_50"), seed, 4)
        never.append((passes_of("aime_amc_50", four) == 0).mean())
    yield Figure(6, "problems of 70 that moved, same checkpoint", "aime_amc_50 n=8", float(np.mean(moved)), 15, 22)
    yield Figure(6, "share of problems never solved", "aime_amc_50 n=4", float(np.mean(never)), 0.7, 0.85)
    (every,) = data.split(data.load("aime_amc_50"), 0, 50)
    never_of_50 = float((passes_of("aime_amc_50", every) == 0).mean())
    yield Figure(6, "share of problems never solved", "aime_amc_50 n=50", never_of_50, 0.45, 0.52)


# ---------------------------------------------------------------- 7. cost


def cost() -> Iterator[Figure]:
    """600,000 problems with 8 to 24 samples each, 10 million rollouts: the statistics, in CPU seconds."""
    random = np.random.default_rng(0)
    samples = random.integers(8, 25, 600_000)
    passes = random.binomial(samples, random.beta(0.5, 0.7, 600_000))
    codes = np.repeat(np.arange(600_000), samples).astype(np.int32)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(samples) - samples, samples)
    passing = place < passes[codes]
    answers = np.where(passing, 0, random.integers(1, 9, len(codes)))
    values = passing.astype(float)
    built = buckets.build("percentile")
    seconds = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        start = time.process_time()
        work()
        seconds[what] = time.process_time() - start

    found = posteriors.posterior(passes, samples)
    timed("posterior and columns", lambda: _columns(posteriors.posterior(passes, samples)))
    timed("majorities", lambda: majorities(codes, answers, passing, 600_000))
    refits = posteriors.with_refits(found.classes, 1)[1]
    timed("refits", lambda: posteriors.with_refits(found.classes, 1)[1])
    timed("informative", lambda: [informative.informative(group, found, refits) for group in informative.GROUPS])
    timed(
        "stability",
        lambda: stability(
            placing(built),
            built.buckets,
            codes=codes.astype(np.int64),
            rewards=values,
            problems=600_000,
            seed=1,
        ),
    )
    timed("top-up", lambda: topup.plan_top_up(found, 500_000))
    for what, taken in seconds.items():
        print(f"   {what}: {taken:.2f} s")
    yield Figure(7, f"CPU seconds, {len(codes):,} rollouts", "one process", sum(seconds.values()), 0, 5)


def _columns(found: posteriors.Posterior) -> None:
    for values in (found.mean(), found.quantile(0.05), found.quantile(0.95), found.mean(informative.mixed(8))):
        posteriors.gathered(found.classes, values)


def main() -> None:
    """Print the figures of the points asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6, 7])
    parser.add_argument("--splits", type=int, default=20, help="10 times as many for margins, 5 times for comparisons")
    given = parser.parse_args()
    points: dict[int, list[Callable[[], Iterator[Figure]]]] = {
        1: [never_solved],
        2: [functools.partial(how_sure, given.splits), functools.partial(margins, 10 * given.splits)],
        3: [functools.partial(informative_share, 2 * given.splits)],
        4: [functools.partial(top_up, given.splits)],
        5: [functools.partial(suspects, given.splits)],
        6: [functools.partial(compared, 5 * given.splits), functools.partial(chance, 5 * given.splits)],
        7: [cost],
    }
    for point in given.points:
        for measure in points[point]:
            for figure in measure():
                print(figure, flush=True)


if __name__ == "__main__":
    main()
