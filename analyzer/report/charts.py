"""Charts as SVG, drawn here and not in the browser: they are there without JavaScript, in print, and in a notebook.

Every chart is a figure with a title for screen readers, scales itself to its container, and takes its colours from the
page's style sheet, so that light and dark need no second picture. docs/decisions/charts.md says why no library draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from analyzer.errors import counted, percentage

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 30
_CHARACTER, _CHARACTER_ON_A_PHONE = 7, 12  # widths in units of the picture: the style sheet writes larger on a phone


class Segment(NamedTuple):
    """A part of a stacked bar."""

    problems: float  # or rollouts: the height
    style: str  # a class of the style sheet
    title: str  # shown when the pointer rests on it


class Line(NamedTuple):
    """A curve with its interval."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    style: str


def stacked_bars(
    title: str,
    labels: Sequence[str],
    bars: Sequence[Sequence[Segment]],
    *,
    x_title: str,
    whiskers: Sequence[tuple[float, float]] = (),
    unit: str = "",
) -> str:
    """Bars of segments, bottom to top. labels: one per bar, those that fit are shown.

    whiskers: the lowest and highest that each bar could be; none is drawn where they are the same. unit: of the scale.
    """
    reach = [sum(segment.problems for segment in bar) for bar in bars] + [high for _, high in whiskers]
    ticks = nice_ticks(max(reach, default=0) or 1)
    top = ticks[-1]
    shown = [f"{tick:,.0f}{unit}" for tick in ticks]
    left = max(LEFT, 8 + 10 * max(map(len, shown)))
    step = (WIDTH - left - RIGHT) / max(len(bars), 1)
    gap = min(4.0, step * 0.15)
    parts = [_y_grid(ticks, shown, left)]
    # Bars as rectangles, one on the other; y of a picture grows downwards.
    for number, bar in enumerate(bars):
        x, y = left + number * step + gap / 2, float(HEIGHT - BOTTOM)
        for segment in bar:
            height = segment.problems / top * (HEIGHT - TOP - BOTTOM)
            if height > 0:
                y -= height
                parts.append(
                    f'<rect class="{segment.style}" x="{x:.1f}" y="{y:.1f}" width="{step - gap:.1f}" '
                    f'height="{height:.2f}"><title>{escape(segment.title)}</title></rect>'
                )
    for number, (low, high) in enumerate(whiskers):
        if high > low:
            x = left + (number + 0.5) * step
            y_low, y_high = (HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM) for value in (low, high))
            parts.append(
                f'<path class="reach" d="M{x - 4:.1f} {y_high:.1f}h8m-4 0V{y_low:.1f}m-4 0h8">'
                f"<title>{escape(labels[number])}: {low:,.0f} to {high:,.0f}</title></path>"
            )
    return _figure(title, [*parts, *_bar_labels(labels, left, step)], x_title)


def _bar_labels(labels: Sequence[str], left: float, step: float) -> list[str]:
    """The labels below bars of that width, as many as have room."""
    # On a phone the text is larger against the picture, so fewer labels have room there.
    longest = max(map(len, labels), default=1) + 1
    every = max(1, math.ceil(longest * _CHARACTER / step))
    on_a_phone = every * max(1, math.ceil(longest * _CHARACTER_ON_A_PHONE / step / every))
    return [
        f'<text class="tick{" roomy" if number % on_a_phone else ""}" text-anchor="middle" '
        f'x="{left + (number + 0.5) * step:.1f}" y="{HEIGHT - BOTTOM + 21}">{escape(label)}</text>'
        for number, label in enumerate(labels)
        if number % every == 0
    ]


