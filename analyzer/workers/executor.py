"""The executor: has `score_shard` run for every missing shard, whatever happens to the workers.

Progress and completion are read from the committed shards, never from return values, so all backends are alike. A
worker that dies costs its shards in flight; they are given out again, to fewer workers from the second time on, and a
shard that keeps killing its worker ends the run with its number.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from analyzer.errors import AnalyzerError, UserError
from analyzer.files import temporaries
from analyzer.files.storage import storage_errors
from analyzer.workers.backends import Backend, Cluster, Task, is_lost_worker, launched

ATTEMPTS = 3  # starts of a shard in one round; one fewer than dask's own limit, after which joblib waits for ever
_POLL_SECONDS = 0.1
_POLL_SHARE = 20  # a hundred thousand shards are not listed all the time
_JOIN_SECONDS = 1.0
_IDLE_ROUNDS = 2  # rounds in a row without a commit, one shard at a time


class Work(NamedTuple):
    """What is to be done, and how the executor learns of it."""

    score: Callable[[str, int], int]  # (run directory, shard): scores and commits a shard; runs in the workers
    end: Callable[[], None]  # lets go of what a worker thread holds
    folder: str  # the run directory
    missing: Callable[[], list[int]]  # the shards that are not committed
    committed: Callable[[int], None]  # is told each shard once


def run_shards(work: Work, backend: Backend) -> None:
    """Score every shard that `work.missing` lists until it lists none.

    Raises what a worker raised, or AnalyzerError for a shard whose worker died again and again.
    """
    todo = _from_anywhere(work.missing())
    if not todo:
        return
    losses = idle = 0
    with launched(backend, len(todo), work.end) as cluster:
        at_once = cluster.n_jobs
        while todo:
            with _attempts(work.folder) as attempts:
                lost = _round(work, todo, cluster, at_once, attempts)
                started = _started(attempts)
            left = work.missing()
            suspects = [shard for shard in left if shard in started]
            idle = idle + 1 if at_once == 1 and len(left) == len(todo) else 0
            if idle == _IDLE_ROUNDS or (lost is None and any(started[shard] == ATTEMPTS for shard in left)):
                raise AnalyzerError(_verdict(work.folder, suspects)) from lost
            if lost is None and left:
                raise AnalyzerError(f"{len(left)} shards are not committed though no worker failed ({work.folder})")
            losses += 1
            at_once = at_once if losses == 1 else max(1, at_once // 2)
            todo = [shard for shard in left if shard not in started] + suspects


def _from_anywhere(shards: list[int]) -> list[int]:
    """The shards from a random one on: drivers that work on the same run share it, since what is there is skipped."""
    start = secrets.randbelow(len(shards)) if shards else 0
    return shards[start:] + shards[:start]


def _verdict(folder: str, shards: Sequence[int]) -> str:
    return (
        f"the worker of shard {', '.join(map(str, shards))} dies each time it is tried ({folder}); all others are "
        "scored. The node may be out of memory: run the same command again where there is more"
    )


def _round(work: Work, todo: Sequence[int], cluster: Cluster, at_once: int, attempts: str) -> BaseException | None:
    """Give out `todo` once; returns the error of a lost worker, raises any other."""
    call = _Call([Task(_attempt, (work.score, work.folder, shard, attempts)) for shard in todo], cluster, at_once)
    waiting = set(todo)
    error: BaseException | None = None
    try:
        call.start()
        took = 0.0
        while call.is_alive() and (error := cluster.trouble()) is None:
            call.join(max(_POLL_SECONDS, _POLL_SHARE * took))
            started = time.perf_counter()
            _report(waiting, work)
            took = time.perf_counter() - started
    finally:
        call.stop()
    for shard in sorted(waiting - set(work.missing())):
        work.committed(shard)
    error = call.error or error
    if error is not None and not is_lost_worker(error):
        raise error
    return error


def _report(waiting: set[int], work: Work) -> None:
    """Tell of the shards whose files have appeared. A name is enough here: the footers are checked at the end."""
    there = os.listdir(os.path.join(work.folder, "shards"))
    numbers = {int(name[6:-8]) for name in there if name.startswith("shard-") and name.endswith(".parquet")}
    for shard in sorted(waiting & numbers):
        waiting.discard(shard)
        work.committed(shard)


class _Call(threading.Thread):
    """A joblib call in a thread of its own, so that the driver can watch the shards and heed signals meanwhile."""

    def __init__(self, tasks: Sequence[Task], cluster: Cluster, at_once: int) -> None:
        super().__init__(daemon=True)
        self._tasks = tasks
        self._cluster = cluster
        self._at_once = at_once
        self._stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._cluster.run(self._until_stopped(), self._at_once)
        except BaseException as error:  # noqa: BLE001  # raised again in the driver's thread
            self.error = error

    def _until_stopped(self) -> Iterator[Task]:
        for task in self._tasks:
            if self._stopping.is_set():
                return
            yield task

    def stop(self) -> None:
        """End the call where it is still under way."""
        self._stopping.set()
        if self.is_alive():
            self._cluster.stop()
            self.join(_JOIN_SECONDS)


# ---------------------------------------------------------------- attempts


@contextlib.contextmanager
def _attempts(folder: str) -> Iterator[str]:
    """A folder in the run directory for the marks that shards leave when they are started."""
    marks = Path(folder) / temporaries.name_for("attempts")
    with storage_errors(marks):
        marks.mkdir()
    try:
        yield str(marks)
    finally:
        temporaries.remove(marks)


def _started(attempts: str) -> Counter[int]:
    """The shards that were started, and how often."""
    return Counter(int(name.partition(".")[0]) for name in os.listdir(attempts))


def _attempt(score: Callable[[str, int], int], folder: str, shard: int, attempts: str) -> int:
    """Score a shard; do nothing where it has already killed its worker ATTEMPTS times. Runs in the worker.

    dask gives a lost task out again by itself; a mark left at every start lets that end.
    """
    marks = Path(attempts)
    for number in range(ATTEMPTS):
        try:
            (marks / f"{shard}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        except FileNotFoundError:
            raise UserError("the driver of this run has gone; run the same command again to go on") from None
        return score(folder, shard)
    return 0
