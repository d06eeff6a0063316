"""Clusters that somebody else started: workers of another environment are named, and score nothing."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from analyzer.cache.code import PACKAGE, versions_of
from analyzer.errors import EXIT_USER, ConfigError, UserError
from analyzer.plan import Seal
from analyzer.stages.score import score_shard
from analyzer.workers.backends import CODE, Backend, check_same_code, launched
from analyzer.workers.executor import Work, run_shards
from tests import processes
from tests.commands import known_tokenizer
from tests.workers import shard_tasks

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "examples" / "sample"
QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


class Started(NamedTuple):
    address: str
    scheduler: processes.Process


@functools.cache
def _dask() -> processes.Server:
    """Has imported dask and nothing of ours, so that what it forks finds our packages where PYTHONPATH says."""
    return processes.start_server(
        "dask", ["distributed.cli.dask_scheduler", "distributed.cli.dask_worker"], dict(os.environ)
    )


@contextmanager
def started(module: str, *words: str, packages: Path, folder: Path, log: str) -> Iterator[processes.Process]:
    """A process of dask that finds packages in a folder first."""
    with (folder / log).open("wb") as said:
        process = processes.Process(
            ["-m", module, *words, *QUIET],
            stdout=said,
            stderr=said,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(packages)},
            server=_dask,
            brief=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextmanager
def scheduler_with(packages: Path, folder: Path) -> Iterator[Started]:
    """A real scheduler that finds packages in a folder first."""
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    words = ("distributed.cli.dask_scheduler", "--host", address)
    with started(*words, packages=packages, folder=folder, log="scheduler.log") as process:
        yield Started(address, process)


@contextmanager
def worker_with(packages: Path, address: str, folder: Path) -> Iterator[None]:
    """A real worker that finds packages in a folder first."""
    words = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny")
    with started(*words, packages=packages, folder=folder, log="worker.log"):
        yield


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """One for the workers of several tests, which end with each: it takes half a second of CPU time to start."""
    with scheduler_with(REPOSITORY, tmp_path_factory.mktemp("scheduler")) as scheduler:
        yield scheduler


def analysis(tmp_path: Path, address: str) -> subprocess.CompletedProcess[str]:
    words = ("--rollouts", SAMPLE / "rollouts.parquet", "--model_path", SAMPLE / "tokenizer", "--no_report")
    folders = ("--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache")
    known_tokenizer(tmp_path / "cache")
    return processes.run(["-m", "analyzer", *words, *folders, "--backend", "dask", "--dask_scheduler", address])


def without(packages: Path) -> None:
    (packages / "analyzer").mkdir()
    (packages / "analyzer" / "__init__.py").write_text("raise ImportError('not here')")


def other_code(packages: Path) -> None:
    shutil.copytree(PACKAGE, packages / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    with (packages / "analyzer" / "rewards" / "gsm8k.py").open("a") as file:
        file.write("# another version\n")


def other_library(packages: Path) -> None:
    info = packages / "tokenizers-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tokenizers\nVersion: 0.0.1\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (without, "cannot load rollout-analyzer"),
        (other_code, "has other code of rollout-analyzer than the driver"),
        (other_library, "has tokenizers 0.0.1 instead of"),
    ],
    ids=["without", "other_code", "other_library"],
)
def test_a_worker_of_another_environment_is_named_and_scores_nothing(
    make: Callable[[Path], None], said: str, scheduler: Started, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    make(packages)
    with worker_with(packages, scheduler.address, tmp_path):
        done = analysis(tmp_path, scheduler.address)
    committed = list((tmp_path / "cache").rglob("shard-*.parquet"))
    assert (done.returncode, committed) == (EXIT_USER, []), done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_scheduler_without_the_program_is_named(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    without(packages)
    with scheduler_with(packages, tmp_path) as (address, _), worker_with(REPOSITORY, address, tmp_path):
        done = analysis(tmp_path, address)
    assert done.returncode == EXIT_USER, done.stderr
    assert "error: the scheduler tcp://" in done.stderr
    assert "cannot load rollout-analyzer" in done.stderr


def test_a_worker_that_does_not_see_the_input_says_that_it_is_a_worker(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    seal = Seal("0" * 64, {}, elsewhere=True)
    with pytest.raises(UserError, match=rf"run the same command again \(on the worker node {platform.node()}\)"):
        score_shard(seal, str(tmp_path), 0)


def test_a_scheduler_that_is_killed_in_mid_run_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()

    def kill_when_scored() -> None:
        while not (tmp_path / "log").exists():
            time.sleep(0.02)
        killed.kill()

    work = Work(shard_tasks.commit_slowly, shard_tasks.end, str(tmp_path), lambda: list(range(12)), lambda _: None)
    with scheduler_with(REPOSITORY, tmp_path) as (address, killed), worker_with(REPOSITORY, address, tmp_path):
        threading.Thread(target=kill_when_scored, daemon=True).start()
        with pytest.raises(UserError, match=r"lost the dask scheduler.*run the same command again to resume"):
            run_shards(work, Backend("dask", dask_scheduler=address))


def test_the_code_that_workers_are_asked_for_is_that_of_the_driver() -> None:
    check_same_code({"one": eval(CODE), "gone": OSError("closed")}, eval(CODE))
    with pytest.raises(ConfigError, match="the worker two has other code"):
        check_same_code({"one": eval(CODE), "the worker two": "0"}, eval(CODE))


def test_versions_are_those_of_this_process() -> None:
    found = versions_of(["numpy", "no-such-library"])
    assert found == {
        "python": platform.python_version(),
        "no-such-library": "none",
        "numpy": importlib.metadata.version("numpy"),
    }


@pytest.mark.parametrize(
    ("address", "said"),
    [
        *[(address, "must be HOST:PORT") for address in ("", " ", "host", "http://host:1", "host:port", "::1:5")],
        *[(address, "no cluster answers there") for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:70000")],
    ],
)
def test_an_address_of_ray_that_is_none_or_does_not_answer_is_named_at_once(address: str, said: str) -> None:
    pytest.importorskip("ray")
    with (
        pytest.raises(ConfigError, match=said),
        launched(Backend("ray", ray_address=address, answer_seconds=0.5), 2, lambda: None),
    ):
        pass


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "ucx://host:1", "http://host:1", "host", ""])
def test_an_address_of_dask_that_is_none_is_named(address: str) -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(ConfigError, match="no scheduler answers there"),
        launched(Backend("dask", dask_scheduler=address, answer_seconds=0.5), 2, lambda: None),
    ):
        pass
