"""loky: worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from analyzer.workers import processes
from analyzer.workers.backends import Backend, Cluster, register, usable_cores
from analyzer.workers.backends.sequential import Sequential


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
                f"/dev/shm cannot be used ({why}), which workers beside each other need: one process scores all shards",
                file=sys.stderr,
            )
            wanted = 1
        if wanted == 1:
            yield Sequential(end)
            return
        # A worker is one core's worth of work: threads of BLAS inside it would only compete with its neighbours.
        cluster = cls(wanted, inner_max_num_threads=1, initializer=processes.start_worker, initargs=(os.getpid(),))
        try:
            yield cluster
        finally:
            cluster.stop()

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        # reuse=True gives the pool that joblib made, whatever its settings were, and not a new one.
        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


def _no_semaphores() -> str:
    """Why this machine has none of the semaphores that loky's workers share (they lie in /dev/shm); "" where it has."""
    import multiprocessing

    # Only making one tells: containers mount /dev/shm read-only, or with no room, or not at all.
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