def lines(title: str, curves: Sequence[Line], *, x_title: str, x_ticks: Sequence[float]) -> str:
    """Curves between 0 and 1 with their intervals as bands, over a logarithmic x axis."""
    left = LEFT + 10  # room for "100 %" on a phone
    # Group sizes double: on a linear axis the small ones, which most people use, would stand on top of each other.
    low, high = math.log2(min(x_ticks)), math.log2(max(x_ticks))

    def px(value: float) -> float:
        return left + (math.log2(value) - low) / max(high - low, 1e-9) * (WIDTH - left - RIGHT)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    parts = [_y_grid([0, 0.25, 0.5, 0.75, 1.0], ["0 %", "25 %", "50 %", "75 %", "100 %"], left)]
    for curve in curves:
        edge = [*zip(curve.x, curve.high, strict=True), *reversed(list(zip(curve.x, curve.low, strict=True)))]
        band = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in edge)
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
        parts.append(f'<polygon class="band {curve.style}" points="{band}"/>')
        parts.append(
            f'<polyline class="line {curve.style}" points="{path}"><title>{escape(curve.name)}</title></polyline>'
        )
        parts += [
            f'<circle class="dot {curve.style}" cx="{px(x):.1f}" cy="{py(y):.1f}" r="3.5">'
            f"<title>{escape(curve.name)}, group of {x:g}: {percentage(y, 1)} ({percentage(a, 1)} to "
            f"{percentage(b, 1)})</title></circle>"
            for x, y, a, b in zip(curve.x, curve.y, curve.low, curve.high, strict=True)
        ]
    parts += [
        f'<text class="tick" text-anchor="middle" x="{px(value):.1f}" y="{HEIGHT - BOTTOM + 21}">{value:g}</text>'
        for value in x_ticks
    ]
    return _figure(title, parts, x_title)


def nice_ticks(top: float) -> list[float]:
    """Four to six round numbers from 0 to `top` or a little more."""
    raw = top / 4
    size = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    step = max(step, 1)  # what is counted is whole
    return [step * number for number in range(math.ceil(top / step) + 1)]


def _y_grid(ticks: Sequence[float], shown: Sequence[str], left: float) -> str:
    parts = []
    for value, text in zip(ticks, shown, strict=True):
        y = HEIGHT - BOTTOM - value / ticks[-1] * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 6}" y="{y + 4:.1f}">{text}</text>')
    return "".join(parts)


def _figure(title: str, parts: Sequence[str], x_title: str, height: float = HEIGHT) -> str:
    # The title of the axis is text of the page, which wraps and keeps its size on a phone.
    return (
        f'<figure><svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg><figcaption>{escape(x_title)}</figcaption></figure>"
    )


class Interval(NamedTuple):
    """A value with its interval, one row of a forest plot."""

    name: str
    value: float
    low: float
    high: float


def intervals(title: str, rows: Sequence[Interval], *, x_title: str) -> str:
    """Values with their intervals, one below the other, around a line at 0."""
    reach = max((abs(edge) for row in rows for edge in (row.low, row.high, row.value)), default=0) or 0.01
    step, left, height = 40, 8, TOP + 40 * len(rows) + BOTTOM
    middle, half = (left + WIDTH - RIGHT) / 2, (WIDTH - RIGHT - left) / 2

    def px(value: float) -> float:
        return middle + value / (reach * 1.1) * half  # 1.1: the outermost dot is not cut in half by the edge

    parts = []
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x, value = px(tick * reach), tick * reach
        style = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{height - BOTTOM + 21}">{points(value)}</text>'
        )
    for at, row in enumerate(rows):
        y = TOP + (at + 0.7) * step
        name = row.name if len(row.name) <= 48 else row.name[:47] + "…"
        parts.append(
            f'<text class="tick" x="{left}" y="{y - 11:.1f}">{escape(name)}</text>'
            f'<line class="whisker" x1="{px(row.low):.1f}" x2="{px(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot s1" cx="{px(row.value):.1f}" cy="{y:.1f}" r="5"><title>{escape(row.name)}: '
            f"{points(row.value)} points ({points(row.low)} to {points(row.high)})</title></circle>"
        )
    return _figure(title, parts, x_title, height)


