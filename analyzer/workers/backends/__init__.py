"""The backends: workers on this machine, on a dask cluster or on a ray cluster. The only folder that knows joblib.

They differ in how they launch and in nothing else. A backend is a `Cluster`, made by a context that launches its
workers, which runs tasks with joblib's own backend of that name. To add one, add one file to this folder with a class
that is decorated by `register`, and its name to the choices of --backend.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

from analyzer.errors import ConfigError, to_install
from analyzer.registry import Registry

__all__ = [
    "BACKENDS",
    "CODE",
    "Backend",
    "Cluster",
    "Task",
    "begin",
    "check_installed",
    "check_same_code",
    "end",
    "is_lost_worker",
    "launched",
    "names",
    "register",
    "start",
    "usable_cores",
    "warmed",
]


class Backend(NamedTuple):
    """Where the shards are scored."""

    name: str = "loky"
    n_jobs: int | None = None  # None: all cores that there are, here or on the cluster
    dask_scheduler: str | None = None  # address; None: a cluster on this machine
    ray_address: str | None = None
    answer_seconds: float = 10.0  # for a scheduler to answer
    notice_seconds: float = 30.0  # without a worker, after which a notice is printed
    tasks: int = 1_024  # to give out before shards are joined to tasks: more workers may come later
    code: str = ""  # what CODE says in the driver; "": workers are not asked

    @property
    def elsewhere(self) -> bool:
        """Whether the workers are of a cluster that somebody else started, perhaps from another environment."""
        address = {"dask": self.dask_scheduler, "ray": self.ray_address}.get(self.name)
        return address is not None


CODE = "__import__('analyzer.cache.code', fromlist=['*']).scoring_code_digest()"
"""Python that tells which code of this program a process has. A worker without the program cannot unpickle a
function of ours and dies of its first task; this text it can evaluate."""


def check_same_code(answers: Mapping[str, Any], code: str) -> None:
    """Raise ConfigError where a worker of a running cluster has none, or other code of this program.

    answers: what CODE gave in each process, such as "the worker ADDRESS", or the error that it raised there.
    """
    for address, found in sorted(answers.items()):
        if isinstance(found, ImportError | AttributeError):
            trouble = f"cannot load rollout-analyzer ({found})"
        elif isinstance(found, str) and code and found != code:
            trouble = "has other code of rollout-analyzer than the driver"
        else:  # a worker that has just gone, say: what it cannot do shows in its tasks
            continue
        raise ConfigError(f"{address} {trouble}: start the cluster from the environment of the driver")


class Task(NamedTuple):
    """One call in a worker."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


def usable_cores() -> int:
    """The cores this process may use, by affinity and cgroup."""
    joblib = _joblib()
    # os.cpu_count() would be the machine's: in a container of 2 cores on a node of 128 it starts 128 workers.
    return int(joblib.cpu_count())


