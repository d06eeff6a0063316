"""How the cost of an analysis grows: with rollouts, problems, shards and files, on files of scores made by a script.

    python benchmarks/bench_scale.py                                  # all axes, to 10 million rollouts: 10 minutes
    python benchmarks/bench_scale.py --only rollouts --rollouts 1e5 1e6 1e7 1e8      # some 10 minutes and 6 GB of disk

Everything but scoring: plan, the check of what is committed, merge, metrics, buckets, estimates, audit, problem files
and report (`--outputs problems`). Each point is a whole process, with the peak of its memory; slopes are fitted to the
points of an axis. Folders are removed after each point.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import processes
import score_files
from score_files import Shape

SAMPLES = 16
AXES = {
    "rollouts": [Shape(n, n // SAMPLES, response_bytes=160) for n in (100_000, 1_000_000, 10_000_000)],
    "problems": [Shape(2_000_000, n, response_bytes=160) for n in (10_000, 100_000, 1_000_000)],
    "shards": [Shape(1_000_000, 60_000, response_bytes=size) for size in (100, 1_000, 8_000)],
    "files": [Shape(1_000_000, 60_000, response_bytes=160, files=number) for number in (1, 30, 1_000)],
}
"""What grows, all else as it is, but for the rollouts, whose problems grow with them."""


class Point(NamedTuple):
    """One run."""

    amount: int  # of what grows
    seconds: float
    cpu: float
    peak_mb: float
    stages: dict[str, float]  # seconds by the clock


def measure(shape: Shape, axis: str, folder: Path) -> Point:
    """Make an input with its scores in an empty folder, and analyse it. Raises CommandError where that scores."""
    shards = score_files.make(folder, shape)
    settings = score_files.settings(folder, outputs="problems")
    given = {"rollouts", "model_path", "output_dir", "cache_dir", "reward_fn", "max_unscored", "n_jobs", "outputs"}
    words = [word for name in sorted(given) for word in (f"--{name}", str(getattr(settings, name)))]
    run = processes.run([sys.executable, "-m", "analyzer", *words], memory=True)
    output = Path(settings.output_dir)
    # Scores made by exact_match of these responses would all be 0.
    if not json.loads((output / "summary.json").read_bytes())["overall_metrics"]["mean_pass_rate"]:
        raise processes.CommandError("the scores that were made are not those of this run")
    stages = json.loads((output / "timings.json").read_bytes())["seconds"]
    amount = shards if axis == "shards" else getattr(shape, axis)
    return Point(amount, run.seconds, run.cpu, run.peak_bytes / 1e6, stages)


def points(axis: str, shapes: Iterable[Shape], place: Path | None) -> Iterator[Point]:
    """A point for each shape, in a folder that is gone after it."""
    for shape in shapes:
        with tempfile.TemporaryDirectory(dir=place) as name:
            yield measure(shape, axis, Path(name))


class Slope(NamedTuple):
    """What one more costs."""

    cpu: float  # seconds
    peak_mb: float
    exponent: float  # of the CPU time's growth from the last but one point to the last, without the start; 1: linear


def slope(found: list[Point]) -> Slope:
    """Fitted to the points, each weighted by its amount: the largest ones say most of what comes after them."""
    amounts = np.array([point.amount for point in found], float)
    cpu, peak = (np.polyfit(amounts, [getattr(one, name) for one in found], 1)[0] for name in ("cpu", "peak_mb"))
    (start, middle, last), steps = (found[0], *found[-2:]), amounts[-2:] - amounts[0]
    grown = np.array([middle.cpu - start.cpu, last.cpu - start.cpu])
    exponent = float("nan")
    if len(found) > 2 and (grown > 0).all():
        exponent = float(np.log(grown[1] / grown[0]) / np.log(steps[1] / steps[0]))
    return Slope(float(cpu), float(peak), exponent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--rollouts", type=float, nargs="+", help="points of the axis of rollouts")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs lie meanwhile")
    parser.add_argument("--json", action="store_true", help="one JSON object a point")
    given = parser.parse_args()
    if given.rollouts:
        first = AXES["rollouts"][0]
        AXES["rollouts"] = [
            dataclasses.replace(first, rollouts=int(n), problems=int(n) // SAMPLES) for n in given.rollouts
        ]
    for axis in given.only:
        found = []
        for point in points(axis, AXES[axis], given.folder):
            found.append(point)
            stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in point.stages.items() if seconds >= 0.1)
            line = f"{point.amount:,} {axis}: {point.seconds:.1f} s (CPU {point.cpu:.1f} s), {point.peak_mb:.0f} MB"
            print(json.dumps({"axis": axis, **point._asdict()}) if given.json else f"{line}; {stages}", flush=True)
        if len(found) > 1 and not given.json:
            fitted = slope(found)
            print(
                f"{axis}: {1e6 * fitted.cpu:.3g} s of CPU and {1e6 * fitted.peak_mb:.3g} MB for each million more; "
                f"grows as the power {fitted.exponent:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
