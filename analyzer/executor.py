"""The executor: runs `score_shard` for every missing shard on a joblib backend. The only file that knows joblib.

Backends differ in how they launch and in nothing else: progress and completion are read from the committed shards,
never from return values. A worker that dies costs its shards in flight; they are given out again, to fewer workers,
and a shard that keeps killing its worker ends the run with its number.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analyzer.errors import AnalyzerError, ConfigError, UserError

BACKENDS = ("loky", "dask", "ray", "sequential")
ATTEMPTS = 4  # starts of one shard in one run of the driver
_POLL_SECONDS = 0.1
_GIVE_UP_AFTER = 3  # rounds in a row without a shard committed


class Backend(NamedTuple):
    """Where the shards are scored."""

    name: str = "loky"
    n_jobs: int = 1
    dask_scheduler: str | None = None  # address; None: a cluster on this machine
    ray_address: str | None = None


def usable_cores() -> int:
    """The cores this process may use, by affinity and cgroup."""
    import joblib

    return int(joblib.cpu_count())


class Work(NamedTuple):
    """What is to be done, and how the executor learns of it."""

    score: Callable[[str, int], int]  # (job_path, shard): scores and commits a shard; runs in the workers
    end: Callable[[], None]  # lets go of what a worker thread holds
    job_path: str
    missing: Callable[[], list[int]]  # the shards that are not committed
    committed: Callable[[int], None]  # is told each shard once


def run_shards(work: Work, backend: Backend) -> None:
    """Score every shard that `work.missing` lists until it lists none.

    Raises what a worker raised, or AnalyzerError for a shard whose worker died again and again.
    """
    todo = work.missing()
    n_jobs = max(1, min(backend.n_jobs, len(todo)))
    idle = 0
    while todo:
        attempts = Path(work.job_path).parent / f"attempts-{os.getpid()}-{secrets.token_hex(4)}"
        attempts.mkdir()
        try:
            lost = _round(work, todo, backend._replace(n_jobs=n_jobs), str(attempts))
        finally:
            shutil.rmtree(attempts, ignore_errors=True)
        left = work.missing()
        idle = idle + 1 if len(left) == len(todo) else 0
        if left and lost is None:
            raise AnalyzerError(f"{len(left)} shards are not committed though no worker failed ({work.job_path})")
        if lost is not None and idle >= _GIVE_UP_AFTER:
            raise AnalyzerError(
                f"workers keep dying and no shard gets done any more ({lost}); "
                "the node may be out of memory: run again with a smaller --n_jobs"
            ) from lost
        todo, n_jobs = left, max(1, n_jobs // 2)


def _round(work: Work, todo: Sequence[int], backend: Backend, attempts: str) -> BaseException | None:
    """One joblib call over `todo`; returns the error of a lost worker, raises any other."""
    driver = os.getpid() if backend.name == "loky" and backend.n_jobs > 1 else 0
    call = _Call([(work.score, work.job_path, shard, attempts, driver) for shard in todo], work.end, backend)
    waiting = set(todo)
    try:
        call.start()
        while call.is_alive():
            call.join(_POLL_SECONDS)
            _report(waiting, work)
    finally:
        call.stop()
    for shard in sorted(waiting - set(work.missing())):
        work.committed(shard)
    return call.lost()


def _report(waiting: set[int], work: Work) -> None:
    """Tell of the shards whose files have appeared. A name is enough here: the footers are checked at the end."""
    there = os.listdir(os.path.join(os.path.dirname(work.job_path), "shards"))
    numbers = {int(name[6:-8]) for name in there if name.startswith("shard-") and name.endswith(".parquet")}
    for shard in sorted(waiting & numbers):
        waiting.discard(shard)
        work.committed(shard)


class _Call(threading.Thread):
    """A joblib call in a thread of its own, so that the driver can watch the shards and heed signals meanwhile."""

    def __init__(self, tasks: Sequence[tuple[Any, ...]], end: Callable[[], None], backend: Backend) -> None:
        super().__init__(daemon=True)
        self._tasks = tasks
        self._end = end
        self._backend = backend
        self._error: BaseException | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        import joblib

        try:
            with _launched(self._backend, self._end) as settings:
                joblib.Parallel(**settings)(joblib.delayed(_attempt)(*task) for task in self._until_stopped())
        except BaseException as error:  # noqa: BLE001  # raised again in the driver's thread
            self._error = error

    def _until_stopped(self) -> Iterator[tuple[Any, ...]]:
        for task in self._tasks:
            if self._stopping.is_set():
                return
            yield task

    def stop(self) -> None:
        """End the workers; at once where the call is still under way."""
        self._stopping.set()
        if self._backend.name == "loky" and self._backend.n_jobs > 1:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=False, kill_workers=True)
        if self.is_alive() and self._backend.name != "sequential":
            self.join(2.0)

    def lost(self) -> BaseException | None:
        """The error where a worker was lost; raises any other error of the call."""
        error = self._error
        if error is None or _is_lost_worker(error):
            return error
        raise error


def _is_lost_worker(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(
        names & {"BrokenProcessPool", "TerminatedWorkerError", "KilledWorker", "WorkerCrashedError", "RayActorError"}
    )


@contextlib.contextmanager
def _launched(backend: Backend, end: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """The backend up and running, as arguments for joblib.Parallel."""
    import joblib

    common: dict[str, Any] = {"n_jobs": backend.n_jobs, "batch_size": 1, "pre_dispatch": "2*n_jobs"}
    if backend.name == "sequential" or (backend.name == "loky" and backend.n_jobs == 1):
        try:
            yield {"n_jobs": 1, "backend": "sequential"}
        finally:
            end()
    elif backend.name == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield common
    elif backend.name == "dask":
        with _dask_client(backend) as client, joblib.parallel_config("dask", client=client):
            yield common
    elif backend.name == "ray":
        with _ray(backend), joblib.parallel_config("ray"):
            yield common
    else:
        raise ConfigError(f"no backend is named {backend.name!r} (there are: {', '.join(BACKENDS)})")


@contextlib.contextmanager
def _dask_client(backend: Backend) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        raise ConfigError("--backend dask needs dask: pip install 'rollout-analyzer[dask]'") from None
    if backend.dask_scheduler:
        try:
            client = distributed.Client(backend.dask_scheduler, timeout=10)
        except (OSError, TimeoutError) as error:
            raise ConfigError(
                f"--dask_scheduler {backend.dask_scheduler}: no scheduler answers there ({error})"
            ) from None
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=backend.n_jobs, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def _ray(backend: Backend) -> Iterator[None]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise ConfigError("--backend ray needs ray: pip install 'rollout-analyzer[ray]'") from None
    local = {} if backend.ray_address else {"num_cpus": backend.n_jobs, "include_dashboard": False}
    try:
        ray.init(address=backend.ray_address, log_to_driver=False, logging_level="error", **local)
    except ConnectionError as error:
        raise ConfigError(f"--ray_address {backend.ray_address}: no cluster answers there ({error})") from None
    register_ray()
    try:
        yield
    finally:
        ray.shutdown()


# ---------------------------------------------------------------- in the worker


def _attempt(score: Callable[[str, int], int], job_path: str, shard: int, attempts: str, driver: int) -> int:
    """Score a shard, unless it has already killed its worker ATTEMPTS times.

    Some backends give a lost task out again for ever; a mark left at every start lets it end.
    """
    if driver:
        _follow(driver)
    marks = Path(attempts)
    for number in range(ATTEMPTS):
        try:
            (marks / f"{shard}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        except FileNotFoundError:
            raise UserError("the driver of this run has gone; run the same command again to go on") from None
        return score(job_path, shard)
    raise AnalyzerError(f"shard {shard} of {job_path} was started {ATTEMPTS} times and its worker died each time")


_following = 0


def _follow(driver: int) -> None:
    """End this worker when its driver ends, however that ends; leave SIGINT to the driver."""
    global _following
    if _following == driver:
        return
    _following = driver
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