def _joblib() -> Any:
    """joblib, without its warning where there are no semaphores: loky.py says more clearly what follows from that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
        return importlib.import_module("joblib")


class Cluster(ABC):
    """Workers up and running. `n_jobs` of them work at once."""

    name: ClassVar[str]  # joblib's own name of the backend
    ahead: ClassVar[int] = 2
    """Tasks given out for each worker."""
    needs: ClassVar[tuple[str, ...]] = ()  # packages, of the extra of its name
    joins: ClassVar[int] = 1
    """Shards of a task at most. A task that is lost costs the shard that was worked on, whatever it joins."""

    def __init__(self, n_jobs: int, **options: Any) -> None:
        self.n_jobs = n_jobs
        self._config = {"backend": self.name, **options}

    @classmethod
    @abstractmethod
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> AbstractContextManager[Cluster]:
        """A context of the workers for so many tasks; `end` lets go of what a worker thread holds.

        Raises ConfigError where the backend is not installed or does not answer.
        """

    @classmethod  # noqa: B027  # not every backend can
    def start(cls, backend: Backend, load: str) -> None:
        """Begin with the modules alone: `load` is a function as `package.module:function`, which imports them.

        For the very first, when nothing but the flags is known. `end` must follow.
        """

    @classmethod  # noqa: B027  # not every backend can
    def begin(cls, backend: Backend, warm: Callable[[], None]) -> None:
        """Begin to load what workers need, before it is known that there is work for them. `end` must follow."""

    @classmethod  # noqa: B027  # see `begin`
    def end(cls) -> None:
        """End what `start` or `begin` has begun, where no workers were made of it."""

    @classmethod
    @contextlib.contextmanager
    def warmed(cls, backend: Backend, tasks: int, warm: Callable[[], None]) -> Iterator[None]:
        """A context at whose end the workers that `launched` will have are there, and have called `warm`, if that is
        possible: starting them takes some tenths of a second, in which the driver has other things to do.
        """
        yield

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        """Run all tasks, at most `at_once` at a time. Raises what a task raised, or that a worker was lost."""
        joblib = _joblib()
        with joblib.parallel_config(**self._config):
            # A shard is a batch: joblib would otherwise join quick ones, and a lost worker would cost all of them.
            parallel = joblib.Parallel(batch_size=1, **self.settings(at_once))
            parallel(joblib.delayed(task.function)(*task.args) for task in tasks)

    def settings(self, at_once: int) -> Mapping[str, Any]:
        """Arguments of joblib.Parallel."""
        # joblib's loky and ray run a single job in this very process, where a shard that kills its process would end
        # the run. So there are two workers at least; one task at a time comes from giving out no more than one.
        return {"n_jobs": max(2, at_once), "pre_dispatch": 1 if at_once == 1 else f"{self.ahead}*n_jobs"}

    def trouble(self) -> BaseException | None:
        """An error that leaves joblib waiting forever, if there is one."""
        return None

    def stop(self) -> None:  # noqa: B027  # not every backend has something to end
        """End what is running."""


BACKENDS: Registry[type[Cluster]] = Registry("backend", __name__)
register = BACKENDS.register
names = BACKENDS.names


def check_installed(backend: Backend) -> None:
    """Raise ConfigError where the backend is not known, or its packages are not installed."""
    if any(importlib.util.find_spec(package) is None for package in BACKENDS.find(backend.name).needs):
        raise ConfigError(f"--backend {backend.name} needs {backend.name}: {to_install(backend.name)}")


def launched(backend: Backend, tasks: int, end: Callable[[], None]) -> AbstractContextManager[Cluster]:
    """The workers of a backend, see `Cluster.launched`. Raises ConfigError as `check_installed` does."""
    check_installed(backend)
    return BACKENDS.find(backend.name).launched(backend, tasks, end)


def start(backend: Backend, load: str) -> None:
    """Begin to import what workers need, see `Cluster.start`. Raises ConfigError for a backend that is not known."""
    BACKENDS.find(backend.name).start(backend, load)


def begin(backend: Backend, warm: Callable[[], None]) -> None:
    """Begin to load what workers need, see `Cluster.begin`. Raises ConfigError for a backend that is not known."""
    BACKENDS.find(backend.name).begin(backend, warm)


def end(backend: Backend) -> None:
    """End what `start` or `begin` has begun, where no workers were made of it."""
    BACKENDS.find(backend.name).end()


def warmed(backend: Backend, tasks: int, warm: Callable[[], None]) -> AbstractContextManager[None]:
    """Start the workers of a backend meanwhile, see `Cluster.warmed`. Raises ConfigError for one that is not known."""
    return BACKENDS.find(backend.name).warmed(backend, tasks, warm)


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error says that a worker died, and not that a task failed."""
    # By name: importing the classes would load dask and ray for every run, and need them to be installed.
    lost = {"BrokenProcessPool", "KilledWorker", "RayActorError", "WorkerCrashedError", "ObjectLostError"}
    return bool(lost & {cls.__name__ for cls in type(error).__mro__})
