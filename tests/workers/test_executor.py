"""Every backend runs every shard, survives the loss of a worker, and ends where a shard keeps killing its worker."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import proc
from analyzer.config import AnalysisSettings
from analyzer.errors import AnalyzerError, ConfigError, InputError, UserError
from analyzer.workers import backends, tracker
from analyzer.workers.backends import Backend, Task
from analyzer.workers.executor import Work, _attempt, joined, run_shards
from tests.workers import shard_tasks

SHARDS = 12


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def dask_workers_are_forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From a process that has imported dask, as its own tests do it: 0.05 s each, and not 0.5.

    The product has them started, and so has `make test-faults`. Set here and not where a test needs other settings of
    dask: those that were set before it is imported whole would take all others with them when they are set back.
    """
    distributed = pytest.importorskip("distributed")
    import dask

    multiprocessing.set_forkserver_preload(["distributed", "joblib", "pyarrow", "analyzer.workers.executor"])
    monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", True, raising=False)  # it would add pandas
    environment = dict(os.environ)  # in which dask leaves variables for its workers
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield
    os.environ.clear()
    os.environ.update(environment)


dask = pytest.mark.usefixtures("dask_workers_are_forked")
LOKY = pytest.param(Backend("loky", 2), id="loky")
DASK = pytest.param(Backend("dask", 2), id="dask")
ONE_OF_DASK = pytest.param(Backend("dask", 1), id="dask")
RAY = pytest.param(Backend("ray", 2), id="ray", marks=[needs("ray"), pytest.mark.ray])
SEQUENTIAL = pytest.param(Backend("sequential"), id="sequential")


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param.name == "dask":
        request.getfixturevalue("dask_workers_are_forked")
    return request.param


class Shards:
    """A folder of shards, and what the executor said of them."""

    def __init__(self, folder: Path, total: int = SHARDS) -> None:
        self.folder = folder
        self.total = total
        self.told: list[int] = []
        (folder / "shards").mkdir()

    def run(self, score: Callable[[str, int], int], backend: Backend) -> None:
        run_shards(Work(score, shard_tasks.end, str(self.folder), self.missing, self.told.append), backend)

    def missing(self) -> list[int]:
        there = {path.name for path in (self.folder / "shards").iterdir()}
        return [shard for shard in range(self.total) if f"shard-{shard:06d}.parquet" not in there]

    def scored(self) -> list[int]:
        """The shards that were scored, as often as they were."""
        return [int(line.split()[0]) for line in (self.folder / "log").read_text().splitlines()]

    def workers(self) -> set[int]:
        """The processes that committed."""
        return {int(line.split()[1]) for line in (self.folder / "log").read_text().splitlines()}


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path)


@pytest.mark.parametrize("backend", [LOKY, DASK, RAY, SEQUENTIAL], indirect=True)
def test_every_shard_is_committed_and_reported_once(backend: Backend, shards: Shards) -> None:
    """Also by those that start nothing ahead; loky's that do are below."""
    warm = functools.partial(shard_tasks.warm, str(shards.folder))
    with contextlib.nullcontext() if backend.name == "loky" else backends.warmed(backend, SHARDS, warm):
        pass
    shards.run(shard_tasks.commit, backend)
    assert shards.missing() == []
    assert sorted(shards.told) == list(range(SHARDS))
    assert (os.getpid() in shards.workers()) == (backend.name == "sequential")
    assert not list(shards.folder.glob(".attempts*"))


def test_the_choices_of_the_flag_are_the_backends_that_there_are() -> None:
    flag = {field.name: field for field in dataclasses.fields(AnalysisSettings)}["backend"]
    assert sorted(flag.metadata["choices"]) == backends.names()


@dask
def test_two_dask_clusters_of_two_runs_share_a_host(shards: Shards) -> None:
    with backends.launched(Backend("dask", 1), 1, shard_tasks.end):
        shards.run(shard_tasks.commit, Backend("dask", 1))
    assert shards.missing() == []


@pytest.mark.parametrize("backend", [LOKY, DASK, RAY], indirect=True)
def test_f3_f20_a_worker_killed_once_costs_nothing_but_its_shards_in_flight(backend: Backend, shards: Shards) -> None:
    backends.begin(backend, shard_tasks.end)  # loky's are forked, as those of an analysis are
    shards.run(shard_tasks.kill_worker_once, backend)
    assert shards.missing() == []
    assert sorted(shards.told) == list(range(SHARDS))
    assert os.getpid() not in shards.workers()


