"""The executor: has `score_shard` run for every missing shard, whatever happens to the workers.

Progress and completion are read from the committed shards, never from return values, so all backends are alike. A
worker that dies costs its shards in flight; they are given out again, to fewer workers from the second time on, and a
shard that keeps killing its worker ends the run with its number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from analyzer.errors import AnalyzerError, UserError
from analyzer.files import temporaries
from analyzer.files.storage import storage_errors
from analyzer.workers.backends import Backend, Cluster, Task, is_lost_worker, launched

ATTEMPTS = 3  # starts of a shard in one round; one fewer than dask's own limit, after which joblib waits forever
_POLL_SECONDS = 0.1
_POLL_SHARE = 20  # a hundred thousand shards are not listed all the time
_JOIN_SECONDS = 1.0
_TASKS_EACH = 8  # for each worker, where there are as many shards
_IDLE_ROUNDS = 2  # rounds in a row without a commit, one shard at a time


class Work(NamedTuple):
    """What is to be done, and how the executor learns of it."""

    score: Callable[[str, int], int]  # (run directory, shard): scores and commits a shard; runs in the workers
    end: Callable[[], None]  # lets go of what a worker thread holds
    folder: str  # the run directory
    missing: Callable[[], list[int]]  # the shards that are not committed
    committed: Callable[[int], None]  # called once for each shard
    check: Callable[[], None] = lambda: None  # called again and again meanwhile; what it raises ends the work


def run_shards(work: Work, backend: Backend) -> None:
    """Score every shard that `work.missing` lists until it lists none.

    Raises what a worker raised, or AnalyzerError for a shard whose worker died again and again.
    """
    todo = work.missing()
    if not todo:
        return
    # Drivers on several nodes may work on the same run. Each starts at a random shard and skips what is committed,
    # so that they share the work without a word between them.
    start = secrets.randbelow(len(todo))
    todo = todo[start:] + todo[:start]
    losses = idle = 0
    with launched(backend, len(todo), work.end) as cluster:
        at_once = cluster.n_jobs
        while todo:
            with _attempts(work.folder) as attempts:
                # Once a worker is lost, each shard is a task: what joins the guilty one should not be lost with it.
                parts = joined(todo, max(backend.tasks, _TASKS_EACH * at_once), cluster.joins if not losses else 1)
                lost = _round(work, parts, cluster, at_once, attempts)
                started = Counter(int(name.partition(".")[0]) for name in os.listdir(attempts))
            left = work.missing()
            suspects = [shard for shard in left if shard in started]
            # One at a time and still nothing committed: the shard that was tried kills its worker. dask tells it
            # otherwise: its round ends without a loss when a shard has used up its attempts.
            idle = idle + 1 if at_once == 1 and len(left) == len(todo) else 0
            if idle == _IDLE_ROUNDS or (lost is None and any(started[shard] == ATTEMPTS for shard in left)):
                raise _dies_again(work.folder, left, suspects) from lost
            if lost is None and left:
                raise AnalyzerError(f"{len(left)} shards are not committed although no worker failed ({work.folder})")
            losses += 1
            # The first loss may be chance. From the second on memory is the likely cause, so fewer work at once; the
            # suspects come last, so that the innocent are committed before the guilty one is found.
            at_once = at_once if losses == 1 else max(1, at_once // 2)
            todo = [shard for shard in left if shard not in started] + suspects


def _dies_again(folder: str, left: Sequence[int], suspects: Sequence[int]) -> AnalyzerError:
    """The error for shards that kill their worker, or for workers that die without one (no suspects)."""
    which, others = "workers die before they begin a shard", f"{len(left)} shards are not scored"
    if suspects:
        which = f"the worker of shard {', '.join(map(str, suspects))} dies each time it is tried"
        others = "all others are scored"
    return AnalyzerError(
        f"{which} ({folder}); {others}. The node may be out of memory: run the same command again where there is more"
    )


def joined(todo: Sequence[int], tasks: int, most: int) -> Iterator[tuple[int, ...]]:
    """Cut `todo` into more than `tasks` tasks, if it has as many shards, of at most `most` shards each.

    A task takes its share of what is left, so the last ones are single shards and the workers end together (guided
    self-scheduling, Polychronopoulos and Kuck, 1987).
    """
    first = 0
    while first < len(todo):
        size = max(1, min(most, (len(todo) - first) // tasks))
        yield tuple(todo[first : first + size])
        first += size


def _round(
    work: Work, parts: Iterable[tuple[int, ...]], cluster: Cluster, at_once: int, attempts: str
) -> BaseException | None:
    """Give out tasks of shards once; returns the error of a lost worker, raises any other."""
    tasks = [Task(_attempt, (work.score, work.folder, shards, attempts)) for shards in parts]
    call = _Call(tasks, cluster, at_once)
    waiting = {shard for task in tasks for shard in task.args[2]}
    error: BaseException | None = None
    try:
        call.start()
        took = 0.0
        while call.is_alive() and (error := cluster.trouble()) is None:
            call.join(max(_POLL_SECONDS, _POLL_SHARE * took))
            work.check()
            started = time.perf_counter()
            # A name is enough here, and a listing is one call where reading the footers would be one a shard. They
            # are read at the end of the round, by `missing`.
            names = os.listdir(os.path.join(work.folder, "shards"))
            numbers = {int(name[6:-8]) for name in names if name.startswith("shard-") and name.endswith(".parquet")}
            for shard in sorted(waiting & numbers):
                waiting.discard(shard)
                work.committed(shard)
            took = time.perf_counter() - started
    finally:
        call.stop()
    for shard in sorted(waiting - set(work.missing())):
        work.committed(shard)
    # What the cluster said comes first: stopping the call for it raises another error there.
    error = error or call.error
    if error is not None and not is_lost_worker(error):
        raise error
    return error


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
        # joblib takes tasks from this as workers become free: an end here is the one way to stop it between two.
        tasks = itertools.takewhile(lambda _: not self._stopping.is_set(), self._tasks)
        try:
            self._cluster.run(tasks, self._at_once)
        except BaseException as error:  # noqa: BLE001  # raised again in the driver's thread
            self.error = error

    def stop(self) -> None:
        """End the call where it is still under way."""
        self._stopping.set()
        if self.is_alive():
            self._cluster.stop()
            # Not until it ends: joblib may wait forever once its workers are gone. The thread is a daemon.
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


def _attempt(score: Callable[[str, int], int], folder: str, shards: Sequence[int], attempts: str) -> int:
    """Score shards, but those that have already killed their worker ATTEMPTS times. Runs in the worker.

    dask gives a lost task out again by itself. A mark left at every start of a shard lets that end, and a byte in the
    mark at its end leaves the shard alone when its task is lost with a later one.
    """
    # A worker that is killed cannot count in memory, and dask may try the next time on another node: so the count is
    # files, and creating one exclusively is atomic on NFS, too.
    scored = 0
    for shard in shards:
        for number in range(ATTEMPTS):
            mark = Path(attempts, f"{shard}.{number}")
            try:
                started = mark.open("xb", buffering=0)
            except FileExistsError:
                if mark.stat().st_size:
                    break
                continue
            except FileNotFoundError:
                if not os.path.isdir(folder):
                    raise UserError(
                        f"a worker on {platform.node()} does not see {folder}: all nodes need the same --cache_dir"
                    ) from None
                raise UserError("the driver of this run has ended; the same command resumes") from None
            with started:
                scored += score(folder, shard)
                with contextlib.suppress(OSError):  # the shard is committed, whatever became of the driver's marks
                    started.write(b"1")
            break
    return scored
