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
SAYS_SO_ITSELF = 'raise RuntimeError("can\'t start new thread")'
SCRIPT = """
import os, sys
from pathlib import Path
from analyzer.grading.sandbox import Budget, Sandbox, Unavailable, find_level
group, level, *rest = sys.argv[1:]
Path(group, "cgroup.procs").write_text(str(os.getpid()))
for most, source in zip(rest[::2], rest[1::2]):
    sandbox = Sandbox(find_level(level))
    sandbox.run_script(["print(3)"], b"", Budget())
    Path(group, "pids.max").write_text(most)
    try:
        outcome = sandbox.run_script([source], b"", Budget())
        print(outcome.verdict, outcome.output.decode().strip(), outcome.detail)
    except Unavailable as error:
        print("unavailable:", error)
    Path(group, "pids.max").write_text("max")
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


def test_a_program_that_the_node_refuses_threads_has_no_verdict_unless_it_says_so_of_itself(
    level: Level, group: Path
) -> None:
    twenty = SOURCE.format(threads=20)
    asked = ["16", twenty, "200", twenty, "max", SAYS_SO_ITSELF]  # threads and processes, and a program, in turn
    done = processes.run(["-c", SCRIPT, group, level.name, *asked], check=True)
    few, enough, own = done.stdout.splitlines()
    assert few.startswith("unavailable: the system allows no more threads")
    assert enough.startswith("None 3")
    assert own.startswith("runtime_error")
