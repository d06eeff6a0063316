"""difficulty: how hard each problem is and how sure that is, why hard ones look hard, and where more samples pay.

The statistics are those of analyzer/difficulty/, on what the stages before this one found. One problem::

    passes 0, solve_rate 0.04 (0.00 to 0.14), informative@8 0.21, majority "12" in 7 of 8, flag suspect_gold
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer import buckets
from analyzer.buckets import Assignment, Strategy
from analyzer.cache.score_files import UNEARNABLE
from analyzer.config import AnalysisSettings
from analyzer.difficulty import flags, informative, passing
from analyzer.difficulty.counting import count, sums
from analyzer.difficulty.graded import graded_groups, pass_or_fail
from analyzer.difficulty.intervals import mean_rate
from analyzer.difficulty.metrics import problem_metrics
from analyzer.difficulty.posterior import Gathered, Posterior, classes_of, column_of, with_refits
from analyzer.difficulty.topup import TopUp, plan_top_up
from analyzer.plan import Plan
from analyzer.rollouts import problems
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import (
    ANSWER_LENGTH,
    DATA_IDX,
    NOT_COUNTED,
    ORIGINAL,
    SAMPLE_IDX,
    Metrics,
)
from analyzer.stages import remarks
from analyzer.stages.merge import Merged

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray

REPEATED_SHARE = 0.01  # of the long responses of a data source: more copies of another sample are worth a remark
INFORMATIVE_AT = 8  # the group size of the column informative@8
LISTED = 100  # problems named in summary.json at most, of each kind


class Difficulty(NamedTuple):
    """What this stage found; arrays are of shape (problems,), in the order of the numbering."""

    columns: dict[str, NDArray[Any] | Gathered]  # further columns of problem_metrics; NaN: null
    majority: NDArray[np.integer]  # position of the majority answer in Merged.texts, -1: none
    report: dict[str, Any]  # `difficulty` of summary.json; `remarks` in it are printed on stderr, one sentence each
    top_up: dict[str, NDArray[Any]] | None  # columns of topup.parquet, problems by ascending data_idx


class Analysed(NamedTuple):
    """What the stages before this one found."""

    settings: AnalysisSettings
    plan: Plan
    dataset: Dataset
    numbering: Numbering
    merged: Merged
    metrics: Metrics
    strategy: Strategy
    assignment: Assignment
    cut: NDArray[np.bool_] | None  # (rollouts,) which responses were cut off; None: unknown


def measure(run: Analysed) -> Difficulty:
    """Everything about difficulty that is not a metric or a bucket."""
    settings, _, _, numbering, merged, metrics, *_, cut = run
    found, refits = with_refits(classes_of(metrics.passes, metrics.num_scored, merged.source), settings.seed)
    evidence = _evidence(numbering, merged, metrics, cut)
    reliable = flags.reliabilities(evidence, max(len(merged.source_names), 1))
    # Two passes over the problems: how reliable a policy is must be known before a majority may accuse a ground truth.
    codes = flags.flags(evidence, reliable)
    never = flags.never_solved(evidence, codes)
    topped = _top_up(run) if settings.top_up else None
    report = {
        "informative": _informative(found, refits, merged, metrics, settings.seed),
        **_passing(found, metrics, merged),
        "never_solved": never,
        "suspect_golds": _suspects(codes, reliable, merged),
        "gold_unearnable": _listed(run, codes == flags.FLAGS.index(flags.GOLD_UNEARNABLE)),
        "suspect_gold": _listed(run, codes == flags.FLAGS.index(flags.SUSPECT_GOLD)),
        "samples": {"fewest": metrics.common_samples, "most": int(metrics.num_scored.max(initial=0))},
        "unscored": _unscored(run),
        "truncation": _truncation(run),
        "duplicates": {
            name: {"long_responses": seen.long, "repeated": seen.repeated}
            for name, seen in merged.sources.items()
            if seen.repeated > REPEATED_SHARE * seen.long
        },
        "data_sources": _by_source(merged, metrics),
        "top_up": None if topped is None else topped[1],
    }
    report["remarks"] = remarks.remarks(settings, report, merged, metrics)
    return Difficulty(
        columns=_columns(found, evidence, codes, merged, metrics),
        majority=merged.majorities.answer,
        report=report,
        top_up=None if topped is None else topped[0],
    )


def _evidence(numbering: Numbering, merged: Merged, metrics: Metrics, cut: NDArray[np.bool_] | None) -> flags.Evidence:
    problems = numbering.problems
    return flags.Evidence(
        passes=metrics.passes,
        samples=metrics.num_scored,
        rollouts=metrics.num_samples,
        unearnable=merged.golds == UNEARNABLE,
        majorities=merged.majorities,
        cut=np.zeros(problems, np.int64) if cut is None else count(merged.codes, problems, cut),
        unanswered=count(merged.codes, problems, ~merged.found),
        source=merged.source,
    )


# ---------------------------------------------------------------- per problem


def _columns(
    found: Posterior, evidence: flags.Evidence, codes: NDArray[np.int8], merged: Merged, metrics: Metrics
) -> dict[str, NDArray[Any] | Gathered]:
    """The columns after the metrics, (problems,) each."""
    classes, samples = found.classes, metrics.num_scored
    columns: dict[str, NDArray[Any] | Gathered] = {"passes": metrics.passes}
    for name, values in (
        ("solve_rate", found.mean()),
        # A thin tail can lift the mean above the 95 % quantile: 0 of 8 where nearly all problems are never solved.
        ("solve_rate_low", np.minimum(found.quantile(0.05), found.mean())),
        ("solve_rate_high", np.maximum(found.quantile(0.95), found.mean())),
    ):
        columns[name] = column_of(classes, np.round(values, 6))
    powers = passing.powers_of_two(int(samples.max(initial=0)))
    columns |= {f"pass@{k}": column_of(classes, passing.pass_at(k, classes.passes, classes.samples)) for k in powers}
    columns |= {f"pass^{k}": column_of(classes, passing.all_pass(k, classes.passes, classes.samples)) for k in powers}
    mixed = found.mean(informative.mixed(INFORMATIVE_AT))
    columns[f"informative@{INFORMATIVE_AT}"] = column_of(classes, np.round(mixed, 6))
    columns["distinct_answers"] = merged.majorities.distinct
    share = np.full(len(codes), np.nan)
    # Of all rollouts, those without an answer too: two votes of eight are no majority because six say nothing.
    given = merged.majorities.votes > 0
    np.divide(merged.majorities.votes, metrics.num_samples, out=share, where=given)
    columns["majority_share"] = share
    columns["flag"] = Gathered(np.array(flags.FLAGS, dtype=object), codes)
    columns["truncated"] = evidence.cut
    tokens, mean = merged.tokens, np.full(len(codes), np.nan)
    if tokens.max(initial=NOT_COUNTED) != NOT_COUNTED:
        lengths = sums(merged.codes, tokens if tokens.min() >= 0 else np.maximum(tokens, 0), len(codes))
        np.divide(lengths, metrics.num_samples, out=mean, where=metrics.num_samples > 0)
    columns["tokens_mean"] = np.round(mean, 3)
    return columns


# ---------------------------------------------------------------- of all problems


def _informative(
    found: Posterior, refits: Sequence[FloatArray], merged: Merged, metrics: Metrics, seed: int
) -> dict[str, dict[str, float | None]]:
    """{G: {share, low, high}}."""
    graded = None
    lowest, highest = metrics.min_reward, metrics.max_reward
    if not pass_or_fail(metrics.mean_reward, metrics.std_reward, lowest, highest, metrics.pass_rate):
        groups, source = informative.GROUPS, merged.source
        graded = graded_groups(merged.codes, merged.rewards, source, found.classes, groups=groups, seed=seed)
    estimates = informative.shares(informative.GROUPS, found, refits, graded)
    return {
        str(group): {name: _number(value) for name, value in estimate._asdict().items()}
        for group, estimate in estimates.items()
    }


def _passing(found: Posterior, metrics: Metrics, merged: Merged) -> dict[str, Any]:
    """pass@k over problems, predicted where a problem has fewer than k samples, and maj@n."""
    classes = found.classes
    # Over scored problems, as every average of the summary is.
    counted = np.where(classes.samples > 0, classes.problems, 0)
    total = max(int(counted.sum()), 1)
    pass_at: dict[str, float | None] = {}
    for k in passing.powers_of_two(int(metrics.num_scored.max(initial=0))):
        exact = passing.pass_at(k, classes.passes, classes.samples)
        predicted = found.mean(passing.at_least_one(k))
        enough = classes.samples >= k
        if informative.are_sampled_twice(classes) or enough[counted > 0].all():
            pass_at[str(k)] = _number(float(counted @ np.where(enough, exact, predicted)) / total)
        else:  # predicted from one sample a problem, which tells nothing of two
            pass_at[str(k)] = None
    # Of a reward that looks at the whole response no answer is known, and so no majority that could be right.
    answered = np.bincount(merged.source, merged.majorities.votes, len(merged.source_names) or 1) > 0
    scored = (metrics.num_scored > 0) & answered[merged.source]
    right = merged.majorities.right[scored]
    return {
        "pass_at_k": pass_at,
        "maj_at_n": _number(float(right.mean())) if len(merged.texts) and len(right) else None,
    }


def _suspects(codes: NDArray[np.int8], reliable: Sequence[flags.Reliability], merged: Merged) -> dict[str, Any]:
    agreed = sum(one.majorities for one in reliable)
    return {
        "flagged": int((codes == flags.FLAGS.index(flags.SUSPECT_GOLD)).sum()),
        "reliability": _number(sum(one.right for one in reliable) / agreed) if agreed else None,
        "spoke": any(one.speaks for one in reliable),
        "data_sources": {
            name: {"majorities": one.majorities, "reliability": _number(one.share), "spoke": one.speaks}
            for name, one in zip(merged.source_names, reliable, strict=False)
        },
    }


def _unscored(run: Analysed) -> dict[str, Any]:
    """Problems that rollouts without a reward could move to another bucket, and those mostly without."""
    merged, metrics = run.merged, run.metrics
    # More than half are missing: what is left is whatever the scorer happened to manage.
    mostly = 2 * metrics.num_scored < metrics.num_samples
    without = np.isnan(merged.rewards)
    moved = 0
    if without.any():
        moved = _moved(run, without, both=True)
    return {
        "problems_mostly_unscored": int(mostly.sum()),
        "share_mostly_unscored": _number(float(mostly.mean())) if len(mostly) else 0.0,
        "problems_that_could_move": moved,
    }


def _truncation(run: Analysed) -> dict[str, Any] | None:
    """Pass rates of the longest finished tenth and of all finished, and problems that cut responses could move."""
    merged, cut = run.merged, run.cut
    if cut is None:
        return None
    scored = ~np.isnan(merged.rewards)
    passes = merged.passing
    # Scored ones alone: a response that could not be scored has not failed.
    rates = flags.truncation_bias(merged.tokens[scored], passes[scored], ~cut[scored])
    failed = cut & scored & ~passes
    moved = _moved(run, failed, both=False) if failed.any() else 0
    return {
        "cut_off": int(cut.sum()),
        "pass_rate_of_longest_finished_tenth": None if rates is None else _number(rates[0]),
        "pass_rate_of_finished": None if rates is None else _number(rates[1]),
        "problems_that_could_move": moved,
    }


def _moved(run: Analysed, rollouts: NDArray[np.bool_], *, both: bool) -> int:
    """The problems with such rollouts that would be in another bucket had all of these passed (or, `both`, failed)."""
    merged, numbering, threshold = run.merged, run.numbering, run.settings.pass_threshold
    # The most favourable reward that is plausible: any above the threshold passes, but strategies by mean reward look
    # at its size.
    highest = max(float(np.fmax.reduce(merged.rewards, initial=-np.inf)), threshold, 1.0)
    lowest = min(float(np.fmin.reduce(merged.rewards, initial=np.inf)), 0.0) if threshold > 0 else threshold - 1
    concerned = np.zeros(numbering.problems, bool)
    concerned[merged.codes[rollouts]] = True
    moved = np.zeros(numbering.problems, bool)
    for reward in (highest, lowest) if both else (highest,):
        exact = merged.rewards.dtype.type(reward) == reward  # 32 bits may not hold it, though they hold all others
        changed = merged.rewards.astype(merged.rewards.dtype if exact else np.float64)
        changed[rollouts] = reward
        passing = np.where(rollouts, reward == highest, merged.passing)
        again = problem_metrics(merged.codes, changed, numbering.problems, passing)
        moved |= buckets.assign(run.strategy, again).positions != run.assignment.positions
    return int((moved & concerned).sum())


def _by_source(merged: Merged, metrics: Metrics) -> dict[str, dict[str, Any]]:
    """Pass rate with its 90 % interval, never and always solved, of each data source."""
    shown = {}
    for number, name in enumerate(merged.source_names):
        those = (merged.source == number) & (metrics.num_scored > 0)
        rate = mean_rate(metrics.pass_rate[those], metrics.num_scored[those])
        shown[name] = {
            "problems": int(those.sum()),
            "pass_rate": _number(rate.mean),
            "pass_rate_low": _number(rate.low),
            "pass_rate_high": _number(rate.high),
            "never_solved": int((metrics.passes[those] == 0).sum()),
            "always_solved": int((metrics.passes[those] == metrics.num_scored[those]).sum()),
        }
    return shown


# ---------------------------------------------------------------- ground truths


def _listed(run: Analysed, chosen: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Of the chosen problems the first LISTED by data_idx: ground truth, majority answer, counts."""
    numbering, merged, metrics = run.numbering, run.merged, run.metrics
    order = numbering.order()
    # By data_idx, so that the same problems are listed whatever the order of the rows.
    numbers = order[chosen[order]][:LISTED].tolist()
    if not numbers:
        return []
    rows = numbering.first_rows()[numbers]
    truths = dict(zip(np.sort(rows).tolist(), _ground_truths(run, np.sort(rows).tolist()), strict=True))
    found = merged.majorities
    return [
        {
            "data_idx": numbering.ids[number].as_py(),
            "ground_truth": truths[int(row)],
            "majority_answer": merged.texts[found.answer[number]].as_py() if found.answer[number] >= 0 else None,
            "votes": int(found.votes[number]),
            "passes": int(metrics.passes[number]),
            "num_samples": int(metrics.num_samples[number]),
        }
        for number, row in zip(numbers, rows, strict=True)
    ]


