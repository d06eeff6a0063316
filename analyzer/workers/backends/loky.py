"""loky: worker processes on this machine."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from analyzer.workers import forks, processes, tracker
from analyzer.workers.backends import Backend, Cluster, Task, register, usable_cores
from analyzer.workers.backends.sequential import Sequential

_STOP_SECONDS = 1.0
_MODULES = ("joblib", "joblib.externals.loky.process_executor")
"""What a worker imports to take its first task."""


@register
class Loky(Cluster):
    """Worker processes on this machine, the default (joblib's reusable pool); a single worker is this process."""

    name = "loky"

    @classmethod
    @contextlib.contextmanager
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
        wanted = min(backend.n_jobs or usable_cores(), tasks)
        if wanted > 1 and (why := _no_semaphores()):
            from tqdm import tqdm

            tqdm.write(
                f"/dev/shm cannot be used ({why}), which parallel workers need: one process scores all shards",
                file=sys.stderr,
            )
            wanted = 1
        if wanted == 1:
            yield Sequential(end)
            return
        cluster = cls._of(wanted)
        try:
            yield cluster
        finally:
            cluster.stop()

    @classmethod
    def start(cls, backend: Backend, load: str) -> None:
        # On one core it would only compete with the driver, which may find that there is nothing to score.
        if min(cores := len(os.sched_getaffinity(0)), backend.n_jobs or cores) > 1:
            forks.start(functools.partial(processes.warm_up, functools.partial(processes.call_by_name, load), _MODULES))

    @classmethod
    def begin(cls, backend: Backend, warm: Callable[[], None]) -> None:
        # Not usable_cores(): to import joblib takes as long as what is to be won.
        if (backend.n_jobs or len(os.sched_getaffinity(0))) > 1:
            forks.begin(functools.partial(processes.warm_up, warm, _MODULES))

    @classmethod
    def end(cls) -> None:
        forks.end()

    @classmethod
    @contextlib.contextmanager
    def warmed(cls, backend: Backend, tasks: int, warm: Callable[[], None]) -> Iterator[None]:
        wanted = min(backend.n_jobs or usable_cores(), tasks)
        if wanted <= 1 or _no_semaphores():
            forks.end()
            yield
            return
        cluster = cls._of(wanted)
        forks.begin(functools.partial(processes.warm_up, warm, _MODULES))

        ended = threading.Event()

        def call() -> None:
            # Asked when joblib has its pool: of one made after the `stop` below, no worker may come, as none would end.
            tasks = itertools.takewhile(lambda _: not ended.is_set(), [Task(warm, ())] * wanted)
            with contextlib.suppress(Exception):  # what is wrong shows where it matters, in the first shard
                cluster.run(tasks, wanted)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            ended.set()
            cluster.stop()
            thread.join(_STOP_SECONDS)
            raise
        # joblib's pool is one for the process: the call that scores takes it over.
        thread.join()

    @classmethod
    def _of(cls, wanted: int) -> Loky:
        # A worker is one core's worth of work: threads of BLAS inside it would only compete with its neighbours.
        return cls(wanted, inner_max_num_threads=1, initializer=processes.start_worker, initargs=(os.getpid(),))

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        tracker.start()
        with forks.workers():
            super().run(tasks, at_once)

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        logging.getLogger("concurrent.futures").addFilter(_is_no_shutdown)
        if not isinstance(threading.excepthook, _WithoutStopped):
            threading.excepthook = _WithoutStopped(threading.excepthook)
        # reuse=True gives the pool that joblib made, whatever its settings were, and not a new one.
        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
        forks.end()


def _is_no_shutdown(record: logging.LogRecord) -> bool:
    """Whether there is more to say than that joblib's thread had a task for a pool that was just stopped."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ShutdownExecutorError"


class _WithoutStopped:
    """A threading.excepthook that says nothing of the thread of a pool that was stopped.

    It has ended the workers, and then looks for a task that it has dropped before: KeyError, and a traceback on stderr.
    """

    def __init__(self, usual: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._usual = usual

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        of_a_pool = args.thread is not None and args.thread.name == "ExecutorManagerThread"
        if not (of_a_pool and issubclass(args.exc_type, KeyError)):
            self._usual(args)


def _no_semaphores() -> str:
    """Why this machine has none of the semaphores that loky's workers share (they lie in /dev/shm); "" where it has."""
    import multiprocessing

    # Only making one tells: containers mount /dev/shm read-only, or with no room, or not at all.
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
