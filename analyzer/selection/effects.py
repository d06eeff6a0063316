"""effects: what a rule does, told before it is trusted.

Counts by data source and reason; the share of groups that a policy gradient would learn from, before and after; tokens;
which numbers of passes the rule keeps at this n, and which recipes keep the same; and how many problems another
sampling with the same n would move across the cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.difficulty.graded import pass_or_fail
from analyzer.difficulty.informative import CONFIDENCE, are_sampled_twice, binomial, mixed
from analyzer.difficulty.posterior import Posterior, classes_of, with_refits
from analyzer.expression import Expression, compile_expression
from analyzer.selection import recipes
from analyzer.selection.analysis import NUM_SCORED, Analysis
from analyzer.selection.rule import KEPT, NOT_TAKEN, PASS_RATE, REASONS, Choice, Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

GROUPS = (8, 16)
PASSES, TOKENS, SAMPLES = "passes", "tokens_mean", "num_samples"
_MOST_SAMPLES = 128  # for problems near the cut: each number of passes is one evaluation of the rule


class Evidence(NamedTuple):
    """Passes and samples of each problem, (problems,), and the posterior of their solve rates by data source."""

    passes: IntArray
    samples: IntArray
    rewards: tuple[float, float] | None  # of a response that fails, and of one that passes; None: graded
    found: Posterior
    refits: list[FloatArray]


def measure(analysis: Analysis, rule: Rule, choice: Choice, sources: IntArray, names: Sequence[str]) -> dict[str, Any]:
    """What the manifest says of the effects of a choice; plain values."""
    evidence = gather(analysis, sources, rule.seed)
    counts, problems = np.unique(evidence.samples[evidence.samples > 0], return_counts=True)
    kept = choice.reasons == KEPT
    return {
        "samples_per_problem": {int(n): int(count) for n, count in zip(counts, problems, strict=True)},
        "dropped": _reason_counts(choice.reasons[~kept]),
        "asked_for": _asked_for(analysis, rule),
        "kept_unscored": int((kept & (evidence.samples == 0)).sum()),
        "by_data_source": {
            names[number]: {
                "problems": int((sources == number).sum()),
                **_reason_counts(choice.reasons[sources == number]),
            }
            for number in np.unique(sources).tolist()
        },
        "informative_groups": {
            group: {
                "before": informative_share(evidence, np.ones(len(kept), bool), group),
                "after": informative_share(evidence, kept, group),
            }
            for group in GROUPS
        },
        "different_rewards": None if evidence.rewards else _different_rewards(analysis),
        "tokens": _tokens(analysis, kept),
        "at_this_n": at_this_n(rule, evidence),
        "another_sampling": another_sampling(analysis, rule, choice, evidence),
    }


def gather(analysis: Analysis, sources: IntArray, seed: int) -> Evidence:
    """Passes and samples of the problems, and how sure they are."""
    samples = _floats(analysis, NUM_SCORED, 0).astype(np.int64)
    rates = _floats(analysis, PASS_RATE, 0)
    passes = np.rint(rates * samples).astype(np.int64)
    rewards = _two_rewards(analysis, rates)
    return Evidence(passes, samples, rewards, *with_refits(classes_of(passes, samples, sources), seed))


def _two_rewards(analysis: Analysis, rates: FloatArray) -> tuple[float, float] | None:
    """The rewards of a response that fails and of one that passes, where these are all there are.

    With partial credit passes do not tell the mean, and what a rule does at other numbers of passes cannot be told.
    """
    if (_floats(analysis, "mean_reward", 0) == rates).all():
        return 0.0, 1.0
    names = ("mean_reward", "std_reward", "min_reward", "max_reward", PASS_RATE)
    mean, std, lowest, highest, rate = (_floats(analysis, name, math.nan) for name in names)
    if np.isnan(lowest).all() or not pass_or_fail(mean, std, lowest, highest, rate):
        return None
    low, high = float(np.nanmin(lowest)), float(np.nanmax(highest))
    return (low, high) if low < high else None


def _asked_for(analysis: Analysis, rule: Rule) -> int | None:
    """How many problems --take is to keep, of all values of --per; None without it."""
    if rule.take is None or rule.per is None:
        return rule.take
    return rule.take * len(analysis.column(rule.per.strip("`")).unique())


def _different_rewards(analysis: Analysis) -> dict[int, float] | None:
    """The share of groups with different rewards, over all problems, as the summary has it; None if it has not."""
    shares = (analysis.summary.get("difficulty") or {}).get("informative") or {}
    found: dict[int, Any] = {group: (shares.get(str(group)) or {}).get("share") for group in GROUPS}
    return None if None in found.values() else found


def _reason_counts(reasons: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(reasons, minlength=len(REASONS))
    return {reason: int(count) for reason, count in zip(REASONS, counts, strict=True) if count}


def informative_share(evidence: Evidence, chosen: NDArray[np.bool_], group: int) -> dict[str, float] | None:
    """The expected share of groups of that size that both pass and fail, over the chosen problems, with its 90 %
    interval; None where none of them is scored, or most have one sample.

    Always the posterior mean, also where a problem has `group` samples: the samples that it was chosen by flatter it.
    """
    classes = evidence.found.classes
    chosen = chosen & (evidence.samples > 0)
    counts = np.bincount(classes.of[chosen], minlength=len(classes.problems))
    total = int(counts.sum())
    if total == 0 or not are_sampled_twice(classes._replace(problems=counts)):
        return None
    values = mixed(group)
    share = float(counts @ evidence.found.mean(values)) / total
    refits = [float(counts @ evidence.found.under(priors).mean(values)) / total for priors in evidence.refits]
    # Two independent errors, so their variances add: of the problems given the prior, and of the prior, which was
    # fitted to these samples (the spread over refits to resampled problems).
    variance = float(counts @ evidence.found.variance(values)) / total**2 + float(np.var(refits, ddof=1))
    error = CONFIDENCE * math.sqrt(variance)
    return {
        "share": round(share, 4),
        "low": round(max(share - error, 0.0), 4),
        "high": round(min(share + error, 1.0), 4),
    }


def _tokens(analysis: Analysis, kept: NDArray[np.bool_]) -> dict[str, float] | None:
    """The kept share of all response tokens, and the mean length of a response before and after."""
    if TOKENS not in analysis.columns:
        return None
    samples = _floats(analysis, SAMPLES, 0)
    tokens = _floats(analysis, TOKENS, 0) * samples
    if not tokens.sum() or not samples[kept].sum():
        return None
    return {
        "share_kept": round(float(tokens[kept].sum() / tokens.sum()), 4),
        "mean_before": round(float(tokens.sum() / samples.sum()), 1),
        "mean_after": round(float(tokens[kept].sum() / samples[kept].sum()), 1),
    }


# ---------------------------------------------------------------- what follows from passes and samples


def _derived(passes: IntArray, samples: IntArray, rewards: tuple[float, float] | None) -> dict[str, NDArray[Any]]:
    """The metrics that follow from passes and samples alone, by their names in a rule."""
    rate = np.divide(passes, samples, out=np.zeros(len(passes)), where=samples > 0)
    columns: dict[str, NDArray[Any]] = {PASSES: passes, NUM_SCORED: samples, PASS_RATE: rate}
    if rewards is not None:
        low, high = rewards
        # p(1 - p) is the variance of rewards of 0 and 1; rounding may take it below 0.
        spread = np.sqrt(np.maximum(rate * (1 - rate), 0))
        mean = np.divide(
            low * (samples - passes) + high * passes, samples, out=np.zeros(len(passes)), where=samples > 0
        )
        columns |= {"mean_reward": mean, "std_reward": (high - low) * spread}
        columns |= {"max_reward": np.where(passes > 0, high, low), "min_reward": np.where(passes == samples, high, low)}
    return columns


_ALL_DERIVED = tuple(_derived(np.zeros(1, np.int64), np.ones(1, np.int64), (0.0, 1.0)))


def at_this_n(rule: Rule, evidence: Evidence) -> dict[str, Any] | None:
    """Which numbers of passes the condition can keep at the commonest n, and the recipes that keep the same ones.

    None where the condition does not depend on passes alone in a way that leaves any of them out.
    """
    scored = evidence.samples[evidence.samples > 0]
    if rule.where is None or not len(scored):
        return None
    # Of two that are equally common the smaller.
    n = int(np.bincount(scored).argmax())
    kept = _kept_passes(rule.where, n, evidence.rewards)
    if kept.all() or not set(rule.where.names) & set(_ALL_DERIVED):
        return None
    same = [
        recipe.name
        for recipe in recipes.RECIPES
        if recipe.where
        and recipe != rule.recipe
        and not recipe.sort
        and np.array_equal(
            kept, _kept_passes(compile_expression(recipe.where, [*_ALL_DERIVED, "flag"]), n, evidence.rewards)
        )
    ]
    return {
        "n": n,
        "share_of_problems": round(float((scored == n).mean()), 4),
        "passes_kept": _ranges(kept),
        "same_as": same,
    }


def _kept_passes(where: Expression, n: int, rewards: tuple[float, float] | None) -> NDArray[np.bool_]:
    """(n + 1,) whether a problem with 0 .. n passes may be kept; what else the condition asks for is left open."""
    import pyarrow as pa

    passes = np.arange(n + 1)
    columns = {name: pa.array(values) for name, values in _derived(passes, np.full(n + 1, n), rewards).items()}
    # Null is "unknown" to a condition: `pass_rate > 0 and level == 3` is false of 0 passes and open otherwise, so what
    # is not false may be kept. A condition without names still needs rows to be evaluated on.
    table = pa.table({name: columns.get(name, pa.nulls(n + 1)) for name in where.names} or columns)
    outcomes = where.evaluate(table)
    return np.asarray(outcomes.fill_null(True).to_numpy(zero_copy_only=False), bool)


def _ranges(kept: NDArray[np.bool_]) -> str:
    """Numbers as ranges: '1 to 7', '0, 3 to 5', 'none'."""
    found: list[str] = []
    # Between False at both ends, every range has a rise and a fall, and these alternate.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(int))).reshape(-1, 2)
    for start, stop in edges.tolist():
        found.append(f"{start}" if stop - start == 1 else f"{start} to {stop - 1}")
    return ", ".join(found) or "none"


def another_sampling(analysis: Analysis, rule: Rule, choice: Choice, evidence: Evidence) -> dict[str, float] | None:
    """How many problems the condition would lose and gain if all were sampled again with the same n, in expectation.

    New passes come from the posterior; what else the condition asks for stays as it is. None where the condition asks
    for a metric that passes do not tell (a bucket, mean@5 of graded rewards) or for none.
    """
    if rule.where is None:
        return None
    derived = set(_derived(evidence.passes[:1], evidence.samples[:1], evidence.rewards))
    # A column under another name than its own is one of the analysis; those of the training data are `row.NAME` too.
    known = {name for name, column in analysis.columns.items() if column != name and not name.startswith("row.")}
    metrics = known & set(rule.where.names)
    fixed = {"flag", TOKENS, SAMPLES, "data_source", "data_idx"}
    if not metrics & derived - {NUM_SCORED} or metrics - derived - fixed:
        return None
    if evidence.samples.max(initial=0) > _MOST_SAMPLES or not are_sampled_twice(evidence.found.classes):
        return None
    chance = np.zeros(len(evidence.passes))  # of being kept
    for passes, kept in _outcomes(analysis, rule.where, evidence):
        chance += _predictive(evidence, passes) * kept
    # Of the condition alone: what --take leaves out fits the rule as well.
    before = (choice.reasons == KEPT) | (choice.reasons == NOT_TAKEN)
    scored = evidence.samples > 0
    chance = np.minimum(chance, 1.0)  # a sum of probabilities may be above by a last bit
    return {
        "would_leave": round(float((1 - chance)[before & scored].sum()), 1),
        "would_enter": round(float(chance[~before & scored].sum()), 1),
    }


def _outcomes(analysis: Analysis, where: Expression, evidence: Evidence) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """For 0, 1, ... passes: (problems,) whether each problem would be kept with that many."""
    import pyarrow as pa

    others = [name for name in where.names if name not in _ALL_DERIVED]
    table = pa.Table.from_batches(list(analysis.read(others))) if others else None
    # One evaluation over all problems for each number of passes, and not one for each problem: at most _MOST_SAMPLES.
    for passes in range(int(evidence.samples.max(initial=0)) + 1):
        columns = _derived(np.full(len(evidence.passes), passes), evidence.samples, evidence.rewards)
        arrays = {name: table.column(name) if table and name in others else columns[name] for name in where.names}
        outcomes = where.evaluate(pa.table(arrays))
        yield passes, np.asarray(outcomes.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _predictive(evidence: Evidence, passes: int) -> FloatArray:
    """(problems,) the probability of that many passes in as many new samples; 0 where there are fewer samples."""
    classes, weights = evidence.found.classes, evidence.found.weights
    chance = np.zeros(len(classes.problems))
    # Classes with the same n share the matrix of binomial probabilities; there are few distinct n.
    for n in np.unique(classes.samples).tolist():
        if n >= max(passes, 1):
            those = classes.samples == n
            chance[those] = weights[those] @ binomial(n)[passes]
    shown: FloatArray = chance[classes.of]
    return shown


def _floats(analysis: Analysis, name: str, missing: float) -> FloatArray:
    import pyarrow as pa

    if name not in analysis.columns:
        return np.full(analysis.problems.rows, float(missing))
    # Missing metrics are those of unscored problems, which have no samples and so count for nothing.
    return np.asarray(analysis.column(name).cast(pa.float64()).fill_null(missing).to_numpy(zero_copy_only=False))
