"""One driver and a dask cluster whose workers sleep instead of scoring: what does a task cost the driver?

    python benchmarks/bench_driver.py [--tasks 5000 20000 50000] [--rate 1000] [--sleepers 100] [--json]

The scheduler and the workers are processes of their own, as on a cluster. A task sleeps, then moves a file of scores
that was made before into the run directory, so that the driver does all that it does in a real run: it gives out tasks,
hears of their ends, lists what is committed, reads every footer at the end, and merges. CPU time is that of the driver
alone, and of the scheduler beside it; what importing dask takes is not counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa

from analyzer.cache import runs, score_files
from analyzer.cache.score_files import ShardFooter, SourceCount
from analyzer.rollouts.numbering import Numbering
from analyzer.stages.merge import merge_shards
from analyzer.workers.backends import Backend
from analyzer.workers.executor import Work, run_shards

ROLLOUTS = 64  # of a task: the files are small, since the time for a rollout is bench_scale.py's to measure
PREPARED = "prepared"


class Cost(NamedTuple):
    """What a run of tasks took."""

    tasks: int
    seconds: float  # from the first task to the last commit, the check of all footers among it
    driver_cpu: float
    scheduler_cpu: float
    driver_mb: float  # what its peak grew by
    scheduler_mb: float
    merge_cpu: float


def asleep(seconds: float, folder: str, shard: int) -> int:
    """In place of scoring: a task of the executor."""
    time.sleep(seconds)
    name = os.path.basename(score_files.shard_path("", shard))
    os.replace(os.path.join(folder, PREPARED, name), os.path.join(runs.shards_folder(folder), name))
    return ROLLOUTS


def prepare(folder: Path, tasks: int) -> runs.Run:
    """A run directory, and a file of scores for each shard beside it."""
    run = runs.open_run(str(folder), {"tasks": tasks})
    prepared = Path(run.folder) / PREPARED
    prepared.mkdir()
    counts = {"made": SourceCount(ROLLOUTS, ROLLOUTS, (), {})}
    problem = np.arange(ROLLOUTS, dtype=np.uint64) // 8
    for shard in range(tasks):
        first = shard * ROLLOUTS
        scores = score_files.Scores(
            np.arange(first, first + ROLLOUTS),
            (np.arange(ROLLOUTS) % 3 == 0).astype(float),
            np.zeros(ROLLOUTS, np.int8),
            np.full(ROLLOUTS, 100, np.int32),
            np.ones(ROLLOUTS, bool),
            [],
            ["12"] * ROLLOUTS,
            ["made"] * ROLLOUTS,
            np.full(ROLLOUTS, score_files.EARNED, np.int8),
            (problem + np.uint64(first)) * np.uint64(2),
            np.full(ROLLOUTS, np.nan),
            {},
        )
        footer = ShardFooter(run.fingerprint, shard, ROLLOUTS, counts)
        score_files.write(score_files.shard_path(prepared, shard), footer, scores)
    return run


def measure(tasks: int, rate: float, sleepers: int) -> Cost:
    """One run with a fresh cluster."""
    # In memory where that is possible: what a file system takes for a commit is another question.
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=place) as name, cluster(sleepers) as (address, process):
        run = prepare(Path(name), tasks)
        wanted = range(tasks)
        score = partial(asleep, sleepers / rate)
        work = Work(score, _nothing, run.folder, partial(run.missing, wanted), _nothing)
        scheduler = psutil.Process(process.pid)
        before, scheduled = time.process_time(), _cpu(scheduler)
        started, held = time.perf_counter(), _peak_mb()
        at_scheduler = scheduler.memory_info().rss / 1e6
        run_shards(work, Backend("dask", dask_scheduler=address))
        seconds, cpu = time.perf_counter() - started, time.process_time() - before
        scheduler_cpu, grown = _cpu(scheduler) - scheduled, _peak_mb() - held
        at_scheduler = scheduler.memory_info().rss / 1e6 - at_scheduler
        before = time.process_time()
        problems = tasks * ROLLOUTS // 8
        numbering = Numbering(
            pa.array(np.arange(problems)), np.arange(problems) * 8, np.arange(problems), tasks * ROLLOUTS
        )
        merge_shards(run.shards_folder, tasks, numbering)
        return Cost(tasks, seconds, cpu, scheduler_cpu, grown, at_scheduler, time.process_time() - before)


def _nothing(*_: Any) -> None:
    """What a sleeping worker has to end, and who is to hear of a commit."""


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def cluster(sleepers: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a scheduler with so many worker threads, and its process."""
    command = [sys.executable, __file__, "--cluster", str(sleepers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.stdin.close()  # which is what it waits for


def be_cluster(sleepers: int) -> None:
    """A scheduler in this process and two processes of workers, until stdin is closed."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=sleepers // 2,
        processes=True,
        memory_limit=0,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs="ERROR",
    ) as local:
        print(local.scheduler_address, flush=True)
        sys.stdin.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    parser.add_argument("--rate", type=float, default=1_000, help="tasks a second that the workers end, at most")
    parser.add_argument("--sleepers", type=int, default=100, help="worker threads")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--cluster", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cluster:
        be_cluster(given.cluster)
        return
    importlib.import_module("distributed")
    importlib.import_module("joblib")
    for tasks in given.tasks:
        cost = measure(tasks, given.rate, given.sleepers)
        if given.json:
            print(json.dumps(cost._asdict()), flush=True)
            continue
        print(
            f"{tasks:,} tasks in {cost.seconds:.1f} s, {tasks / cost.seconds:.0f} a second: driver "
            f"{cost.driver_cpu:.1f} s of CPU ({cost.driver_cpu / cost.seconds:.0%} of the time, "
            f"{1000 * cost.driver_cpu / tasks:.2f} ms a task) and {cost.driver_mb:.0f} MB; scheduler "
            f"{cost.scheduler_cpu:.1f} s and {cost.scheduler_mb:.0f} MB; merge {cost.merge_cpu:.1f} s "
            f"({1000 * cost.merge_cpu / tasks:.2f} ms a task)",
            flush=True,
        )


if __name__ == "__main__":
    main()
