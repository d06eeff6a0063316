"""Charts as SVG, drawn here and not in the browser: they are there without JavaScript, in print, and in a notebook.

Every chart is a figure with a title for screen readers, scales itself to its container, and takes its colours from the
page's style sheet, so that light and dark need no second picture. docs/decisions/charts.md says why no library draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40


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


def stacked_bars(title: str, labels: Sequence[str], bars: Sequence[Sequence[Segment]], *, x_title: str) -> str:
    """Bars of segments, bottom to top. labels: one per bar, those that fit are shown."""
    top = max((sum(segment.problems for segment in bar) for bar in bars), default=0) or 1
    ticks = nice_ticks(top)
    top = max(top, ticks[-1])
    step = (WIDTH - LEFT - RIGHT) / max(len(bars), 1)
    gap = min(4.0, step * 0.15)
    parts = [_y_grid(ticks, top, lambda value: f"{value:,.0f}")]
    for number, bar in enumerate(bars):
        x, y = LEFT + number * step + gap / 2, float(HEIGHT - BOTTOM)
        for segment in bar:
            height = segment.problems / top * (HEIGHT - TOP - BOTTOM)
            if height > 0:
                y -= height
                parts.append(
                    f'<rect class="{segment.style}" x="{x:.1f}" y="{y:.1f}" width="{step - gap:.1f}" '
                    f'height="{height:.2f}"><title>{escape(segment.title)}</title></rect>'
                )
    every = max(1, math.ceil(len(bars) * max(map(len, labels), default=1) * 11 / (WIDTH - LEFT - RIGHT)))
    parts += [
        f'<text class="tick" text-anchor="middle" x="{LEFT + (number + 0.5) * step:.1f}" y="{HEIGHT - BOTTOM + 16}">'
        f"{escape(label)}</text>"
        for number, label in enumerate(labels)
        if number % every == 0
    ]
    return _figure(title, parts, x_title)


def lines(title: str, curves: Sequence[Line], *, x_title: str, x_ticks: Sequence[float]) -> str:
    """Curves between 0 and 1 with their intervals as bands, over a logarithmic x axis."""
    low, high = math.log2(min(x_ticks)), math.log2(max(x_ticks))

    def px(value: float) -> float:
        return LEFT + (math.log2(value) - low) / max(high - low, 1e-9) * (WIDTH - LEFT - RIGHT)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    parts = [_y_grid([0, 0.25, 0.5, 0.75, 1.0], 1.0, lambda value: f"{value:.0%}")]
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
            f"<title>{escape(curve.name)}, group of {x:g}: {y:.1%} ({a:.1%} to {b:.1%})</title></circle>"
            for x, y, a, b in zip(curve.x, curve.y, curve.low, curve.high, strict=True)
        ]
    parts += [
        f'<text class="tick" text-anchor="middle" x="{px(value):.1f}" y="{HEIGHT - BOTTOM + 16}">{value:g}</text>'
        for value in x_ticks
    ]
    return _figure(title, parts, x_title)


def share_bar(shares: Mapping[str, tuple[float, str]]) -> str:
    """A thin bar of shares that sum to 1. shares: name -> (share, class)."""
    parts, x = [], 0.0
    for name, (share, style) in shares.items():
        parts.append(
            f'<rect class="{style}" x="{x:.3f}" y="0" width="{share * 100:.3f}" height="8">'
            f"<title>{escape(name)}: {share:.1%}</title></rect>"
        )
        x += share * 100
    return f'<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" role="img">{"".join(parts)}</svg>'


def nice_ticks(top: float) -> list[float]:
    """Four to six round numbers from 0 to `top` or a little more."""
    raw = top / 4
    size = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    step = max(step, 1)
    return [step * number for number in range(math.ceil(top / step) + 1)]


def _y_grid(ticks: Sequence[float], top: float, shown: object) -> str:
    text = shown if callable(shown) else str
    parts = []
    for value in ticks:
        y = HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{text(value)}</text>')
    return "".join(parts)


def _figure(title: str, parts: Sequence[str], x_title: str, height: float = HEIGHT) -> str:
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}"
        f'<text class="axis" text-anchor="middle" x="{middle:.0f}" y="{height - 6}">{escape(x_title)}</text></svg>'
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
    step, left, height = 26, 180, TOP + 26 * len(rows) + BOTTOM
    middle, half = (left + WIDTH - RIGHT) / 2, (WIDTH - RIGHT - left) / 2

    def px(value: float) -> float:
        return middle + value / (reach * 1.05) * half

    parts = []
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x, value = px(tick * reach), tick * reach
        style = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        shown = "0" if tick == 0 else f"{100 * value:+.1f}"
        parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{height - BOTTOM + 16}">{shown}</text>')
    for at, row in enumerate(rows):
        y = TOP + (at + 0.5) * step
        name = row.name if len(row.name) <= 26 else row.name[:25] + "…"
        parts.append(
            f'<text class="tick" text-anchor="end" x="{left - 10}" y="{y + 4:.1f}">{escape(name)}</text>'
            f'<line class="whisker" x1="{px(row.low):.1f}" x2="{px(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot s1" cx="{px(row.value):.1f}" cy="{y:.1f}" r="5"><title>{escape(row.name)}: '
            f"{100 * row.value:+.1f} points ({100 * row.low:+.1f} to {100 * row.high:+.1f})</title></circle>"
        )
    return _figure(title, parts, x_title, height)


def heat_map(title: str, counts: Sequence[Sequence[int]], labels: Sequence[str], *, x_title: str, y_title: str) -> str:
    """Counts by row (upwards) and column as squares, darker for more; the diagonal is outlined."""
    size = len(counts)
    top = max((max(row) for row in counts), default=0) or 1
    left, side = 60, min(34.0, 480 / max(size, 1))
    width, height = left + side * size + 20, TOP + side * size + BOTTOM
    parts = []
    for y, row in enumerate(counts):
        for x, number in enumerate(row):
            px, py = left + x * side, TOP + (size - 1 - y) * side
            shade = math.sqrt(number / top)  # so that a single problem can be seen beside a thousand
            same = " same" if x == y else ""
            parts.append(
                f'<rect class="cell{same}" x="{px:.1f}" y="{py:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}" '
                f'fill-opacity="{shade:.3f}"><title>{escape(labels[y])} then {escape(labels[x])}: {number:,} problems'
                "</title></rect>"
            )
            if number and side >= 22:
                style = "count on-dark" if shade > 0.55 else "count"
                at = f'x="{px + side / 2:.1f}" y="{py + side / 2 + 4:.1f}"'
                parts.append(f'<text class="{style}" text-anchor="middle" {at}>{number}</text>')
    every = max(1, math.ceil(max(map(len, labels), default=1) * 7 / side))
    for number, label in list(enumerate(labels))[::every]:
        across, down = left + (number + 0.5) * side, TOP + (size - 0.5 - number) * side
        below, shown = height - BOTTOM + 14, escape(label)
        parts.append(f'<text class="tick" text-anchor="middle" x="{across:.1f}" y="{below:.1f}">{shown}</text>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 6}" y="{down + 4:.1f}">{shown}</text>')
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(14 {TOP + side * size / 2:.0f}) rotate(-90)">'
        f"{escape(y_title)}</text>"
    )
    middle = left + side * size / 2
    return (
        f'<svg class="chart square" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}"
        f'<text class="axis" text-anchor="middle" x="{middle:.0f}" y="{height - 6:.0f}">{escape(x_title)}</text></svg>'
    )