@pytest.mark.parametrize("backend", [LOKY, ONE_OF_DASK, RAY], indirect=True)
def test_a_shard_that_always_kills_its_worker_ends_the_run_with_its_number(backend: Backend, shards: Shards) -> None:
    backends.begin(backend, shard_tasks.end)  # loky's are forked, as those of an analysis are
    with pytest.raises(AnalyzerError, match=f"shard {shard_tasks.POISON} "):
        shards.run(shard_tasks.kill_worker_always, backend)
    assert shards.missing() == [shard_tasks.POISON]
    assert os.getpid() not in shards.workers()


def test_workers_that_die_before_they_begin_are_said_to(shards: Shards) -> None:
    backends.begin(Backend("loky", 2), shard_tasks.end)
    with pytest.raises(AnalyzerError, match=r"workers die before they begin a shard .*; 12 shards are not scored"):
        shards.run(shard_tasks.EndsItsWorker(), Backend("loky", 2))


@pytest.mark.parametrize("backend", [LOKY, ONE_OF_DASK, RAY, SEQUENTIAL], indirect=True)
def test_what_a_shard_raises_is_raised_as_it_is(backend: Backend, shards: Shards) -> None:
    backends.begin(backend, shard_tasks.end)
    with pytest.raises(InputError, match="row 7: response is null"):
        shards.run(shard_tasks.raise_error, backend)


def test_a_shard_that_is_not_committed_though_nothing_failed_is_an_error(shards: Shards) -> None:
    with pytest.raises(AnalyzerError, match="12 shards are not committed"):
        shards.run(shard_tasks.do_nothing, Backend("sequential"))


def test_nothing_is_launched_where_nothing_is_missing(shards: Shards) -> None:
    for shard in range(SHARDS):
        shard_tasks.commit(str(shards.folder), shard)
    shards.run(shard_tasks.commit, Backend("no such backend"))
    assert shards.told == []


@dask
def test_a_scheduler_that_does_not_answer_is_the_users_to_put_right(shards: Shards) -> None:
    with pytest.raises(ConfigError, match="no scheduler answers there"):
        shards.run(shard_tasks.commit, Backend("dask", dask_scheduler="tcp://127.0.0.1:1", answer_seconds=0.5))


@dask
@pytest.mark.parametrize("at_first", [0, 1])
def test_a_notice_says_that_the_run_waits_for_a_scheduler_without_workers(
    at_first: int, shards: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    """None has come yet, or the last one leaves in mid-run; the next comes when the user has been told."""
    import distributed

    said: list[str] = []

    def come_and_go() -> None:
        while at_first and not (shards.folder / "log").exists():
            time.sleep(0.02)
        cluster.scale(0)
        while "has had no worker" not in "".join(said):
            time.sleep(0.02)
            said.append(capsys.readouterr().err)
        cluster.scale(1)

    options = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}  # not port 8787
    with distributed.LocalCluster(n_workers=at_first, threads_per_worker=1, **options) as cluster:
        coming = threading.Thread(target=come_and_go, daemon=True)
        coming.start()
        backend = Backend("dask", dask_scheduler=cluster.scheduler_address, notice_seconds=0.3)
        shards.run(shard_tasks.commit_slowly, backend)
        coming.join()
    assert shards.missing() == []
    said.append(capsys.readouterr().err)
    assert "".join(said).count(f"{cluster.scheduler_address} has had no worker") == 1


@dask
def test_a_cluster_of_our_own_that_has_lost_its_workers_for_good_ends_the_run(shards: Shards) -> None:
    """Without a nanny to restart them nobody would, and joblib waits forever."""
    import distributed

    def lose_all() -> None:
        while not (shards.folder / "log").exists():
            time.sleep(0.02)
        distributed.default_client().cluster.scale(0)

    losing = threading.Thread(target=lose_all)
    losing.start()
    with pytest.raises(UserError, match=r"all dask workers on this machine have ended.*run the same command again"):
        shards.run(shard_tasks.commit_slowly, Backend("dask", 1, notice_seconds=0.3))
    losing.join()
    assert 0 < len(shards.missing()) < SHARDS


@dask
def test_arrow_imports_no_pandas_in_workers_of_a_cluster_of_our_own(tmp_path: Path) -> None:
    """A second and 50 MB each, for which they have no use."""
    with backends.launched(Backend("dask", 1), 1, shard_tasks.end) as cluster:
        cluster.run([Task(shard_tasks.look_at_an_array, (str(tmp_path),))], 1)
    assert (tmp_path / "pandas").read_text() == "False"


@dask
def test_a_worker_that_takes_long_to_restart_is_not_given_up(shards: Shards) -> None:
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 ms"}):  # dask's 15 s pass on a busy machine, too
        shards.run(shard_tasks.kill_worker_once, Backend("dask", 1))
    assert shards.missing() == []
    assert os.getpid() not in shards.workers()  # one worker is no reason for joblib to score in the driver


