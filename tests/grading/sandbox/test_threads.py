"""A node that allows few threads: a right program that needs some has no verdict, and never a wrong one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.grading.sandbox import Level
from tests import processes

GROUPS = Path("/sys/fs/cgroup/pids")
SOURCE = """
import threading, time
threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range({threads})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(3)
"""
SCRIPT = """
import sys
from pathlib import Path
import os
from analyzer.grading.sandbox import Budget, Sandbox, Unavailable, choose_level
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
sandbox = Sandbox(choose_level(sys.argv[2]))
sandbox.run_script(["print(3)"], b"", Budget())
Path(sys.argv[1], "pids.max").write_text(sys.argv[4])
try:
    outcome = sandbox.run_script([sys.argv[3]], b"", Budget())
    print(outcome.verdict, outcome.output.decode(), outcome.detail)
except Unavailable as error:
    print("unavailable:", error)
sandbox.close()
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup (v1) of the controller of processes, in which a process can limit itself."""
    folder = GROUPS / f"threads-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "pids.max").write_text("max")
    except OSError as error:
        pytest.skip(f"no cgroup of processes can be made: {error}")
    yield folder
    end = time.monotonic() + 10
    while (folder / "cgroup.procs").read_text() and time.monotonic() < end:  # a runner ends with its worker, soon
        time.sleep(0.01)
    folder.rmdir()


@pytest.mark.parametrize(
    ("most", "said"), [("16", "unavailable: the system allows no more threads"), ("200", "None 3")]
)
def test_a_program_that_the_node_refuses_threads_has_no_verdict(
    level: Level, group: Path, most: str, said: str
) -> None:
    source = SOURCE.format(threads=20)
    done = processes.run(["-c", SCRIPT, group, level.name, source, most], brief=False, check=True)
    assert done.stdout.startswith(said), done.stdout


def test_a_program_that_says_so_of_itself_is_wrong(level: Level, group: Path) -> None:
    source = 'raise RuntimeError("can\'t start new thread")'
    done = processes.run(["-c", SCRIPT, group, level.name, source, "max"], brief=False, check=True)
    assert done.stdout.startswith("runtime_error"), done.stdout
