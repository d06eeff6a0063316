"""report.html: the view of an analysis, put together in Python and laid out by one template.

The page holds its style sheet, its script, the columns of all problems (gzip, base64) and the texts of some. It asks
nothing of anywhere: its content security policy allows its own script and style by hash, and nothing else.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from analyzer.difficulty.intervals import mean_rate
from analyzer.files.outputs import REPORT
from analyzer.report import figures, lengths, packed, panels, texts
from analyzer.report.analysis import WITHOUT_ROLLOUTS, Analysis, Seen
from analyzer.report.harmless import visible
from analyzer.report.templating import asset, bucket_styles, count, digest, layout, percent, templates
from analyzer.schema import DATA_IDX


class Card(NamedTuple):
    """One number at the top of the page."""

    value: str
    label: str
    note: str


def write_report(
    folder: str | os.PathLike[str],
    *,
    target: str | os.PathLike[str] | None = None,
    seed: int = 42,
    seen: Seen | None = None,
) -> Path:
    """Write the report of an output folder; returns its path, report.html in the folder unless `target` is given.

    seen: the rollouts of the analysis, where its folder does not hold them. Raises InputError where the folder holds no
    analysis.
    """
    analysis = Analysis(Path(folder), seen)
    path = Path(target) if target is not None else analysis.folder / REPORT
    # A lone surrogate in a response cannot be written as UTF-8, and must not cost the page.
    path.write_text(render(analysis, seed), encoding="utf-8", errors="replace")
    return path


def render(analysis: Analysis, seed: int = 42, *, server: bool = False) -> str:
    """The page as HTML. server: texts are fetched from the viewer's server instead of being in the page."""
    # The viewer's server has all texts, and sends those that are looked at.
    numbers = np.zeros(0, np.int64) if server else texts.choose_problems(analysis, seed)
    with ThreadPoolExecutor(1) as beside:
        # zlib and arrow let other threads run: compressing takes as long as all charts and tables.
        packing = beside.submit(packed.fitting_texts, texts.read_texts(analysis, numbers))
        view = _view(analysis, seed, server)
        template = layout()
        shown, packed_texts = packing.result()
    view |= {"texts_shown": len(shown), "texts": packed_texts}
    script, style = asset("report.js"), asset("report.css")
    connect = "connect-src 'self'; " if server else ""
    # By hash, and no 'unsafe-inline': the page holds texts of a model, and a script in one of them must not run.
    policy = (
        f"default-src 'none'; {connect}script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return str(template.render(view, policy=policy, script=script, style=style))


def fragment(folder: str | os.PathLike[str]) -> str:
    """The top of the page as HTML for a notebook: warnings, the numbers that matter, problems by passes."""
    analysis = Analysis(Path(folder))
    summary = analysis.summary
    styles = bucket_styles(list(summary["bucket_distribution"]))
    return str(
        templates()
        .get_template("fragment.html.j2")
        .render(
            style=asset("fragment.css"),
            title=_title(analysis),
            summary=summary,
            warnings=[visible(str(warning)) for warning in summary.get("warnings", [])],
            cards=_cards(analysis),
            hardness=figures.hardness_chart(analysis, styles),
            buckets=[
                {"name": name, "style": styles[name], "problems": n}
                for name, n in summary["bucket_distribution"].items()
            ],
            outputs=f"Outputs: {analysis.folder}",
        )
    )


# ---------------------------------------------------------------- the view


def _view(analysis: Analysis, seed: int, server: bool) -> dict[str, Any]:
    """All that the template shows but the texts."""
    summary = analysis.summary
    names = list(summary["bucket_distribution"])
    styles = bucket_styles(names)
    threshold = analysis.threshold
    rollouts = None
    if analysis.rollouts is not None:
        rollouts = lengths.count_rollouts(analysis.rollouts, threshold)
    rules = packed.Rules.of(analysis)
    parts = []
    if analysis.rollouts is not None:
        parts = panels.weighted(panels.parts(analysis.rollouts, threshold), summary)
    return {
        "title": _title(analysis),
        "server": server,
        "summary": summary,
        "provenance": analysis.provenance,
        "warnings": [visible(str(warning)) for warning in summary.get("warnings", [])],
        "buckets": [
            {"name": name, "style": styles[name], "problems": n} for name, n in summary["bucket_distribution"].items()
        ],
        "cards": _cards(analysis),
        "hardness": figures.hardness_chart(analysis, styles),
        "dead": _dead(analysis),
        "scored": int((analysis.passes[1] > 0).sum()),
        "remarks": [visible(str(remark)) for remark in (summary.get("difficulty") or {}).get("remarks", [])],
        "informative": figures.informative_chart(analysis, seed),
        "sources": _source_rows(analysis),
        "length_chart": figures.length_chart(rollouts),
        "deciles": lengths.deciles(rollouts) if rollouts else [],
        "values_chart": figures.values_chart(rollouts),
        "stability": summary.get("stability"),
        "flags": _flag_rows(analysis),
        "flagged": panels.flagged_answers(summary),
        "audit": panels.audit_lines(summary),
        "moves": panels.move_rows(summary.get("stability"), [name for name in names if name != "unscored"]),
        "styles": styles,
        "cut_by_bucket": panels.cut_by_bucket(analysis, names),
        "parts": parts,
        "parts_chart": panels.parts_chart(parts),
        "decile_chart": figures.decile_chart(rollouts),
        "difficulty": summary.get("difficulty") or {},
        "texts_per_problem": texts.PER_PROBLEM,
        "absent": WITHOUT_ROLLOUTS if analysis.rollouts is None else "",
        "settings": _settings(summary),
        "columns": packed.columns(analysis, names, rules),
        "meta": packed.meta(analysis, names, styles, rules, server=server),
    }


def _title(analysis: Analysis) -> str:
    paths = analysis.provenance.get("rollouts") or [analysis.folder.resolve().name]
    first = os.path.basename(str(paths[0]).rstrip("/")) or "analysis"
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _dead(analysis: Analysis) -> dict[str, float]:
    """Problems never and always solved, and the share of those that have equal rewards only (NaN: none is scored).

    The share is not the other two: graded rewards of a problem that is never solved can differ, and have a gradient.
    """
    passes, scored = analysis.passes
    there = scored > 0
    never, always = there & (passes == 0), there & (passes == scored)
    equal = never | always
    if {"min_reward", "max_reward"} <= set(analysis.problems.column_names):
        equal = there & (analysis.column("min_reward", np.nan) == analysis.column("max_reward", np.nan))
    total = int(there.sum())
    return {
        "never": int(never.sum()),
        "always": int(always.sum()),
        # One sample is always equal.
        "share": int(equal.sum()) / total if total and np.median(scored[there]) >= 2 else np.nan,
    }


def _cards(analysis: Analysis) -> list[Card]:
    summary = analysis.summary
    overall = summary["overall_metrics"]
    dead = _dead(analysis)
    mean_reward = overall["mean_reward"]
    cards = [
        Card(
            percent(overall["mean_pass_rate"]),
            "mean pass rate",
            "no problem is scored" if mean_reward is None else f"mean reward {mean_reward:.3f}",
        ),
        Card(
            percent(dead["share"]),
            "of the problems have equal rewards only",
            f"no signal in these samples; {count(dead['never'])} never, {count(dead['always'])} always solved",
        ),
    ]
    group = (summary.get("difficulty") or {}).get("informative", {}).get("8")
    if group and group["share"] is not None:
        cards.append(
            Card(
                percent(group["share"]),
                "informative groups at G = 8",
                f"90 % interval {percent(group['low'])} to {percent(group['high'])}",
            )
        )
    stable = summary.get("stability")
    if stable and stable.get("same_bucket") is not None:
        near = stable.get("same_or_next_bucket")
        cards.append(
            Card(
                percent(stable["same_bucket"], 0),
                "would keep their bucket if sampled again",
                f"{percent(near, 0)} the same or the next",
            )
        )
    statuses = summary.get("reward_status", {})
    unscored = sum(statuses.values()) - statuses.get("ok", 0)
    cards.append(
        Card(
            count(unscored),
            "rollouts without a reward",
            ", ".join(f"{name} {n:,}" for name, n in statuses.items() if name != "ok") or "all are scored",
        )
    )
    return cards


# ---------------------------------------------------------------- tables


def _source_rows(analysis: Analysis) -> list[dict[str, Any]]:
    sources, source = analysis.sources
    passes, scored = analysis.passes
    reports = analysis.summary.get("data_sources") or {}
    cut = analysis.column("truncated").astype(np.float64)
    unknown = analysis.summary.get("truncated") is None and not cut.any()
    samples = analysis.column("num_samples").astype(np.int64)
    tokens = panels.tokens_by_source(analysis.rollouts) if analysis.rollouts is not None else {}
    overall = analysis.summary.get("response_tokens") or {}
    rows = []
    for at, name in enumerate(sources):
        member = (source == at) & (scored > 0)
        problems = int(member.sum())
        if len(sources) > 1 and not (source == at).any():
            continue
        rate = passes[member] / scored[member]
        mean = mean_rate(rate, scored[member])
        middle, long = tokens.get(
            name, (overall.get("median"), overall.get("p95")) if len(sources) == 1 else (None, None)
        )
        rows.append(
            {
                "name": visible(name) or "(all)",
                "reward": reports.get(name, {}).get("reward", "from the input"),
                "problems": int((source == at).sum()),
                "rate": float(rate.mean()) if problems else None,
                "low": mean.low,
                "high": mean.high,
                "never": float((passes[member] == 0).mean()) if problems else None,
                "always": float((passes[member] == scored[member]).mean()) if problems else None,
                "found": reports.get(name, {}).get("answer_found"),
                # Without finish_reason or max_tokens nobody knows: that is not 0.
                "cut": None if unknown else float(cut[member].sum() / max(samples[member].sum(), 1)),
                "unscored": int((samples - scored)[source == at].sum()),
                "p50": middle,
                "p95": long,
            }
        )
    return rows


def _flag_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """How many problems have each flag, with the ids of the first few."""
    names, flag = analysis.coded("flag")
    ids = analysis.problems[DATA_IDX]
    rows = []
    for name in filter(None, names):
        where = np.flatnonzero(flag == names.index(name))
        first = [str(ids[int(at)].as_py()) for at in where[:20]]
        rows.append(
            {
                "name": name,
                "problems": len(where),
                "ids": [visible(one) for one in first],
                "what": packed.FLAGS.get(name, ""),
            }
        )
    return rows


def _settings(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, orjson.dumps(value, default=str).decode()) for name, value in summary.get("settings", {}).items()]
    return rows + [(f"version of {name}", str(version)) for name, version in summary.get("versions", {}).items()]
