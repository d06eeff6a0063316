"""figures: the charts of an analysis, from its numbers; `charts.py` draws them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from analyzer.difficulty import informative
from analyzer.difficulty.graded import graded_groups
from analyzer.difficulty.posterior import classes_of, with_refits
from analyzer.errors import counted, percentage
from analyzer.report import charts, lengths
from analyzer.report.analysis import Analysis
from analyzer.report.charts import Line, Segment
from analyzer.report.harmless import visible

if TYPE_CHECKING:
    from analyzer.schema import IntArray

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
_MOST_LEVELS = 64  # passes of n are shown one by one up to this n
_MOST_SOURCES = 6  # data sources with a curve of their own


def hardness_chart(analysis: Analysis, styles: dict[str, str]) -> str:
    """Problems by passes of n, coloured by bucket: exact levels where n is common and small, else bins of the rate.

    Whiskers: the fewest and the most problems that a bar could have, had rollouts without a reward been scored.
    """
    names, bucket = analysis.coded("bucket")
    passes, scored = analysis.passes
    there = scored > 0
    samples = analysis.column("num_samples").astype(np.int64)
    sizes = np.unique(samples[there])
    exact = len(sizes) == 1 and sizes[0] <= _MOST_LEVELS
    if exact:
        labels = [str(value) for value in range(int(sizes[0]) + 1)]
        x_title = f"passes of {counted(int(sizes[0]), 'sample')}"
    else:
        # 0 and 1 have bars of their own: never and always are another kind of thing than rarely and mostly.
        labels = ["never", *(f"{5 * at}–{5 * at + 5}" for at in range(20)), "always"]
        x_title = "pass rate in % (never and always solved apart)"

    def levels(passing: IntArray, of: IntArray) -> IntArray:
        if exact:
            return passing
        # The bins of the rate are half open, but for 1, which is the bar "always".
        rate = np.divide(passing, of, out=np.zeros(len(of)), where=of > 0)
        inner = 1 + np.minimum((rate * 20).astype(np.int64), 19)
        return np.where(passing == 0, 0, np.where(passing == of, 21, inner))

    level = levels(passes, samples if exact else scored)
    whiskers = []
    if (scored[there] < samples[there]).any():
        # Had they failed, and had they passed: a problem may be at any level between.
        lowest, highest = levels(passes, samples)[there], levels(passes + samples - scored, samples)[there]
        whiskers = _whiskers(lowest, highest, len(labels))
        x_title += "; lines: what each bar could be, had all rollouts been scored"
    both = np.bincount((level * len(names) + bucket)[there], minlength=len(labels) * len(names))
    of_levels = both.reshape(len(labels), -1)
    bars = [
        [
            Segment(n, styles[name], f"{labels[at]}: {counted(n, 'problem')} in {name}")
            for name in styles
            if name in names and (n := int(of_levels[at, names.index(name)]))
        ]
        for at in range(len(labels))
    ]
    return charts.stacked_bars(
        "Problems by how often they were solved", labels, bars, x_title=x_title, whiskers=whiskers
    )


def _whiskers(lowest: IntArray, highest: IntArray, levels: int) -> list[tuple[int, int]]:
    """(fewest, most) problems at each level; each problem is at one from its `lowest` to its `highest`."""
    sure = np.bincount(lowest[lowest == highest], minlength=levels)
    # Each problem counts from its lowest level to its highest: +1 where it begins, -1 after its end, and the sum.
    edges = np.bincount(lowest, minlength=levels + 1) - np.bincount(highest + 1, minlength=levels + 1)
    return list(zip(sure.tolist(), np.cumsum(edges[:-1]).tolist(), strict=True))


def informative_chart(analysis: Analysis, seed: int) -> str:
    """The share of informative groups against the group size, of all problems and of each larger data source."""
    sources, source = analysis.sources
    passes, scored = analysis.passes
    there = scored > 0
    if there.sum() < 2:  # how rates spread is not known from one problem
        return ""
    graded = None
    # Data sources have priors of their own, as in the summary, whose numbers these are.
    found, refits = with_refits(classes_of(passes, scored, source), seed)
    classes = found.classes
    if not analysis.reward_is_pass_or_fail:  # groups may differ in more than that, as the summary counts them
        codes, rewards, _ = analysis.rewards()
        graded = graded_groups(codes, rewards, source, classes, groups=GROUP_SIZES, seed=seed)
    kinds = [("all problems", found, graded, "s0")]
    if len(sources) > 1:
        each = np.bincount(source[there], minlength=len(sources))
        largest = [at for at in np.argsort(-each, kind="stable")[:_MOST_SOURCES].tolist() if each[at] >= 2]
        for number, at in enumerate(largest):
            of_source = classes._replace(problems=np.where(classes.source == at, classes.problems, 0))
            parts = None if graded is None else graded.of(at)
            kinds.append((sources[at], found._replace(classes=of_source), parts, f"s{number + 1}"))
    curves = []
    for name, of_kind, of_graded, style in kinds:
        shares = informative.shares(GROUP_SIZES, of_kind, refits, of_graded).values()
        y, low, high = zip(*shares, strict=True)
        if np.isfinite(y).all():  # not with one sample a problem
            curves.append(Line(name, GROUP_SIZES, y, low, high, style))
    if not curves:
        return ""
    chart = charts.lines("Informative groups by group size", curves, x_title="group size G", x_ticks=GROUP_SIZES)
    if len(sources) == 1:
        return chart
    legend = "".join(f'<span class="key {curve.style}">{escape(visible(curve.name))}</span>' for curve in curves)
    with_curve = sum(curve.style != "s0" for curve in curves)
    left_out = "" if with_curve == len(sources) else f" <span>{_left_out(with_curve, len(sources))}</span>"
    return f'{chart}<p class="legend">{legend}{left_out}</p>'


def _left_out(shown: int, sources: int) -> str:
    if not shown:
        return f"no curve for the {sources:,} data sources: too few problems or samples"
    return f"{shown:,} of {sources:,} data sources: those with the most problems, and two samples or more of each"


def length_chart(rollouts: lengths.Rollouts | None) -> str:
    """Right and wrong responses by length."""
    if rollouts is None or not rollouts.tokens_known:
        return ""
    edges, right, wrong = lengths.log_bins(rollouts)
    if not right:
        return ""
    labels = [f"{edge:,}" for edge in edges[:-1]]
    bars = [
        [
            Segment(r, "right", f"{edges[at]:,} to {edges[at + 1] - 1:,} tokens: {r:,} right"),
            Segment(w, "wrong", f"{edges[at]:,} to {edges[at + 1] - 1:,} tokens: {w:,} wrong"),
        ]
        for at, (r, w) in enumerate(zip(right, wrong, strict=True))
    ]
    chart = charts.stacked_bars(
        "Lengths of right and wrong responses", labels, bars, x_title="tokens of the response (bins of equal ratio)"
    )
    return f'{chart}<p class="legend"><span class="key right">right</span><span class="key wrong">wrong</span></p>'


def decile_chart(rollouts: lengths.Rollouts | None) -> str:
    """Pass rate by length, a bar per tenth of the rollouts."""
    if rollouts is None or not rollouts.tokens_known:
        return ""
    tenths = lengths.deciles(rollouts)
    if len(tenths) < 2:
        return ""
    labels = [f"{tenth.shortest:,}–{tenth.longest:,}" for tenth in tenths]
    bars = [
        [
            Segment(
                100 * tenth.pass_rate,
                "right",
                f"{label} tokens: {percentage(tenth.pass_rate, 1)} of {tenth.rollouts:,} pass",
            )
        ]
        for label, tenth in zip(labels, tenths, strict=True)
    ]
    return charts.stacked_bars(
        "Pass rate by length",
        labels,
        bars,
        x_title="tokens of the response, a bar for each tenth of the rollouts",
        unit=" %",
    )


def values_chart(rollouts: lengths.Rollouts | None) -> str:
    """Rewards by value, where they are more than 0 and 1."""
    if rollouts is None or set(rollouts.values) <= {0.0, 1.0}:
        return ""
    values = list(rollouts.values.items())
    if len(values) > _MOST_LEVELS or not values:
        amounts = np.array([n for _, n in values] or [0])
        points = np.array([value for value, _ in values] or [0.0])
        of_passing = np.array([rollouts.passing.get(value, 0) for value, _ in values] or [0])
        heights, edges = np.histogram(points, bins=20, weights=amounts)
        passing, _ = np.histogram(points, bins=20, weights=of_passing)
        labelled = [
            (f"{edge:.3g}", int(n), int(right)) for edge, n, right in zip(edges, heights, passing, strict=False)
        ]
    else:
        labelled = [(f"{value:.4g}", n, rollouts.passing.get(value, 0)) for value, n in values]
    bars = [
        [
            Segment(count, kind, f"reward {label}: {counted(count, 'rollout')}")
            for count, kind in ((right, "right"), (n - right, "wrong"))
            if count
        ]
        for label, n, right in labelled
    ]
    return charts.stacked_bars("Rollouts by reward", [label for label, *_ in labelled], bars, x_title="reward")
