"""Two analyses of the same problems or more: what has changed, and how much of that would be chance.

compare.json of one policy that was sampled twice::

    {"problems": 70, "unmatched": 0, "mean_change": 0.001, "low": -0.012, "high": 0.014,
     "verdict": "no more than chance", "changed_bucket": 13, "changed_bucket_by_chance": 13.4, "changed": [],
     "by_data_source": {...}, ...}

The first analysis is compared with the last; those in between have their pass rates and their steps.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer import buckets
from analyzer.difficulty.comparison import (
    FALSE_DISCOVERIES,
    MeanChange,
    Moves,
    Run,
    mean_change,
    mid_p,
    moves_by_chance,
    q_values,
)
from analyzer.difficulty.stability import placing
from analyzer.errors import ConfigError, InputError, counted, percentage, printable
from analyzer.report.analysis import Analysis
from analyzer.report.matching import match
from analyzer.schema import DATA_IDX, least_passing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

BY_CHANCE = "no more than chance"
MORE = "more than chance"
_SURE = 0.99  # of all means together: a verdict must not be wrong of every tenth pair of runs of one policy
_SPREADS = 2.5  # standard deviations above what chance moves; chance alone gets there once in 150 comparisons


class Change(NamedTuple):
    """A mean change of the pass rate, last analysis minus first."""

    problems: int
    mean_change: float | None
    low: float | None  # 90 % interval; None with fewer than two problems
    high: float | None


class ChangedProblem(NamedTuple):
    """A problem that has detectably changed."""

    data_idx: Any
    k: list[int]  # passes in the first and in the last analysis
    n: list[int]  # scored rollouts
    p: float  # of the exact test
    q: float  # share of false discoveries among the problems with this p or less


@dataclass(frozen=True)
class Comparison:
    """What changed between analyses of the same problems."""

    labels: list[str]  # of each analysis
    analyses: list[Analysis]
    numbers: list[IntArray]  # of each analysis, (problems,): rows of its problem_metrics.parquet
    unmatched: list[int]  # of each analysis, problems that the others do not have
    sources: list[str]
    source: IntArray  # (problems,)
    passes: list[IntArray]  # of each analysis, (problems,)
    scored: list[IntArray]
    buckets: list[str]  # hardest first
    placed: list[NDArray[np.int8]]  # of each analysis, (problems,) position in `buckets`; -1: unscored
    p: FloatArray  # (problems,) of the first against the last analysis
    q: FloatArray
    total: MeanChange
    chance: Moves | None  # None with fewer than two problems
    warnings: list[str]

    @property
    def rates(self) -> list[FloatArray]:
        """Pass rates of each analysis, (problems,); NaN for unscored problems."""
        return [rate(k, n) for k, n in zip(self.passes, self.scored, strict=True)]

    @property
    def both(self) -> NDArray[np.bool_]:
        """(problems,) scored in the first and in the last analysis."""
        return (self.scored[0] > 0) & (self.scored[-1] > 0)

    @property
    def moves(self) -> IntArray:
        """(buckets, buckets) problems by bucket in the first and in the last analysis."""
        counts = np.zeros((len(self.buckets), len(self.buckets)), np.int64)
        np.add.at(counts, (self.placed[0][self.both], self.placed[-1][self.both]), 1)
        return counts

    @property
    def changed_bucket(self) -> int:
        """Problems in another bucket."""
        return int(self.moves.sum() - np.trace(self.moves))

    @property
    def changed(self) -> IntArray:
        """The numbers of the problems that have detectably changed, the surest first."""
        found = np.flatnonzero(self.q <= FALSE_DISCOVERIES)
        return found[np.argsort(self.p[found], kind="stable")]

    @property
    def moved_by_chance(self) -> bool:
        """Whether chance alone would move about as many problems to another bucket."""
        return self.chance is None or self.changed_bucket <= self.chance.changed + _SPREADS * self.chance.spread

    @property
    def verdict(self) -> str:
        """Whether anything has changed: the mean, that of a data source, the buckets, or a single problem.

        Of a mean the 99 % interval decides, not the 90 % one that is shown.
        """
        steady = not _differs(*self._ends, _SURE) and not self.changed_sources
        return BY_CHANCE if steady and self.moved_by_chance and not len(self.changed) else MORE

    @property
    def _ends(self) -> tuple[FloatArray, FloatArray]:
        """Pass rates of the first and of the last analysis, (problems,) each."""
        rates = self.rates
        return rates[0], rates[-1]

    @property
    def changed_sources(self) -> list[str]:
        """The data sources, of several, whose mean has changed: one may rise by what another falls."""
        first, last = self._ends
        # Of all of them together one is wrong as seldom as the mean of all problems (Bonferroni).
        sure = 1 - (1 - _SURE) / len(self.sources)
        of_each = ((name, self.source == at) for at, name in enumerate(self.sources)) if len(self.sources) > 1 else ()
        return [name for name, those in of_each if _differs(first[those], last[those], sure)]

    def change(self, first: int, last: int, chosen: NDArray[np.bool_] | None = None) -> Change:
        """The mean change between two of the analyses, of some of the problems."""
        chosen = np.ones(len(self.source), np.bool_) if chosen is None else chosen
        found = mean_change(self.rates[first][chosen], self.rates[last][chosen])
        return Change(found.problems, *(_number(value) for value in (found.change, found.low, found.high)))

    def mean_rates(self, chosen: NDArray[np.bool_] | None = None) -> list[float | None]:
        """The mean pass rate in each analysis, of some of the problems that the first and the last have scored.

        Of the same problems, so that the last minus the first is the change; those in between may lack some.
        """
        compared = self.both if chosen is None else self.both & chosen
        return [
            float(np.mean(one[kept])) if (kept := compared & (n > 0)).any() else None
            for one, n in zip(self.rates, self.scored, strict=True)
        ]

    @property
    def by_data_source(self) -> dict[str, Change]:
        """The mean change of each data source."""
        return {name: self.change(0, -1, self.source == at) for at, name in enumerate(self.sources)}

    def to_json(self) -> bytes:
        """compare.json."""
        ids = self.analyses[0].problems[DATA_IDX]
        changed = [
            ChangedProblem(
                ids[int(self.numbers[0][at])].as_py(),
                [int(self.passes[0][at]), int(self.passes[-1][at])],
                [int(self.scored[0][at]), int(self.scored[-1][at])],
                round(float(self.p[at]), 6),
                round(float(self.q[at]), 6),
            )
            for at in self.changed.tolist()
        ]
        rates = [None if one is None else _number(one) for one in self.mean_rates()]
        record = {
            "analyses": [str(analysis.folder) for analysis in self.analyses],
            "labels": self.labels,
            "problems": len(self.source),
            "unmatched": sum(self.unmatched),
            "unmatched_by_analysis": self.unmatched,
            "unscored": int((~self.both).sum()),
            "pass_rates": rates,
            "mean_change": _number(self.total.change),
            "low": _number(self.total.low),
            "high": _number(self.total.high),
            "verdict": self.verdict,
            "changed_bucket": self.changed_bucket,
            "changed_bucket_by_chance": None if self.chance is None else round(self.chance.changed, 2),
            "changed_bucket_by_chance_sd": None if self.chance is None else round(self.chance.spread, 2),
            "buckets": self.buckets,
            "moves": self.moves.tolist(),
            "moves_by_chance": None if self.chance is None else np.round(self.chance.expected, 2).tolist(),
            "changed": [one._asdict() for one in changed],
            "changed_data_sources": self.changed_sources,
            "by_data_source": {name: one._asdict() for name, one in self.by_data_source.items()},
            "steps": [self.change(at, at + 1)._asdict() for at in range(len(self.analyses) - 1)],
            "warnings": self.warnings,
        }
        return orjson.dumps(record, option=orjson.OPT_INDENT_2, default=str) + b"\n"

    def to_table(self) -> pa.Table:
        """compare.parquet: a row per problem, in the order of the first analysis."""
        import pyarrow as pa

        columns: dict[str, Any] = {DATA_IDX: self.analyses[0].problems[DATA_IDX].take(pa.array(self.numbers[0]))}
        for at, analysis in enumerate(self.analyses[1:], start=2):
            ids = analysis.problems[DATA_IDX].take(pa.array(self.numbers[at - 1]))
            if ids.to_pylist() != columns[DATA_IDX].to_pylist():
                columns[f"{DATA_IDX}_{at}"] = ids
        columns["data_source"] = pa.array(self.sources).take(pa.array(self.source))
        names = [*self.buckets, buckets.UNSCORED]
        for at, (k, n, place) in enumerate(zip(self.passes, self.scored, self.placed, strict=True), start=1):
            columns |= {f"k_{at}": k, f"n_{at}": n, f"pass_rate_{at}": pa.array(rate(k, n), from_pandas=True)}
            columns[f"bucket_{at}"] = pa.array(names).take(pa.array(np.where(place < 0, len(names) - 1, place)))
        return pa.table({**columns, "p": self.p, "q": self.q})

    @property
    def problems(self) -> pd.DataFrame:
        """compare.parquet as a DataFrame."""
        frame: pd.DataFrame = self.to_table().to_pandas()
        return frame

    def to_text(self) -> str:
        """The four lines on stdout."""
        rates = " -> ".join("n/a" if one is None else f"{one:.3f}" for one in self.mean_rates())
        change = "n/a" if math.isnan(self.total.change) else f"{self.total.change:+.3f}"
        within = "n/a" if math.isnan(self.total.low) else f"{self.total.low:+.3f} to {self.total.high:+.3f}"
        chance = ""
        if self.chance is not None:
            chance = f"; chance alone would move about {self.chance.changed:.0f}: "
            chance += BY_CHANCE if self.moved_by_chance else MORE
        unscored = int((~self.both).sum())
        left_out = f", {unscored:,} without a reward in one of the two" if unscored else ""
        by_source = self.by_data_source
        changed = ", ".join(f"{printable(name)} {by_source[name].mean_change:+.3f}" for name in self.changed_sources)
        found = len(self.changed)
        single = "no single problem has detectably changed" if not found else f"{found:,}"
        return (
            f"Problems compared: {len(self.source):,} ({sum(self.unmatched):,} unmatched{left_out})\n"
            f"Mean pass rate: {rates}, change {change} (90 % interval {within})"
            f"{f'; data sources that have changed: {changed}' if changed else ''}\n"
            f"Changed bucket: {self.changed_bucket:,} of {int(self.both.sum()):,}{chance}\n"
            f"Changed problems at a false discovery rate of {FALSE_DISCOVERIES:.0%}: {single}\n"
        )


def _differs(first: FloatArray, last: FloatArray, confidence: float) -> bool:
    """Whether the interval of the mean change leaves 0 out."""
    found = mean_change(first, last, confidence)
    return found.low > 0 or found.high < 0  # neither of NaN, with fewer than two problems


def rate(passes: IntArray, scored: IntArray) -> FloatArray:
    """Pass rates, NaN where nothing is scored."""
    found: FloatArray = np.where(scored > 0, passes / np.maximum(scored, 1), np.nan)
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


# ---------------------------------------------------------------- comparing


def compared(analyses: Sequence[Analysis], seed: int = 42) -> Comparison:
    """Compare the problems that all analyses have. Raises ConfigError or InputError where they cannot be compared."""
    strategy_name, threshold = _common(analyses)
    matched = match(analyses)
    if not len(matched.numbers[0]):
        raise InputError(
            f"{analyses[0].folder} and the others have no problem in common: neither data_idx with the same prompt, "
            "nor prompt and ground truth agree"
        )
    strategy = buckets.build(strategy_name, int(analyses[0].summary.get("settings", {}).get("seed", 42)))
    names = list(strategy.buckets)
    position = {name: at for at, name in enumerate(names)}
    passes, scored, placed = [], [], []
    for analysis, numbers in zip(analyses, matched.numbers, strict=True):
        k, n = analysis.passes
        passes.append(k[numbers])
        scored.append(n[numbers])
        all_placed = [position.get(name, -1) for name in analysis.problems["bucket"].to_pylist()]
        placed.append(np.array(all_placed, np.int8)[numbers])
    sources, source = analyses[0].sources
    p = mid_p(passes[0], scored[0], passes[-1], scored[-1])
    rates = [rate(k, n) for k, n in zip(passes, scored, strict=True)]
    found = Comparison(
        labels=labels([analysis.folder for analysis in analyses]),
        analyses=list(analyses),
        numbers=matched.numbers,
        unmatched=matched.unmatched,
        sources=sources,
        source=source[matched.numbers[0]],
        passes=passes,
        scored=scored,
        buckets=names,
        placed=placed,
        p=p,
        q=q_values(p),
        total=mean_change(rates[0], rates[-1]),
        chance=None,
        warnings=_warnings(analyses),
    )
    if not found.both.any():
        raise InputError(
            f"{analyses[0].folder} and {analyses[-1].folder} have no problem with a reward in both: nothing to compare"
        )
    found = _ranked_alike(found, strategy, threshold)
    return dataclasses.replace(found, chance=_chance(found, strategy, threshold, seed))


def _ranked_alike(found: Comparison, strategy: buckets.Strategy, threshold: float) -> Comparison:
    """With the buckets that problems have among those that are compared.

    Buckets by rank depend on the other problems: with easier ones in the last analysis alone, all others were harder
    in it, though nothing had changed.
    """
    if not sum(found.unmatched) and found.both.all():
        return found
    placed, moved = [], np.zeros(len(found.source), bool)
    for analysis, numbers, scored, before in zip(
        found.analyses, found.numbers, found.scored, found.placed, strict=True
    ):
        chosen = np.flatnonzero(found.both & (scored > 0))
        run = _rollouts(analysis, numbers[chosen], threshold)
        after = before.copy()
        [after[chosen]] = placing(strategy)(run.codes, [(run.rewards, run.passing)], len(chosen))
        moved |= after != before
        placed.append(after)
    if not moved.any():
        return found
    remark = (
        "the analyses do not hold the same problems, and buckets are by rank: those here are among the "
        f"{int(found.both.sum()):,} problems compared; {counted(int(moved.sum()), 'problem')} had another bucket"
    )
    return dataclasses.replace(found, placed=placed, warnings=[*found.warnings, remark])


def _common(analyses: Sequence[Analysis]) -> tuple[str, float]:
    """The strategy and the pass threshold of all analyses. Raises ConfigError where they differ."""
    remedy = "analyze the rollouts of one again (nothing is scored again)"
    strategies = [str(analysis.summary.get("bucketing_strategy")) for analysis in analyses]
    thresholds = [analysis.threshold for analysis in analyses]
    for first, at in ((0, at) for at in range(1, len(analyses))):
        where = f"{analyses[first].folder} and {analyses[at].folder}"
        if strategies[at] != strategies[first]:
            raise ConfigError(
                f"{where} have buckets by {strategies[first]} and by {strategies[at]}: {remedy} with "
                f"--bucketing_strategy {strategies[first]}"
            )
        if thresholds[at] != thresholds[first]:
            raise ConfigError(
                f"{where} count rewards from {thresholds[first]:g} and from {thresholds[at]:g} as passing: {remedy} "
                f"with --pass_threshold {thresholds[first]:g}"
            )
    return strategies[0], thresholds[0]


def _warnings(analyses: Sequence[Analysis]) -> list[str]:
    """What makes a difference that is not the policy's."""
    found = []
    rewards = [analysis.summary.get("settings", {}).get("rewards") for analysis in analyses]
    if any(one != rewards[0] for one in rewards):
        found.append("the analyses were scored by different rewards: a change may be the reward's and not the policy's")
    cut = [analysis.summary.get("truncated") for analysis in analyses]
    known = [share for share in cut if share is not None]
    if len(known) == len(cut) and max(known) - min(known) > 0.05:
        shares = " and ".join(f"{percentage(share)}" for share in known)
        found.append(f"{shares} of the responses were cut off at the token limit: a change may be the limit's")
    copied = [analysis for analysis in analyses if (analysis.summary.get("difficulty") or {}).get("duplicates")]
    if copied:
        found.append(
            f"of {' and '.join(str(analysis.folder) for analysis in copied)} responses duplicate another sample of the "
            "same problem, so there are fewer independent ones than are counted here: chance alone changes more than "
            f"said, and '{MORE}' may be chance"
        )
    bare = [analysis for analysis in (analyses[0], analyses[-1]) if analysis.rollouts is None]
    if without := [str(analysis.folder) for analysis in bare if not analysis.reward_is_pass_rate]:
        found.append(
            "what chance alone would move is estimated from passes and not from rewards, since "
            f"{' and '.join(without)} hold no rollouts (--outputs problems)"
        )
    return found


def labels(folders: Sequence[Path]) -> list[str]:
    """A short name of each folder: the last part, or as many parts as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    # runs/step100/out and runs/step200/out differ in the part before the last.
    for depth in range(1, max(map(len, parts)) + 1):
        names = [os.path.join(*part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _chance(found: Comparison, strategy: buckets.Strategy, threshold: float, seed: int) -> Moves | None:
    """What chance alone would move between the first and the last analysis."""
    both = np.flatnonzero(found.both)
    if len(both) < 2:
        return None
    first, last = (_rollouts(found.analyses[at], found.numbers[at][both], threshold) for at in (0, -1))
    return moves_by_chance(placing(strategy), len(found.buckets), (first, last), found.source[both], seed=seed)


def _rollouts(analysis: Analysis, numbers: IntArray, threshold: float) -> Run:
    """The rollouts of some problems, numbered again."""
    codes, rewards, deciding = analysis.rewards()
    number = np.full(analysis.problems.num_rows, -1, np.int64)
    number[numbers] = np.arange(len(numbers))
    kept = number[codes] >= 0
    return Run(number[codes[kept]], rewards[kept], deciding[kept] >= least_passing(threshold))