def test_a_task_that_joblib_has_for_a_pool_just_stopped_is_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with backends.launched(Backend("loky", 2), SHARDS, shard_tasks.end) as cluster:
        stopped = threading.Event()

        def tasks() -> Iterator[Task]:
            yield from [Task(shard_tasks.end, ())] * cluster.ahead * 2
            cluster.stop()  # asked for in a thread of the pool's own, as soon as a task is done
            stopped.set()
            yield Task(shard_tasks.end, ())

        def run() -> None:
            with contextlib.suppress(Exception):  # that its workers were lost
                cluster.run(tasks(), 2)

        threading.Thread(target=run, daemon=True).start()
        assert stopped.wait(60)
        time.sleep(0.3)
    assert [record.message for record in caplog.records if record.name == "concurrent.futures"] == []


# ---------------------------------------------------------------- several shards a task


@given(st.integers(0, 3_000), st.integers(2, 500), st.integers(1, 40))
def test_tasks_hold_every_shard_once_in_their_order_and_grow_smaller(shards: int, tasks: int, most: int) -> None:
    parts = list(joined(range(shards), tasks, most))
    assert [shard for part in parts for shard in part] == list(range(shards))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=1) <= most
    assert len(parts) >= min(shards, tasks)
    assert sizes[-tasks:] == [1] * min(shards, tasks)


@dask
def test_joined_shards_are_committed_and_reported_once_though_a_worker_is_killed(tmp_path: Path) -> None:
    shards = Shards(tmp_path, total=40)
    shards.run(shard_tasks.kill_worker_once, Backend("dask", 2, tasks=1))
    assert (tmp_path / "killed").exists()
    assert shards.missing() == []
    assert sorted(shards.told) == list(range(40))
    assert sorted(shards.scored()) == list(range(40))


@dask
def test_a_joined_shard_that_always_kills_its_worker_ends_the_run_with_its_number(tmp_path: Path) -> None:
    shards = Shards(tmp_path, total=40)
    with pytest.raises(AnalyzerError, match=f"shard {shard_tasks.POISON} "):
        shards.run(shard_tasks.kill_worker_always, Backend("dask", 1, tasks=1))
    assert shards.missing() == [shard_tasks.POISON]
    assert len(shards.scored()) == 39


def test_a_task_that_is_given_out_again_scores_only_the_shards_that_it_had_not_ended(tmp_path: Path) -> None:
    shards, marks = Shards(tmp_path), tmp_path / "marks"
    marks.mkdir()
    task = (shard_tasks.kill_worker_once, str(tmp_path), (1, 2, shard_tasks.POISON, 4), str(marks))
    codes = []
    for _ in range(3):
        worker = multiprocessing.get_context("spawn").Process(target=_attempt, args=task)
        worker.start()
        worker.join()
        codes.append(worker.exitcode)
    assert codes == [-signal.SIGKILL, 0, 0]
    assert shards.scored() == [1, 2, shard_tasks.POISON, 4]


def test_a_task_whose_driver_has_ended_goes_on_with_no_further_shard(tmp_path: Path) -> None:
    shards, marks = Shards(tmp_path), tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(UserError, match="the driver of this run has ended; the same command resumes"):
        _attempt(shard_tasks.commit_as_the_driver_ends, str(tmp_path), (1, 2, 4), str(marks))
    assert shards.scored() == [1]
    with pytest.raises(UserError, match=r"does not see .*: all nodes need the same --cache_dir"):
        _attempt(shard_tasks.commit, str(tmp_path / "elsewhere"), (1,), str(tmp_path / "elsewhere" / "marks"))


# ---------------------------------------------------------------- started ahead


def test_the_workers_that_start_ahead_are_those_that_score(shards: Shards) -> None:
    backend = Backend("loky", 2)
    with backends.warmed(backend, SHARDS, functools.partial(shard_tasks.warm, str(shards.folder))):
        pass
    ahead = {int(path.name.removeprefix("warm-")) for path in shards.folder.glob("warm-*")}
    shards.run(shard_tasks.commit_slowly, backend)
    assert shards.missing() == []
    assert len(ahead) == 3  # the process that loads, and the two that are forked from it
    assert shards.workers() < ahead


