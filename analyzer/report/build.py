"""report.html: the view of an analysis, put together in Python and laid out by one template.

The page holds its style sheet, its script, the columns of all problems (gzip, base64) and the texts of some. It asks
nothing of anywhere: its content security policy allows its own script and style by hash, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer.difficulty import informative
from analyzer.difficulty.metrics import informative_groups
from analyzer.difficulty.posterior import posterior, refitted_each
from analyzer.errors import counted
from analyzer.files.outputs import REPORT
from analyzer.report import charts, lengths, panels, texts
from analyzer.report.analysis import WITHOUT_ROLLOUTS, Analysis, Seen
from analyzer.report.charts import Line, Segment
from analyzer.report.harmless import visible
from analyzer.report.texts import ProblemText
from analyzer.schema import DATA_IDX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
_MOST_LEVELS = 64  # passes of n are shown one by one up to this n
# Of the five steps of the style sheet: the hardest and the easiest bucket look the same however many lie between.
_COLOURS = {2: (0, 4), 3: (0, 2, 4), 4: (0, 1, 3, 4), 5: (0, 1, 2, 3, 4)}
_MOST_SOURCES = 6  # data sources with a curve of their own


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
        packing = beside.submit(_packed_texts, texts.read_texts(analysis, numbers))
        view = _view(analysis, seed, server)
        template = layout()
        shown, packed = packing.result()
    view |= {"texts_shown": len(shown), "texts": packed}
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
    passes, scored = analysis.passes
    return str(
        templates()
        .get_template("fragment.html.j2")
        .render(
            style=asset("fragment.css"),
            title=_title(analysis),
            summary=summary,
            warnings=[visible(str(warning)) for warning in summary.get("warnings", [])],
            cards=_cards(analysis, passes, scored),
            hardness=_hardness_chart(analysis, passes, scored, styles),
            buckets=[
                {"name": name, "style": styles[name], "problems": n}
                for name, n in summary["bucket_distribution"].items()
            ],
            outputs=f"Outputs: {analysis.folder}",
        )
    )


def digest(text: str) -> str:
    """What a content security policy calls a script or a style by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def asset(name: str) -> str:
    """A file of the page, as text."""
    return (resources.files("analyzer.report") / "page" / name).read_text(encoding="utf-8")


@functools.cache
def templates() -> Any:
    """The templates of the pages, everything escaped."""
    import jinja2

    # StrictUndefined: a name that is misspelt in a template is an error in the tests and no gap on the page.
    templates = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    templates.filters.update(percent=percent, count=count, visible=visible, date=date, plural=counted)
    return templates


def layout() -> Any:
    """The template of the report; to import jinja2 and compile it takes 70 ms, once."""
    return templates().get_template("report.html.j2")


def percent(share: float | None, digits: int = 1) -> str:
    """A share for a person: 0.12345 -> '12.3 %', nothing measured -> a dash."""
    return "–" if share is None or np.isnan(share) else f"{share * 100:.{digits}f} %"


def count(number: float | None) -> str:
    """A count for a person, thousands apart."""
    return "–" if number is None else f"{number:,.0f}"


