"""The table of results, and the machine and the circumstances they were measured in."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import inputs
import psutil
from bench import Row, Settings

LIBRARIES = ("pyarrow", "gigatoken", "transformers", "math-verify", "numpy")
HEADS = (
    "measure",
    "whole command",
    "start taken off",
    "first bar",
    "goal",
    "reached",
    "rounds",
    "by CPU time",
    "in detail",
)
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def machine(cores: int) -> list[str]:
    """What it was measured on, and how busy that was at the start."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return [
        f"{_processor()}, {cores} of {os.cpu_count()} cores used by both sides, "
        f"{psutil.virtual_memory().total / 1e9:.0f} GB of memory",
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}, {versions}",
        f"load average at the start {os.getloadavg()[0]:.1f}" + (" (busy)" if os.getloadavg()[0] > 0.5 else ""),
    ]


def circumstances(settings: Settings, failed: Sequence[str]) -> list[str]:
    """How it was measured, and what could not be."""
    found = ["real rollouts" if inputs.is_real() else "stand-ins made from the embedded sample, no real rollouts"]
    if settings.quick:
        found.append("--quick: smaller inputs than the bars are meant for")
    if failed:
        found.append(f"left out because they failed: {', '.join(failed)}")
    found.append(
        f"rounds: {settings.repeats}; medians; the tokenizer is known to the cache from other rollouts unless a line "
        "says otherwise"
    )
    found.append("* marks the figure that the bars are for; `rounds` gives its lowest and highest value")
    return found


def text(command: str, about: Iterable[str], rows: Sequence[Row]) -> str:
    """All of it as Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join([f"    {command}", "", *(f"- {line}" for line in about), "", *lines, ""])


def again(path: Path, command: str, rows: Sequence[Row]) -> str:
    """The results in a file with these rows in the place of earlier ones, and the command that measured them."""
    now = {row.measure: f"| {' | '.join(_cells(row))} |" for row in rows}
    lines = path.read_text().partition(BEGIN)[2].partition(END)[0].strip("\n").split("\n")
    # A blank line is the last before the table.
    head, table = lines[: (blank := lines.index("", 2))], lines[blank:]
    note = f"- measured again since: `{command}`"
    table = [now.pop(line.split("|")[1].strip(), line) if line.startswith("| ") else line for line in table]
    return "\n".join([*(line for line in head if line != note), note, *table, *now.values(), ""])


def line(row: Row) -> str:
    """One result for the terminal."""
    return "  " + "; ".join(cell for cell in _cells(row) if cell)


def write(path: Path, results: str) -> None:
    """Replace what stands between the markers of a file."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{path}: has no {BEGIN} ... {END} to put the results in")
    path.write_text(f"{before}{BEGIN}\n{results}{END}{after}")


def _cells(row: Row) -> list[str]:
    whole, without = (_number(value, row.unit) for value in (row.value, row.without_start))
    bars = ["", "", ""]
    if row.bars is not None:
        bars = [_number(row.bars.first, row.unit), _number(row.bars.goal, row.unit), row.bars.reached(row)]
        whole, without = (whole, f"{without}*") if row.bars.without_start else (f"{whole}*", without)
    spread = " to ".join(_number(value, row.unit) for value in row.spread or ())
    return [row.measure, whole, without, *bars, spread, _number(row.by_cpu, row.unit), row.detail]


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 2 if abs(value) < 10 else 0
    return f"{value:.{digits}f}{'x' if unit == 'x' else ' ' + unit}"


def _processor() -> str:
    for found in Path("/proc/cpuinfo").read_text().splitlines():
        if found.startswith("model name"):
            return found.partition(":")[2].strip()
    return platform.machine()
