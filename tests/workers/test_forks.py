"""What workers are forked from says nothing of a driver that ends while it starts, and outlives no driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from analyzer.workers import forks

BEGIN = """
import os, signal, sys
from analyzer.workers import forks, processes
forks.begin(os.getpid)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """It has ended, and all that it started, when this returns: they hold its stderr."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_private_names_are_there() -> None:
    """Without one of them a run is slower and no less right, so nothing else would tell."""
    assert forks._missing() == []


def test_without_a_private_name_loky_starts_its_own_workers() -> None:
    done = run("""
server = forks._server._process.pid
import joblib
forks._PRIVATE["joblib.externals.loky.backend.process"] = ("LokyProcess", "of_another_version")
with forks.workers(), joblib.parallel_config("loky"):
    parents = joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(os.getppid)() for _ in range(4))
print(set(parents) == {os.getpid()})
""")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_driver_interrupted_before_it_says_what_to_load_leaves_no_traceback() -> None:
    with open(os.devnull) as nothing:
        done = subprocess.run(
            [sys.executable, "-P", "-c", forks._BOOT, "0"],
            stdin=nothing,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_python_starts_is_not_for_what_forks() -> None:
    done = run("""
server = forks._server._process.pid
for _ in range(20):
    os.kill(server, signal.SIGINT)
import joblib
with forks.workers(), joblib.parallel_config("loky"):
    parents = joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(os.getppid)() for _ in range(4))
print(set(parents) == {server})
""")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_a_driver_sets_after_the_start_is_set_in_its_workers() -> None:
    """The name under which workers find what grades answers is one of these."""
    done = run("""
forks.end()
forks.start(os.getpid)
os.environ["SET_LATER"] = "here"
forks.begin(os.getpid)
server = forks._server._process.pid
import joblib
with forks.workers(), joblib.parallel_config("loky"):
    calls = [joblib.delayed(os.getenv)("SET_LATER"), joblib.delayed(os.getppid)()]
    print(joblib.Parallel(n_jobs=2, batch_size=1)(calls) == ["here", server])
""")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_driver_that_is_killed_before_it_says_what_to_load_leaves_no_process() -> None:
    """`run` would wait for it."""
    for seconds in (0.0, 0.1, 0.5):
        done = run(f"""
import time
forks.end()
forks.start(os.getpid)
time.sleep({seconds})
os.kill(os.getpid(), signal.SIGKILL)
""")
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


def test_workers_are_forked_without_a_word_of_what_to_load() -> None:
    done = run("""
forks.end()
forks.start(os.getpid)
server = forks._server._process.pid
import joblib
with forks.workers(), joblib.parallel_config("loky"):
    parents = joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(os.getppid)() for _ in range(4))
print(set(parents) == {server})
""")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_worker_whose_driver_ends_while_it_starts_leaves_no_traceback() -> None:
    done = run("""
forks._server.fork([])
os._exit(0)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_that_cannot_start_says_why() -> None:
    done = run("""
status, call = forks._server.fork([])
os.write(call, b"no pickle")
os.read(status, 8), os.read(status, 8)  # its pid, and its exit code
forks.end()
""")
    assert "UnpicklingError" in done.stderr