def date(iso: object) -> str:
    """A time for a person: '2026-11-30T04:29:26+00:00' -> '2026-11-30 04:29 UTC'; other text as it is."""
    try:
        return datetime.fromisoformat(str(iso)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(iso)


# ---------------------------------------------------------------- the view


def _view(analysis: Analysis, seed: int, server: bool) -> dict[str, Any]:
    """All that the template shows but the texts."""
    summary = analysis.summary
    names = list(summary["bucket_distribution"])
    styles = bucket_styles(names)
    sources, source = analysis.sources
    passes, scored = analysis.passes
    threshold = analysis.threshold
    rollouts = None
    if analysis.rollouts is not None:
        rollouts = lengths.count_rollouts(analysis.rollouts, threshold)
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
        "cards": _cards(analysis, passes, scored),
        "hardness": _hardness_chart(analysis, passes, scored, styles),
        "dead": _dead(passes, scored),
        "remarks": [visible(str(remark)) for remark in (summary.get("difficulty") or {}).get("remarks", [])],
        "informative": _informative_chart(analysis, sources, source, seed),
        "sources": _source_rows(analysis, sources, source, passes, scored),
        "length_chart": _length_chart(rollouts),
        "deciles": lengths.deciles(rollouts) if rollouts else [],
        "values_chart": _values_chart(rollouts),
        "stability": summary.get("stability"),
        "flags": _flag_rows(analysis),
        "flagged": panels.flagged_answers(summary),
        "audit": panels.audit_lines(summary),
        "moves": panels.move_rows(summary.get("stability"), [name for name in names if name != "unscored"]),
        "styles": styles,
        "cut_by_bucket": panels.cut_by_bucket(analysis, names),
        "parts": parts,
        "parts_chart": panels.parts_chart(parts),
        "decile_chart": _decile_chart(rollouts),
        "difficulty": summary.get("difficulty") or {},
        "texts_per_problem": texts.PER_PROBLEM,
        "absent": WITHOUT_ROLLOUTS if analysis.rollouts is None else "",
        "settings": _settings(summary),
        "columns": _packed_columns(analysis, passes, scored, names, source),
        "meta": _meta(analysis, names, styles, sources, server),
    }


def _title(analysis: Analysis) -> str:
    paths = analysis.provenance.get("rollouts") or [analysis.folder.resolve().name]
    first = os.path.basename(str(paths[0]).rstrip("/")) or "analysis"
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def bucket_styles(names: Sequence[str]) -> dict[str, str]:
    """A class of the style sheet for each bucket, hardest first; colours that colour-blind readers can tell apart."""
    ordered = [name for name in names if name != "unscored"]
    places = _COLOURS.get(len(ordered), tuple(min(at, 4) for at in range(len(ordered))))
    return {name: f"b{place}" for name, place in zip(ordered, places, strict=False)} | {"unscored": "bx"}


def _dead(passes: IntArray, scored: IntArray) -> dict[str, float]:
    total = max(int((scored > 0).sum()), 1)
    never, always = int(((passes == 0) & (scored > 0)).sum()), int(((passes == scored) & (scored > 0)).sum())
    return {"never": never, "always": always, "share": (never + always) / total}


def _cards(analysis: Analysis, passes: IntArray, scored: IntArray) -> list[Card]:
    summary = analysis.summary
    overall = summary["overall_metrics"]
    dead = _dead(passes, scored)
    cards = [
        Card(percent(overall["mean_pass_rate"]), "mean pass rate", f"mean reward {overall['mean_reward'] or 0:.3f}"),
        Card(
            percent(dead["share"]),
            "of the problems teach nothing",
            f"{count(dead['never'])} never, {count(dead['always'])} always solved",
        ),
    ]
    group = (summary.get("difficulty") or {}).get("informative", {}).get("8")
    if group:
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


# ---------------------------------------------------------------- charts


def _hardness_chart(analysis: Analysis, passes: IntArray, scored: IntArray, styles: dict[str, str]) -> str:
    """Problems by passes of n, coloured by bucket: exact levels where n is common and small, else bins of the rate.

    Whiskers: the fewest and the most problems that a bar could have, had rollouts without a reward been scored.
    """
    names, bucket = analysis.coded("bucket")
    there = scored > 0
    samples = analysis.column("num_samples").astype(np.int64)
    sizes = np.unique(samples[there])
    exact = len(sizes) == 1 and sizes[0] <= _MOST_LEVELS
    if exact:
        labels = [str(value) for value in range(int(sizes[0]) + 1)]
        x_title = f"passes of {sizes[0]} samples"
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
        sure = np.bincount(lowest[lowest == highest], minlength=len(labels))
        # Each problem counts from its lowest level to its highest: +1 where it begins, -1 after its end, and the sum.
        edges = np.bincount(lowest, minlength=len(labels) + 1) - np.bincount(highest + 1, minlength=len(labels) + 1)
        whiskers = list(zip(sure.tolist(), np.cumsum(edges[:-1]).tolist(), strict=True))
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


