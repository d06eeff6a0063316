"""report.html of a comparison: laid out by one template, without a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.report import charts
from analyzer.report.charts import Interval, points
from analyzer.report.harmless import visible
from analyzer.report.templating import asset, bucket_styles, count, digest, templates
from analyzer.report.texts import PER_PROBLEM, ProblemText, Sample, read_texts
from analyzer.schema import DATA_IDX

if TYPE_CHECKING:
    from analyzer.report.analysis import Analysis
    from analyzer.report.comparison import Change, Comparison
    from analyzer.schema import IntArray

_MOST_SHOWN = 50  # changed problems with responses
_MOST_LISTED = 500
_MOST_LEVELS = 20  # passes are shown one by one up to this n, else in bins
_TEXT_CHARS = 4000


def render(found: Comparison) -> str:
    """The page as HTML."""
    style = asset("report.css")
    policy = f"default-src 'none'; style-src 'sha256-{digest(style)}'; base-uri 'none'; form-action 'none'"
    view = {
        "policy": policy,
        "style": style,
        "comparison": found,
        "labels": [visible(label) for label in found.labels],
        "unscored": int((~found.both).sum()),
        "rates": found.mean_rates(),
        "total": found.change(0, -1),
        "steps": [found.change(at, at + 1) for at in range(len(found.analyses) - 1)],
        "sources": _source_rows(found),
        "forest": _forest(found),
        "matrix": _matrix(found),
        "styles": bucket_styles(found.buckets),
        "grid": _grid(found),
        "changed": _changed_rows(found),
        "shown": _side_by_side(found),
        "warnings": [visible(warning) for warning in found.warnings],
        "changed_sources": [visible(name) for name in found.changed_sources],
        "points": points,
    }
    return str(templates().get_template("comparison.html.j2").render(view))


def _source_rows(found: Comparison) -> list[dict[str, Any]]:
    """By data source: the pass rate in each analysis, and the change."""
    rows = []
    for at, (name, change) in enumerate(found.by_data_source.items()):
        member = found.source == at
        rows.append({"name": visible(name) or "(all)", "rates": found.mean_rates(member), "change": change})
    return rows


def _forest(found: Comparison) -> str:
    changes: dict[str, Change] = {"all problems": found.change(0, -1)}
    if len(found.sources) > 1:
        changes |= {visible(name): change for name, change in found.by_data_source.items()}
    rows = [
        Interval(name, change.mean_change, change.low, change.high)
        for name, change in list(changes.items())[:20]
        if change.mean_change is not None and change.low is not None and change.high is not None
    ]
    return charts.intervals("Change of the pass rate", rows, x_title="points, with 90 % intervals") if rows else ""


def _matrix(found: Comparison) -> list[dict[str, Any]]:
    """A row per bucket of the first analysis: problems by bucket in the last, and what chance alone would put there."""
    moves = found.moves
    expected = found.chance.expected if found.chance is not None else np.full(moves.shape, np.nan)
    top = max(int(moves.max(initial=0)), 1)
    return [
        {
            "name": name,
            "cells": [
                {
                    "seen": int(seen),
                    "chance": None if np.isnan(chance) else f"{chance:.1f}",
                    "same": at == to,
                    "shade": round(10 * (seen / top) ** 0.5),
                }
                for to, (seen, chance) in enumerate(zip(moves[at], expected[at], strict=True))
            ],
        }
        for at, name in enumerate(found.buckets)
    ]


def _grid(found: Comparison) -> str:
    """Problems by passes in the first analysis (upwards) and in the last (to the right)."""
    both = found.both
    sizes = np.unique(np.concatenate([found.scored[0][both], found.scored[-1][both]]))
    if not len(sizes):
        return ""
    if len(sizes) == 1 and sizes[0] <= _MOST_LEVELS:
        levels = [found.passes[at][both] for at in (0, -1)]
        labels = [str(k) for k in range(int(sizes[0]) + 1)]
        what = f"passes of {sizes[0]}"
    else:
        levels = [np.minimum((found.rates[at][both] * 10).astype(np.int64), 9) for at in (0, -1)]
        labels = [f"{10 * at}–{10 * at + 10}" for at in range(10)]
        what = "pass rate, %"
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (levels[0], levels[1]), 1)
    first, last = visible(found.labels[0]), visible(found.labels[-1])
    return charts.heat_map(
        "Problems by passes in both", counts.tolist(), labels, x_title=f"{what} in {last}", y_title=f"{what} in {first}"
    )


def _changed_rows(found: Comparison) -> list[dict[str, Any]]:
    ids = found.analyses[0].problems[DATA_IDX]
    return [
        {
            "id": visible(str(ids[int(found.numbers[0][at])].as_py())),
            "source": visible(found.sources[int(found.source[at])]),
            "first": f"{found.passes[0][at]} of {found.scored[0][at]}",
            "last": f"{found.passes[-1][at]} of {found.scored[-1][at]}",
            "up": bool(found.rates[-1][at] > found.rates[0][at]),
            "p": f"{found.p[at]:.2g}",
            "q": f"{found.q[at]:.2g}",
        }
        for at in found.changed[:_MOST_LISTED].tolist()
    ]


def _side_by_side(found: Comparison) -> list[dict[str, Any]]:
    """Changed problems with a response of the first and one of the last analysis, of each what it does more often."""
    at = found.changed[:_MOST_SHOWN]
    if not len(at):
        return []
    first, last = (_texts(found.analyses[end], found.numbers[end][at]) for end in (0, -1))
    rows = []
    for position, row in zip(at.tolist(), _changed_rows(found), strict=False):
        texts = [first.get(int(found.numbers[0][position])), last.get(int(found.numbers[-1][position]))]
        if None in texts:
            continue
        up = bool(row["up"])
        pair = [_response(text, right) for text, right in zip(texts, (not up, up), strict=True) if text is not None]
        known = texts[0]
        assert known is not None
        rows.append(row | {"prompt": visible(known.prompt), "ground_truth": visible(known.ground_truth), "pair": pair})
    return rows


def _texts(analysis: Analysis, numbers: IntArray) -> dict[int, ProblemText]:
    order = np.sort(numbers)
    return {text.number: text for text in read_texts(analysis, order, most=4 * PER_PROBLEM, chars=_TEXT_CHARS // 2)}


def _response(text: ProblemText, right: bool) -> dict[str, Any]:
    """A right or a wrong response where there is one, else any."""
    fitting = [s for s in text.samples if s.reward is not None and s.right == right]
    sample: Sample = (fitting or text.samples)[0]
    gap = sample.length - len(sample.head) - len(sample.tail)
    return {
        "right": sample.right,
        "reward": "none" if sample.reward is None else f"{sample.reward:g}",
        "answer": visible(sample.answer or "none found"),
        "finish": visible(sample.finish or ""),
        "tokens": count(sample.tokens),
        "text": visible(sample.head + (f"\n[... {gap:,} characters ...]\n{sample.tail}" if sample.tail else "")),
    }