def _ground_truths(run: Analysed, rows: Sequence[int]) -> list[str | None]:
    """The ground truths of single rows of the input, ascending, on one line each; None where there is no column."""
    column = run.plan.gold_column or ORIGINAL + run.plan.reward_fn_key
    if column not in run.dataset.schema.names:
        return [None] * len(rows)
    truths: list[str | None] = []
    for _, batch in Reader(run.dataset.files, [DATA_IDX, column], held=True).batches([(row, row + 1) for row in rows]):
        groups = problems.group(_table(batch), [column], column, "any")
        truths.append(" ".join(str(groups.problems[0].ground_truth).split())[:ANSWER_LENGTH])
    return truths


def _table(batch: pa.RecordBatch) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches([batch])


# ---------------------------------------------------------------- top-up


def _top_up(run: Analysed) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The columns of topup.parquet, and what the further samples are expected to buy."""
    settings, _, dataset, numbering, merged, metrics, *_ = run
    order = numbering.order()  # problems with equal evidence are served by ascending data_idx, whatever the row order
    classes = classes_of(metrics.passes[order], metrics.num_scored[order], merged.source[order])
    found, refits = with_refits(classes, settings.seed)
    plan: TopUp = plan_top_up(found, settings.top_up or 0, refits=refits)
    highest = np.full(numbering.problems, -1, np.int64)
    done = 0
    for _, batch in Reader(dataset.files, [SAMPLE_IDX]).batches(numbering.kept_ranges()):
        values = batch.column(0).to_numpy(zero_copy_only=False).astype(np.int64)
        # The highest number in use, and not the number of samples: sample_idx may have gaps, and a new one must not
        # collide.
        np.maximum.at(highest, merged.codes[done : done + len(values)], values)
        done += len(values)
    given = plan.samples > 0
    known = informative.are_sampled_twice(found.classes)  # else what is gained is the prior's word alone
    columns = {
        "number": order[given],
        "samples": plan.samples[given],
        "first_sample_idx": highest[order[given]] + 1,
    }
    report = {
        "rollouts": int(plan.samples.sum()),
        "problems": int(given.sum()),
        "settled_before": _number(plan.settled_before) if known else None,
        "settled_after": _number(plan.settled_after) if known else None,
    }
    return columns, report


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