def _informative_chart(analysis: Analysis, sources: list[str], source: IntArray, seed: int) -> str:
    """The share of informative groups against the group size, of all problems and of each larger data source."""
    passes, scored = analysis.passes
    there = scored > 0
    if there.sum() < 2:  # how rates spread is not known from one problem
        return ""
    kinds = [("all problems", there, "s0")]
    if len(sources) > 1:
        largest = np.argsort(-np.bincount(source[there], minlength=len(sources)), kind="stable")[:_MOST_SOURCES]
        kinds += [(sources[at], there & (source == at), f"s{n + 1}") for n, at in enumerate(largest.tolist())]
    graded = None
    if not analysis.reward_is_pass_rate:  # groups may differ in more than pass and fail, as the summary counts them
        codes, rewards, _ = analysis.rewards()
        graded = informative_groups(codes, rewards, len(passes), GROUP_SIZES)
    kinds = [kind for kind in kinds if kind[1].sum() >= 2]
    posteriors = [posterior(passes[chosen], scored[chosen]) for _, chosen, _ in kinds]
    refits = refitted_each([found.classes for found in posteriors], seed)
    curves = []
    for (name, chosen, style), found, refitted in zip(kinds, posteriors, refits, strict=True):
        of_chosen = None if graded is None else {group: values[chosen] for group, values in graded.items()}
        shares = informative.shares(GROUP_SIZES, found, refitted, of_chosen).values()
        y, low, high = zip(*shares, strict=True)
        curves.append(Line(name, GROUP_SIZES, y, low, high, style))
    legend = "".join(f'<span class="key {curve.style}">{escape(visible(curve.name))}</span>' for curve in curves)
    chart = charts.lines("Informative groups by group size", curves, x_title="group size G", x_ticks=GROUP_SIZES)
    return chart if len(curves) == 1 else f'{chart}<p class="legend">{legend}</p>'


def _length_chart(rollouts: lengths.Rollouts | None) -> str:
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


def _decile_chart(rollouts: lengths.Rollouts | None) -> str:
    """Pass rate by length, a bar per tenth of the rollouts."""
    if rollouts is None or not rollouts.tokens_known:
        return ""
    tenths = lengths.deciles(rollouts)
    if len(tenths) < 2:
        return ""
    labels = [f"{tenth.shortest:,}–{tenth.longest:,}" for tenth in tenths]
    bars = [
        [Segment(100 * tenth.pass_rate, "right", f"{label} tokens: {tenth.pass_rate:.1%} of {tenth.rollouts:,} pass")]
        for label, tenth in zip(labels, tenths, strict=True)
    ]
    return charts.stacked_bars(
        "Pass rate by length",
        labels,
        bars,
        x_title="tokens of the response, a bar for each tenth of the rollouts",
        unit=" %",
    )


def _values_chart(rollouts: lengths.Rollouts | None) -> str:
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


# ---------------------------------------------------------------- tables


