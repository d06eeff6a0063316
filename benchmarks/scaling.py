"""The measures of size: memory and time as the text grows, workers, the metrics alone, and the time of --help."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bench_scale
import inputs
import numpy as np
import processes
from bench import Bars, Bench, Row
from processes import Run

GB = 1e9


def memory(bench: Bench) -> Iterator[Row]:
    """The peak of all processes together at three sizes, and the slopes over them. Inputs are removed after."""
    sizes, peaks, seconds = [], [], []
    for size in (1, 2) if bench.settings.quick else (1, 4, 16):
        free = shutil.disk_usage(bench.folder).free
        if free < size * GB:  # three files of text that zstd makes a third of
            processes.say(f"{size} GB of text are left out: {free / GB:.0f} GB of disk are free")
            continue
        rollouts = bench.copies(inputs.LONG, text_bytes=int(size * GB))
        run = bench.job(rollouts, memory=True)
        rollouts.unlink()
        sizes.append(size)
        peaks.append(run.peak_bytes / GB)
        seconds.append(run.seconds)
        detail = f"{run.seconds:.1f} s with the start"
        yield Row(f"peak memory, all processes, {size} GB of text", peaks[-1], "GB", Bars(2, 1, False), detail)
    if len(sizes) > 1:
        growth = np.polyfit(sizes, peaks, 1)[0] * 1000
        yield Row("memory added for each GB of text", growth, "MB", None, "fitted slope")
        slope = np.polyfit(sizes, seconds, 1)[0]
        detail = ", ".join(f"{taken:.1f} s for {size} GB" for size, taken in zip(sizes, seconds, strict=True))
        yield Row("seconds for each GB of text", slope, "s", None, f"fitted slope; {detail}, with the start")


def workers(bench: Bench) -> Iterator[Row]:
    """Long rollouts on one core with one worker, and on two with two."""
    if bench.settings.cores < 2:
        return
    rollouts = bench.copies(inputs.LONG, text_bytes=bench.sized(2_000_000_000, 300_000_000))
    sides = {}
    for number in (1, 2):
        side = bench.program(inputs.LONG, rollouts, n_jobs=number)
        sides[f"{number} worker{'s'[: number - 1]}"] = side._replace(
            run=_on(number, side.run), start=_on(number, side.start), key=f"{side.key} on {number}"
        )
    found = bench.rounds(sides)
    bars = Bars(1.85, 1.95, without_start=True)
    one, two = sides
    yield found.row("long rollouts, from 1 worker on 1 core to 2 on 2", (one, two), bars)


def _on(number: int, run: Callable[[], Run]) -> Callable[[], Run]:
    def pinned() -> Run:
        with processes.cores(number):
            return run()

    return pinned


def metrics(bench: Bench) -> Iterator[Row]:
    """Metrics and the slowest strategy for 10 million rollouts of 600 thousand problems, on one core."""
    rollouts, problems = bench.sized(10_000_000, 1_000_000), bench.sized(600_000, 60_000)
    script = Path(__file__).parent / "bench_metrics.py"
    command = [sys.executable, str(script), "--json", "--rollouts", str(rollouts), "--problems", str(problems)]
    rounds = [processes.run(command).stdout.splitlines() for _ in range(bench.settings.repeats)]
    for lines in zip(*rounds, strict=True):  # those of one shape
        found = []
        for result in map(json.loads, lines):
            took = dict(result["seconds"])
            first = took.pop("metrics")
            slowest = max(took, key=took.__getitem__)
            detail = f"metrics {first:.2f} s, the slowest strategy ({slowest}) {took[slowest]:.2f} s"
            found.append((first + took[slowest], f"{detail}, {result['peak_mb']} MB", result["shape"]))
        found.sort()
        seconds, detail, shape = found[len(found) // 2]
        yield Row(
            f"metrics + bucketing, {rollouts:,} rollouts of {problems:,} problems, {shape}",
            seconds,
            "s",
            Bars(3, 2, False),
            detail,
            spread=(found[0][0], found[-1][0]),
        )


def analysis(bench: Bench) -> Iterator[Row]:
    """What follows the buckets for 10 million rollouts of 600 thousand problems that are scored, on one core."""
    shape = bench_scale.Shape(bench.sized(10_000_000, 1_000_000), bench.sized(600_000, 60_000), response_bytes=160)
    with processes.cores(1):  # so that seconds by the clock, which the stages are measured in, are those of the CPU
        (point,) = bench_scale.points("rollouts", [shape], bench.folder)
    took = {name: point.stages[name] for name in ("estimate", "audit", "summary", "write")}
    yield Row(
        f"difficulty, problem files and report, {shape.rollouts:,} rollouts of {shape.problems:,} problems",
        sum(took.values()),
        "s",
        Bars(12, 7, False),
        ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
        + f"; the whole command {point.seconds:.1f} s (CPU {point.cpu:.1f} s), {point.peak_mb:.0f} MB",
    )


def sizes(bench: Bench) -> Iterator[Row]:
    """What one more rollout, problem, shard or file costs where all is scored already: slopes fitted to three sizes."""
    for axis, shapes in bench_scale.AXES.items():
        found = list(bench_scale.points(axis, shapes[:2] if bench.settings.quick else shapes, bench.folder))
        fitted = bench_scale.slope(found)
        detail = ", ".join(f"{one.cpu:.1f} s and {one.peak_mb:.0f} MB for {one.amount:,}" for one in found)
        power = "" if math.isnan(fitted.exponent) else f"; grows as the power {fitted.exponent:.2f}"
        per, name = (1e6, f"million {axis}") if axis in ("rollouts", "problems") else (1e3, f"thousand {axis}")
        yield Row(
            f"everything but scoring, CPU for each {name}",
            per * fitted.cpu,
            "s",
            None,
            f"fitted slope, and {per * fitted.peak_mb:.0f} MB; {detail}{power}",
        )


def help_text(bench: Bench) -> Iterator[Row]:
    """How long --help takes."""
    command = [sys.executable, "-m", "analyzer", "--help"]
    seconds = [processes.run(command).seconds for _ in range(bench.sized(11, 5))]
    value, spread = statistics.median(seconds), (min(seconds), max(seconds))
    yield Row("--help", value, "s", Bars(0.4, 0.2, False), f"median of {len(seconds)}", spread=spread)