class Pair(NamedTuple):
    """A value of the rollouts that pass and one of the others, one row of a dot plot; NaN where there are none."""

    name: str
    right: float
    wrong: float


def pairs(title: str, rows: Sequence[Pair], *, x_title: str) -> str:
    """Two dots a row, joined by a line, over a scale that holds 0."""
    values = [value for row in rows for value in (row.right, row.wrong) if not math.isnan(value)]
    # With 0 in the scale the length of a bar can be compared with that of another.
    low, high = min([0.0, *values]), max([0.0, *values])
    high = high if high > low else low + 1
    step, left, height = 40, 24, TOP + 40 * len(rows) + BOTTOM

    def px(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - 2 * left)

    parts = []
    for tick in sorted({low, (low + high) / 2, high, 0.0}):
        style = "zero" if tick == 0 else "grid"
        x = px(tick)
        parts.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        if tick == 0 or abs(x - px(0)) > 60:
            parts.append(
                f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{height - BOTTOM + 21}">{tick:.3g}</text>'
            )
    for at, row in enumerate(rows):
        y = TOP + (at + 0.7) * step
        name = row.name if len(row.name) <= 48 else row.name[:47] + "…"
        parts.append(f'<text class="tick" x="0" y="{y - 11:.1f}">{escape(name)}</text>')
        if not math.isnan(row.right + row.wrong):
            x1, x2 = px(row.right), px(row.wrong)
            parts.append(f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts += [
            f'<circle class="{style}" cx="{px(value):.1f}" cy="{y:.1f}" r="5"><title>{escape(row.name)}: {value:.4g}'
            "</title></circle>"
            for value, style in ((row.wrong, "wrong"), (row.right, "right"))
            if not math.isnan(value)
        ]
    return _figure(title, parts, x_title, height)


def points(share: float | None) -> str:
    """A change for a person, in points and with a true minus: 0.0123 -> '+1.2', -0.0004 -> '0.0'."""
    if share is None:
        return "–"
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def heat_map(title: str, counts: Sequence[Sequence[int]], labels: Sequence[str], *, x_title: str, y_title: str) -> str:
    """Counts by row (upwards) and column as squares, darker for more; the diagonal is outlined."""
    size = len(counts)
    top = max((max(row) for row in counts), default=0) or 1
    left, side = 48, min(34.0, 480 / max(size, 1))
    width, height = left + side * size + 20, TOP + side * size + BOTTOM
    parts = []
    for y, row in enumerate(counts):
        for x, number in enumerate(row):
            px, py = left + x * side, TOP + (size - 1 - y) * side
            shade = math.sqrt(number / top)  # so that a single problem can be seen beside a thousand
            same = " same" if x == y else ""
            parts.append(
                f'<rect class="cell{same}" x="{px:.1f}" y="{py:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}" '
                f'fill-opacity="{shade:.3f}"><title>{escape(labels[y])} then {escape(labels[x])}: '
                f"{counted(number, 'problem')}</title></rect>"
            )
            if number and side >= 22:
                style = "count on-dark" if shade > 0.55 else "count"
                at = f'x="{px + side / 2:.1f}" y="{py + side / 2 + 4:.1f}"'
                parts.append(f'<text class="{style}" text-anchor="middle" {at}>{number}</text>')
    every = max(1, math.ceil(max(map(len, labels), default=1) * 7 / side))
    for number, label in list(enumerate(labels))[::every]:
        across, down = left + (number + 0.5) * side, TOP + (size - 0.5 - number) * side
        below, shown = height - BOTTOM + 16, escape(label)
        parts.append(f'<text class="tick" text-anchor="middle" x="{across:.1f}" y="{below:.1f}">{shown}</text>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 6}" y="{down + 4:.1f}">{shown}</text>')
    return (
        f'<figure><svg class="chart square" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
        f"<figcaption>across: {escape(x_title)}; up: {escape(y_title)}</figcaption></figure>"
    )