def test_workers_that_start_ahead_end_where_there_is_nothing_to_do_after_all(shards: Shards) -> None:
    def refuse() -> None:
        with backends.warmed(Backend("loky", 2), SHARDS, functools.partial(shard_tasks.warm, str(shards.folder))):
            while not list(shards.folder.glob("warm-*")):
                time.sleep(0.05)
            raise InputError("no")

    with pytest.raises(InputError):
        refuse()
    there = [int(path.name.removeprefix("warm-")) for path in shards.folder.glob("warm-*")]
    deadline = time.monotonic() + 20
    while not all(map(proc.is_dead, there)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(map(proc.is_dead, there)) == [True] * len(there)


def test_the_thread_of_a_stopped_pool_fails_without_a_word_and_no_other(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    with backends.launched(Backend("loky", 2), SHARDS, shard_tasks.end) as cluster:
        cluster.run([Task(shard_tasks.warm, (str(shards.folder),))] * 2, 2)
        (of_the_pool,) = (thread for thread in threading.enumerate() if thread.name == "ExecutorManagerThread")
    error = KeyError(1)  # of the task that it has dropped
    threading.excepthook(threading.ExceptHookArgs((KeyError, error, None, of_the_pool)))
    assert said == []
    for shown in ((KeyError, error, None, threading.current_thread()), (OSError, OSError(), None, of_the_pool)):
        threading.excepthook(threading.ExceptHookArgs(shown))
    assert len(said) == 2


def test_workers_that_would_come_after_their_end_do_not_come(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine all was over before the thread had got so far as to ask for them."""
    ended = threading.Event()
    monkeypatch.setattr(tracker, "start", lambda: ended.wait(60))
    before = threading.enumerate()
    with (
        pytest.raises(InputError),
        backends.warmed(Backend("loky", 2), SHARDS, functools.partial(shard_tasks.warm, str(shards.folder))),
    ):
        raise InputError("no")
    (late,) = set(threading.enumerate()) - set(before)
    ended.set()
    late.join(60)
    with backends.launched(Backend("loky", 2), SHARDS, shard_tasks.end):
        pass  # which ends the pool that joblib has made, not for the next test to find
    assert len(list(shards.folder.glob("warm-*"))) <= 1  # the process that loads; not two workers that nobody would end


def test_what_is_loaded_before_the_plan_is_made_is_what_workers_are_forked_from(shards: Shards) -> None:
    backends.begin(Backend("loky", 2), shard_tasks.load)
    with backends.warmed(Backend("loky", 2), SHARDS, shard_tasks.load):
        pass
    shards.run(shard_tasks.commit_as_loaded, Backend("loky", 2))
    assert len({by[0] for by in loaded(shards).values()}) == 1


@pytest.mark.parametrize("tasks", [None, 1])
def test_what_is_loaded_ends_where_there_is_no_work_for_two(tasks: int | None, shards: Shards) -> None:
    backend, warm = Backend("loky", 2), functools.partial(shard_tasks.warm, str(shards.folder))
    backends.begin(backend, warm)
    while not list(shards.folder.glob("warm-*")):
        time.sleep(0.05)
    if tasks is None:  # none at all
        backends.end(backend)
    else:
        with backends.warmed(backend, tasks, warm):
            pass
    assert [proc.is_dead(int(path.name.removeprefix("warm-"))) for path in shards.folder.glob("warm-*")] == [True]


# ---------------------------------------------------------------- forked


def loaded(shards: Shards) -> dict[int, list[int]]:
    """Worker -> the processes that have loaded what it uses."""
    lines = [list(map(int, line.split())) for line in (shards.folder / "loaded").read_text().splitlines()]
    return {worker: by for worker, *by in lines}


def test_what_workers_need_is_loaded_once_for_all_of_them(shards: Shards) -> None:
    with backends.warmed(Backend("loky", 2), SHARDS, shard_tasks.load):
        pass
    shards.run(shard_tasks.commit_as_loaded, Backend("loky", 2))
    assert shards.missing() == []
    first = {by[0] for by in loaded(shards).values()}
    assert len(loaded(shards)) == 2
    assert len(first) == 1
    assert not first & {os.getpid(), *loaded(shards)}
    assert list(map(proc.is_dead, [*first, *loaded(shards)])) == [True] * 3


def test_a_process_that_cannot_be_forked_leaves_workers_to_load_by_themselves(shards: Shards) -> None:
    with backends.warmed(Backend("loky", 2), SHARDS, shard_tasks.load_with_a_thread):
        pass
    shards.run(shard_tasks.commit_as_loaded, Backend("loky", 2))
    assert shards.missing() == []
    assert all(set(by) <= {worker} for worker, by in loaded(shards).items())


def test_the_death_of_what_workers_are_forked_from_costs_no_more_than_their_own(shards: Shards) -> None:
    with backends.warmed(Backend("loky", 2), SHARDS, shard_tasks.load):
        pass
    shards.run(shard_tasks.kill_what_forks_once, Backend("loky", 2))
    assert (shards.folder / "killed").exists()
    assert shards.missing() == []