def _source_rows(
    analysis: Analysis, sources: list[str], source: IntArray, passes: IntArray, scored: IntArray
) -> list[dict[str, Any]]:
    reports = analysis.summary.get("data_sources") or {}
    by_source = (analysis.summary.get("difficulty") or {}).get("data_sources", {})
    cut = analysis.column("truncated").astype(np.float64)
    samples = analysis.column("num_samples").astype(np.int64)
    tokens = panels.tokens_by_source(analysis.rollouts) if analysis.rollouts is not None else {}
    overall = analysis.summary.get("response_tokens") or {}
    rows = []
    for at, name in enumerate(sources):
        member = (source == at) & (scored > 0)
        problems = int(member.sum())
        if not problems and len(sources) > 1:
            continue
        rate = passes[member] / scored[member]
        # Where the summary has no interval of the data source, the usual 90 % one of a mean.
        spread = 1.645 * float(rate.std(ddof=1)) / problems**0.5 if problems > 1 else float("nan")
        middle, long = tokens.get(
            name, (overall.get("median"), overall.get("p95")) if len(sources) == 1 else (None, None)
        )
        interval = by_source.get(name, {})
        rows.append(
            {
                "name": visible(name) or "(all)",
                "reward": reports.get(name, {}).get("reward", "from the input"),
                "problems": int((source == at).sum()),
                "rate": float(rate.mean()) if problems else None,
                "low": interval.get("low", max(float(rate.mean()) - spread, 0.0)) if problems else None,
                "high": interval.get("high", min(float(rate.mean()) + spread, 1.0)) if problems else None,
                "never": float((passes[member] == 0).mean()) if problems else None,
                "always": float((passes[member] == scored[member]).mean()) if problems else None,
                "found": reports.get(name, {}).get("answer_found"),
                "cut": float(cut[member].sum() / max(samples[member].sum(), 1)),
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
            {"name": name, "problems": len(where), "ids": [visible(one) for one in first], "what": _FLAGS.get(name, "")}
        )
    return rows


_FLAGS = {
    "gold_unearnable": "the ground truth, given as the answer, does not score full marks: mend or drop them",
    "suspect_gold": "the samples agree on another answer: the ground truth may be wrong",
    "cut_off": "never solved, and half or more of the responses were cut off at the token limit",
    "no_answer": "never solved, and no answer was found in half or more of the responses",
}


def _settings(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, orjson.dumps(value, default=str).decode()) for name, value in summary.get("settings", {}).items()]
    return rows + [(f"version of {name}", str(version)) for name, version in summary.get("versions", {}).items()]


# ---------------------------------------------------------------- what the script reads


def _packed_columns(
    analysis: Analysis, passes: IntArray, scored: IntArray, names: Sequence[str], source: IntArray
) -> str:
    """The columns of all problems, one after the other as little-endian numbers, then the ids.

    Of a number first the low bytes of all problems, then the next, which compresses better. Ids that are integers are
    their differences, others JSON; mean rewards that are the pass rates are not repeated (`_meta` says which it is).
    """
    in_buckets, bucket = analysis.coded("bucket")
    # Codes by the tables that the script has too, not by the order in which names happen to appear.
    known = ["", *_FLAGS]
    flags, flag = analysis.coded("flag")
    place = np.array([list(names).index(name) for name in in_buckets], dtype="<u1")
    shown = np.array([known.index(name) if name in known else 0 for name in flags] or [0], dtype="<u1")
    # As few bytes as hold what is usual: 600,000 problems are some megabytes of a page
    # that people send each other.
    # More rollouts than two bytes count are shown as that many, at the same pass rate.
    scale = np.maximum(scored / 65535, 1)
    # Made one after the other: all of them twice would be most of the memory of a report.
    parts: list[Callable[[], NDArray[Any]]] = [
        lambda: np.rint(passes / scale).astype("<u2"),
        lambda: np.rint(scored / scale).astype("<u2"),
        lambda: source.astype("<u2"),
        lambda: place[bucket],
        lambda: shown[flag],
        lambda: np.nan_to_num(analysis.column("tokens_mean", 0.0).astype(np.float64)).astype("<u4"),
        lambda: np.minimum(analysis.column("truncated").astype(np.float64), 65535).astype("<u2"),
        lambda: np.minimum(analysis.column("num_samples"), 65535).astype("<u2"),
    ]
    if not analysis.reward_is_pass_rate:
        parts.append(
            lambda: np.nan_to_num(analysis.column("mean_reward", np.nan).astype(np.float64), nan=-1e9).astype("<f4")
        )
    if analysis.statuses[0]:
        parts.append(lambda: analysis.statuses[1].astype("<u2"))
    data = bytearray()
    for part in parts:
        data += _planes(part())
    steps = _id_steps(analysis)
    data += orjson.dumps(analysis.problems[DATA_IDX].to_pylist(), default=str) if steps is None else _planes(steps)
    return _packed(data)


