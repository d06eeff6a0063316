"""The backends: workers on this machine, on a dask cluster or on a ray cluster. The only file that knows joblib.

They differ in how they launch and in nothing else. Each is a context that yields a `Cluster`, which runs tasks with
joblib's own backend of that name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from analyzer.errors import AnalyzerError, ConfigError, UserError, to_install

NAMES = ("loky", "dask", "ray", "sequential")
Value = TypeVar("Value")
_ANSWER_SECONDS = 10.0
_TELL_AFTER_SECONDS = 30.0


class Backend(NamedTuple):
    """Where the shards are scored."""

    name: str = "loky"
    n_jobs: int | None = None  # None: all cores that there are, here or on the cluster
    dask_scheduler: str | None = None  # address; None: a cluster on this machine
    ray_address: str | None = None


class Task(NamedTuple):
    """One call in a worker."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


def usable_cores() -> int:
    """The cores this process may use, by affinity and cgroup."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")  # `launched` says it better
        import joblib

    return int(joblib.cpu_count())


class Cluster:
    """Workers up and running. `n_jobs` of them work at once."""

    def __init__(self, n_jobs: int, name: str, **options: Any) -> None:
        self.n_jobs = n_jobs
        self._config = {"backend": name, **options}

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        """Run all tasks, at most `at_once` at a time. Raises what a task raised, or that a worker was lost."""
        import joblib

        with joblib.parallel_config(**self._config):
            parallel = joblib.Parallel(batch_size=1, **self.settings(at_once))
            parallel(joblib.delayed(task.function)(*task.args) for task in tasks)

    def settings(self, at_once: int) -> Mapping[str, Any]:
        """Arguments of joblib.Parallel. Its loky and ray run one job in this very process, where it would be at risk
        of a shard that kills its process: so there are two workers, and one task at a time."""
        return {"n_jobs": max(2, at_once), "pre_dispatch": 1 if at_once == 1 else f"{self.ahead}*n_jobs"}

    ahead = 2
    """Tasks given out for each worker."""

    def trouble(self) -> BaseException | None:
        """An error that leaves joblib waiting for ever, if there is one."""
        return None

    def stop(self) -> None:
        """End what is running."""


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error says that a worker died, and not that a task failed."""
    lost = {"BrokenProcessPool", "KilledWorker", "RayActorError", "WorkerCrashedError", "ObjectLostError"}
    return bool(lost & {cls.__name__ for cls in type(error).__mro__})


@contextlib.contextmanager
def launched(backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
    """The workers for so many tasks, up and running; `end` lets go of what a worker thread holds.

    Raises ConfigError where the backend is not installed or does not answer.
    """
    cores = usable_cores()  # also imports joblib, which warns where there are no semaphores
    wanted = backend.n_jobs or cores
    if backend.name == "loky" and min(wanted, tasks) > 1 and (why := no_semaphores()):
        from tqdm import tqdm

        tqdm.write(
            f"/dev/shm cannot be used ({why}), which workers beside each other need: one process scores all shards",
            file=sys.stderr,
        )
        wanted = 1
    if backend.name == "sequential" or (backend.name == "loky" and min(wanted, tasks) == 1):
        yield _Sequential(end)
    elif backend.name == "loky":
        with _loky(min(wanted, tasks)) as cluster:
            yield cluster
    elif backend.name == "dask":
        with _dask(backend, min(wanted, tasks)) as cluster:
            yield cluster
    elif backend.name == "ray":
        with _ray(backend, tasks) as cluster:
            yield cluster
    else:
        raise ConfigError(f"no backend is named {backend.name!r} (there are: {', '.join(NAMES)})")


class _Sequential(Cluster):
    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__(1, "sequential")
        self._end = end

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        try:
            super().run(tasks, at_once)
        finally:
            self._end()

    def settings(self, at_once: int) -> Mapping[str, Any]:
        return {"n_jobs": 1}


# ---------------------------------------------------------------- loky


class _Loky(Cluster):
    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


@contextlib.contextmanager
def _loky(n_jobs: int) -> Iterator[Cluster]:
    cluster = _Loky(n_jobs, "loky", inner_max_num_threads=1, initializer=_follow, initargs=(os.getpid(),))
    try:
        yield cluster
    finally:
        cluster.stop()


def call_apart(function: Callable[..., Value], *args: Any) -> Value:
    """Call a function in a process that then ends, so that the memory it took is given back.

    Raises what it raises, and AnalyzerError where the process ended without a word. Not with loky: for one call that
    would take semaphores, and so a /dev/shm that can be written to.
    """
    call = json.dumps(sys.path).encode() + b"\n" + pickle.dumps((os.getpid(), function, args))
    done = subprocess.run([sys.executable, "-P", "-c", _APART], input=call, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0 or not done.stdout:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise AnalyzerError(f"a process that calls {function.__name__} ended too soon ({how}); out of memory?")
    value, error = pickle.loads(done.stdout)
    if error is not None:
        raise error
    result: Value = value
    return result


_APART = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    "from analyzer.workers.backends import answer; answer()"
)


def answer() -> None:
    """The other side of `call_apart`: make the call that stands on stdin, and write its value or error to stdout."""
    out = os.dup(1)
    os.dup2(2, 1)  # what is printed meanwhile is no answer
    driver, function, args = pickle.load(sys.stdin.buffer)
    _follow(driver)
    result: tuple[Any, BaseException | None]
    try:
        result = (function(*args), None)
    except Exception as error:  # noqa: BLE001  # raised again by the driver
        result = (None, error)
    with open(out, "wb") as file:
        file.write(pickle.dumps(result))


def no_semaphores() -> str:
    """Why this machine has none of the semaphores that loky's workers share (they lie in /dev/shm); "" where it has."""
    import multiprocessing

    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def _follow(driver: int) -> None:
    """End this process when its driver ends, however that ends; leave SIGINT to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    _tell_arrow_of_no_pandas()


def _tell_arrow_of_no_pandas() -> None:
    """Arrow imports pandas when it first looks at a value; a second and 50 MB, for which a worker has no use.

    It tries once, so the import is made to fail that once. Code of the user runs in processes of its own.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0]).to_numpy()
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder of modules that says there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(0.5)
    os._exit(1)


