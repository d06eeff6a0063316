"""dask: workers of a dask cluster, a running one by --dask_scheduler or else one on this machine."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from analyzer.errors import ConfigError, UserError
from analyzer.workers import processes
from analyzer.workers.backends import CODE, Backend, Cluster, Task, check_same_code, register, usable_cores


@register
class Dask(Cluster):
    """Workers of a dask cluster: --dask_scheduler, or a cluster on this machine."""

    name = "dask"
    needs = ("dask", "distributed")
    joins = 32  # a task takes the driver and the scheduler a millisecond each, which ends at some hundred a second

    def __init__(self, client: Any, notice_seconds: float) -> None:
        self._client = client
        self._notice_seconds = notice_seconds
        self._seen = self._looked = time.monotonic()  # when there were workers, and when they were asked for
        self._noticed = False
        super().__init__(sum(client.ncores().values()), client=client)
        self._config["backend"] = _register_backend()

    @classmethod
    @contextlib.contextmanager
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
        for name in ("asyncio", "tornado.application"):
            logging.getLogger(name).addFilter(_is_no_hangup)
        where = _local(backend, tasks) if backend.dask_scheduler is None else _running(backend.dask_scheduler, backend)
        with where as client:
            yield cls(client, backend.notice_seconds)

    def settings(self, at_once: int) -> Mapping[str, Any]:
        # joblib's dask ignores n_jobs, so what limits it is how many tasks are given out. All at once in the usual
        # case: with a window, workers that join later would find nothing to do.
        return {"n_jobs": -1, "pre_dispatch": "all" if at_once >= self.n_jobs else at_once}

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        try:
            super().run(tasks, at_once)
        except CancelledError as error:  # a future's: its scheduler was lost or restarted, or somebody cancelled it
            reason = str(error).partition("\n")[0].rpartition("reason: ")[2].rstrip(".")
            raise UserError(f"lost the dask scheduler ({reason}); run the same command again to resume") from None

    def trouble(self) -> BaseException | None:
        if self._client.status == "closed":
            return UserError("lost the dask scheduler; run the same command again to resume")
        # A task that fails returns its error through joblib. A future in state "error" is one whose worker died more
        # often than dask's allowed-failures; joblib never learns of it, and waits forever.
        for future in list(self._client.futures.values()):
            if future.status == "error":
                error: BaseException = future.exception
                return error
        now = time.monotonic()
        # ncores() is a round trip to the scheduler, and this is called ten times a second.
        if now - self._looked > self._notice_seconds / 3:
            self._looked = now
            return self._look_for_workers(now)
        return None

    def _look_for_workers(self, now: float) -> BaseException | None:
        """An error if nobody is left to restart the workers of our own cluster. Otherwise say so, once, if they are
        gone for long: dask waits for others, and the work goes on with them.
        """
        with contextlib.suppress(OSError, RuntimeError):  # a lost connection shows in the client's status
            if self._client.ncores():
                self._seen, self._noticed = now, False
            elif self._client.cluster is not None and not self._client.cluster.workers:  # its nannies
                return UserError(
                    "all dask workers on this machine have ended and were not restarted (out of memory?); "
                    "run the same command again to resume"
                )
            elif not self._noticed and now - self._seen > self._notice_seconds:
                self._noticed = True
                _notice_no_workers(self._client.scheduler.address, self._notice_seconds)
        return None

    def stop(self) -> None:
        # Closing the client releases its futures, which cancels tasks that no worker has begun.
        self._client.close(timeout=1)


@contextlib.contextmanager
def _local(backend: Backend, tasks: int) -> Iterator[Any]:
    """A client of a cluster on this machine, which ends with it."""
    import dask
    import distributed

    with (
        # A cluster gives up a lost worker, and ends its nanny, if it is not back within 15 s: too soon on a busy
        # machine, which would lose all of them.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=min(backend.n_jobs or usable_cores(), tasks),
            threads_per_worker=1,  # scoring is Python code: a second thread would wait for the GIL
            processes=True,
            memory_limit=0,  # no pausing, no spilling: a worker holds a window of text and nothing else
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its HTTP server: any free port, local only
            silence_logs="ERROR",
            preload=[__name__],
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def _running(address: str, backend: Backend) -> Iterator[Any]:
    """A client of a cluster that runs already and has this code. Raises ConfigError where there is none."""
    try:
        client = _connected(address, backend.answer_seconds)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise ConfigError(f"--dask_scheduler {address}: no scheduler answers there ({error})") from None
    with client:
        # In a batch system the first worker may be queued for hours, which is normal: wait, but say so.
        try:
            client.wait_for_workers(1, timeout=backend.notice_seconds)
        except TimeoutError:
            _notice_no_workers(address, backend.notice_seconds)
            client.wait_for_workers(1)
        if backend.code:
            try:  # of its code nothing is run, but it reads what names it
                client.run_on_scheduler(eval, CODE)
            except (ImportError, AttributeError) as error:
                check_same_code({f"the scheduler {address}": error}, backend.code)
            answers = client.run(eval, CODE, on_error="return")
            check_same_code({f"the worker {name}": found for name, found in answers.items()}, backend.code)
        yield client


def _connected(address: str, seconds: float) -> Any:
    """A client of a scheduler. Raises what dask raises where there is none: OSError, TypeError or ValueError."""
    import distributed

    class Client(distributed.Client):  # type: ignore[misc]
        def __init__(self) -> None:
            try:
                super().__init__(address, timeout=seconds)
            except BaseException:
                # dask leaves this to the garbage collector. Where that runs while the next client starts, closing waits
                # forever for a lock that this same thread holds.
                self.close()
                raise

    return Client()


def dask_setup(worker: Any) -> None:
    """dask calls this in each worker of our own cluster before its work. Not in others, which may serve others, too."""
    processes.hide_pandas_from_arrow()


def _register_backend() -> str:
    """The name under which joblib knows its dask backend, changed to use even a cluster of a single core.

    joblib runs everything in the driver's own process where a backend says that it has one job at a time. A shard that
    kills its process would end the run, and the cluster would do nothing.
    """
    import joblib
    from joblib._dask import DaskDistributedBackend

    class DaskBackend(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    joblib.register_parallel_backend("analyzer-dask", DaskBackend)
    return "analyzer-dask"


def _is_no_hangup(record: logging.LogRecord) -> bool:
    """Whether there is more to say than that a connection of dask's ended, as all do when a run is stopped."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in {"CommClosedError", "StreamClosedError"}


def _notice_no_workers(address: str, seconds: float) -> None:
    from tqdm import tqdm

    tqdm.write(
        f"the dask scheduler {address} has had no worker for {seconds:g} s; waiting on "
        "(are the jobs that start them still queued, or have they failed?)",
        file=sys.stderr,
    )
