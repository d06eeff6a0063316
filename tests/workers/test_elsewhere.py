"""Clusters that somebody else started: workers of another environment are named, and score nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from analyzer.cache.code import PACKAGE, versions_of
from analyzer.errors import EXIT_USER, ConfigError
from analyzer.workers.backends import CODE, Backend, check_same_code, launched
from tests import processes

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"


@contextmanager
def started(*words: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *words], **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def worker_with(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Starts a real scheduler with one worker that finds packages in a folder first; returns the address."""
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    log = (tmp_path / "cluster.log").open("wb")
    quiet = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    with log, ExitStack() as ends:

        def start(packages: Path) -> str:
            scheduler = ("-m", "distributed.cli.dask_scheduler", "--host", address, *quiet)
            ends.enter_context(started(*scheduler, stdout=log, stderr=log, cwd=tmp_path))
            worker = ("-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *quiet)
            environment = os.environ | {"PYTHONPATH": str(packages)}
            ends.enter_context(started(*worker, stdout=log, stderr=log, cwd=tmp_path, env=environment))
            return address

        yield start


def analysis(tmp_path: Path, address: str) -> subprocess.CompletedProcess[str]:
    words = ("--rollouts", SAMPLE / "rollouts.parquet", "--model_path", SAMPLE / "tokenizer", "--no_report")
    folders = ("--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache")
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
    make: Callable[[Path], None], said: str, worker_with: Callable[[Path], str], tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    make(packages)
    done = analysis(tmp_path, worker_with(packages))
    committed = list((tmp_path / "cache").rglob("shard-*.parquet"))
    assert (done.returncode, committed) == (EXIT_USER, []), done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_code_that_workers_are_asked_for_is_that_of_the_driver() -> None:
    check_same_code({"one": eval(CODE), "gone": OSError("closed")}, eval(CODE))
    with pytest.raises(ConfigError, match="the worker two has other code"):
        check_same_code({"one": eval(CODE), "two": "0"}, eval(CODE))


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
