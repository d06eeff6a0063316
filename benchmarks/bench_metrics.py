"""Metrics and bucketing of 10 million rollouts of 600 thousand problems on one core: seconds and memory.

    python benchmarks/bench_metrics.py [--rollouts N] [--problems N] [--json]

Two inputs: "grouped", right or wrong, the rollouts of a problem together (the usual case), and "scattered", any number
as reward, rows shuffled and 1 % unscored (the worst case). The memory is the peak of all of it above what the process
holds at the start, its input arrays among that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from multiprocessing import get_context

import numpy as np
import psutil

from analyzer.buckets import assign, build, names
from analyzer.difficulty.metrics import overall_metrics, problem_metrics

Input = tuple[np.ndarray, np.ndarray]


def grouped(rollouts: int, problems: int) -> Input:
    random = np.random.default_rng(0)
    codes = np.sort(random.integers(0, problems, rollouts).astype(np.int32))
    solve_rate = random.beta(0.6, 0.6, problems)
    return codes, (random.random(rollouts) < solve_rate[codes]).astype(float)


def scattered(rollouts: int, problems: int) -> Input:
    random = np.random.default_rng(0)
    codes = random.integers(0, problems, rollouts).astype(np.int32)
    return codes, np.where(random.random(rollouts) < 0.01, np.nan, random.random(rollouts))


def measure(shape: str, rollouts: int, problems: int, as_json: bool) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    codes, rewards = {"grouped": grouped, "scattered": scattered}[shape](rollouts, problems)
    strategies = {name: build(name) for name in names()}
    before = _resident_mb()

    took = {}
    start = time.perf_counter()
    metrics = problem_metrics(codes, rewards, problems)
    overall_metrics(metrics)
    took["metrics"] = time.perf_counter() - start
    for name, strategy in strategies.items():
        start = time.perf_counter()
        assign(strategy, metrics)
        took[name] = time.perf_counter() - start
    peak = round(_peak_mb() - before)
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in took.items())
    line = f"{shape}, {rollouts:,} rollouts of {problems:,} problems: {seconds}; {peak} MB"
    print(json.dumps({"shape": shape, "seconds": took, "peak_mb": peak}) if as_json else line, flush=True)


def _resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=10_000_000)
    parser.add_argument("--problems", type=int, default=600_000)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    for shape in ("grouped", "scattered"):
        # A process of its own each, so that the peak of one is not that of the other.
        child = get_context("spawn").Process(target=measure, args=(shape, given.rollouts, given.problems, given.json))
        child.start()
        child.join()


if __name__ == "__main__":
    main()