# ---------------------------------------------------------------- dask


class _Dask(Cluster):
    def __init__(self, client: Any) -> None:
        self._client = client
        self._seen = self._looked = time.monotonic()  # when there were workers, and when they were asked for
        self._told = False
        super().__init__(sum(client.ncores().values()), "dask", client=client)

    def settings(self, at_once: int) -> Mapping[str, Any]:
        """joblib's dask ignores n_jobs. All tasks are given out at once, so that workers which come later get some."""
        return {"n_jobs": -1, "pre_dispatch": "all" if at_once >= self.n_jobs else at_once}

    def trouble(self) -> BaseException | None:
        if self._client.status == "closed":
            return UserError("the dask scheduler is gone; run the same command again to go on")
        for future in list(self._client.futures.values()):
            if future.status == "error":  # a task that fails returns its error: this one has lost its worker too often
                error: BaseException = future.exception
                return error
        self._look_for_workers()
        return None

    def _look_for_workers(self) -> None:
        """Say so where all are gone for long; dask waits for others, and the work goes on with them."""
        now = time.monotonic()
        if now - self._looked < _TELL_AFTER_SECONDS / 3:
            return
        self._looked = now
        with contextlib.suppress(OSError, RuntimeError):  # a lost connection shows in the client's status
            if self._client.ncores():
                self._seen, self._told = now, False
            elif not self._told and now - self._seen > _TELL_AFTER_SECONDS:
                self._told = True
                _tell_of_no_workers(self._client.scheduler.address)

    def stop(self) -> None:
        self._client.close(timeout=1)


def _is_no_hangup(record: logging.LogRecord) -> bool:
    """Whether there is more to say than that a connection of dask's ended, as all do when a run is stopped."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in {"CommClosedError", "StreamClosedError"}


@contextlib.contextmanager
def _dask(backend: Backend, n_jobs: int) -> Iterator[Cluster]:
    try:
        import distributed
    except ImportError:
        raise ConfigError(f"--backend dask needs dask: {to_install('dask')}") from None
    for name in ("asyncio", "tornado.application"):
        logging.getLogger(name).addFilter(_is_no_hangup)
    if backend.dask_scheduler is None:
        with (
            distributed.LocalCluster(
                n_workers=n_jobs,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # no pausing, no spilling: a worker holds a window of text and nothing else
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its HTTP server: any free port, this host only
                silence_logs="ERROR",
            ) as local,
            distributed.Client(local) as client,
        ):
            yield _Dask(client)
        return
    try:
        client = distributed.Client(backend.dask_scheduler, timeout=_ANSWER_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"--dask_scheduler {backend.dask_scheduler}: no scheduler answers there ({error})") from None
    with client:
        _wait_for_worker(client, backend.dask_scheduler)
        yield _Dask(client)


def _wait_for_worker(client: Any, address: str) -> None:
    """Wait until there is one, which in a batch system may take its time; say so when it does."""
    try:
        client.wait_for_workers(1, timeout=_TELL_AFTER_SECONDS)
    except TimeoutError:
        _tell_of_no_workers(address)
        client.wait_for_workers(1)


def _tell_of_no_workers(address: str) -> None:
    from tqdm import tqdm

    tqdm.write(
        f"the dask scheduler {address} has had no worker for {_TELL_AFTER_SECONDS:g} s; waiting on "
        "(are the jobs that start them still queued, or have they failed?)",
        file=sys.stderr,
    )


# ---------------------------------------------------------------- ray


class _Ray(Cluster):
    ahead = 8  # joblib's ray hands each task to a worker at random, so a short queue leaves some without work


@contextlib.contextmanager
def _ray(backend: Backend, tasks: int) -> Iterator[Cluster]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise ConfigError(f"--backend ray needs ray: {to_install('ray')}") from None
    local = {} if backend.ray_address else {"num_cpus": backend.n_jobs or usable_cores(), "include_dashboard": False}
    try:
        ray.init(address=backend.ray_address or "local", log_to_driver=False, logging_level="error", **local)
    except ConnectionError as error:
        raise ConfigError(f"--ray_address {backend.ray_address}: no cluster answers there ({error})") from None
    register_ray()
    try:
        n_jobs = backend.n_jobs or int(ray.cluster_resources().get("CPU", 1))
        yield _Ray(min(n_jobs, tasks), "ray")
    finally:
        ray.shutdown()