def _planes(values: NDArray[Any]) -> bytes:
    """The low bytes of all numbers, then the next: (problems,) numbers of some bytes each."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _id_steps(analysis: Analysis) -> NDArray[Any] | None:
    """Integer ids as differences, (problems,), the first from 0; None where they are not integers of 31 bits."""
    import pyarrow as pa

    column = analysis.problems[DATA_IDX]
    if not pa.types.is_integer(column.type) or column.null_count:
        return None
    ids = column.to_numpy()
    steps = np.diff(ids.astype(np.int64), prepend=0)
    return steps.astype("<i4") if ids.astype(np.int64).max(initial=0) < 1 << 31 and (ids >= 0).all() else None


def _packed_texts(shown: list[ProblemText]) -> tuple[list[ProblemText], str]:
    """The texts, shortened until they fit the budget packed: text that does not compress takes more than was read."""
    while True:
        packed = _packed(
            orjson.dumps([text._asdict() | {"samples": [s._asdict() for s in text.samples]} for text in shown])
        )
        if len(packed) <= texts.BUDGET:
            return shown, packed
        less = [texts.shorter(text, 0.9 * texts.BUDGET / len(packed)) for text in shown]
        if less == shown:  # nothing is left to shorten: fewer problems
            less = shown[: len(shown) // 2]
        shown = less


def _packed(data: bytes | bytearray) -> str:
    # gzip, since browsers unpack it themselves (DecompressionStream); no time in it, so that equal data is equal text.
    # Level 5 takes 60 % of the time of level 6 for 2 % more bytes.
    return base64.b64encode(gzip.compress(data, 5, mtime=0)).decode()


def _meta(
    analysis: Analysis, names: Sequence[str], styles: dict[str, str], sources: Sequence[str], server: bool
) -> str:
    """What the script needs to know, as JSON in the page."""
    from analyzer.selection.recipes import RECIPES

    meta = {
        "problems": analysis.problems.num_rows,
        "buckets": list(names),
        "styles": [styles[name] for name in names],
        "flags": ["", *_FLAGS],
        "sources": [visible(name) for name in sources],
        "statuses": analysis.statuses[0],
        "predicted": _predicted(analysis),
        "command": f"python scripts/select_problems.py --analysis {shlex.quote(_shown_folder(analysis))}",
        "viewer": f"python scripts/view_analysis.py --analysis {shlex.quote(_shown_folder(analysis))}",
        "recipes": [
            {"name": recipe.name, "where": recipe.where, "source": recipe.reference}
            for recipe in RECIPES
            if recipe.where
        ],
        "server": server,
        "reward_is_rate": analysis.reward_is_pass_rate,
        "integer_ids": _id_steps(analysis) is not None,
    }
    return base64.b64encode(orjson.dumps(meta)).decode()


def _predicted(analysis: Analysis) -> dict[str, float]:
    """The chance that a group of 8 both passes and fails, by "passes,scored", of problems with fewer samples."""
    passes, scored = analysis.passes
    few = (scored > 0) & (scored < 8)
    chances = analysis.column("informative@8", np.nan).astype(np.float64)
    return {
        f"{k},{n}": round(float(np.nan_to_num(chances[few & (passes == k) & (scored == n)].mean())), 4)
        for k, n in sorted(set(zip(passes[few].tolist(), scored[few].tolist(), strict=True)))
    }


def _shown_folder(analysis: Analysis) -> str:
    return str(analysis.provenance.get("settings", {}).get("output_dir") or analysis.folder)
