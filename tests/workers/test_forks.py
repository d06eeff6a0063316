"""What workers are forked from says nothing of a driver that ends while it starts, and outlives no driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from analyzer.workers import forks
from tests import processes

BEGIN = """
import functools, importlib, os, signal, sys
from analyzer.workers import forks
load = os.getpid
forks.begin(load)
"""
OF_JOBLIB = BEGIN.replace(  # which each worker would load by itself
    "os.getpid", 'functools.partial(importlib.import_module, "joblib.externals.loky.process_executor")'
)
POOL = """
import joblib
def parents():
    with forks.workers(), joblib.parallel_config("loky"):
        return {*joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(os.getppid)() for _ in range(4))}
"""


def run(program: str, begin: str = BEGIN) -> subprocess.CompletedProcess[str]:
    """It has ended, and all that it started, when this returns: they hold its stderr."""
    pipe = processes.PIPE
    with processes.Process(["-c", begin + program], stdout=pipe, stderr=pipe, brief=True) as driver:
        said = driver.communicate(timeout=60)
    return subprocess.CompletedProcess(driver.args, driver.wait(), *said)


def test_the_private_names_are_there() -> None:
    """Without one of them a run is slower and no less right, so nothing else would tell."""
    assert forks._missing() == []


def test_without_a_private_name_loky_starts_its_own_workers() -> None:
    done = run(f"""{POOL}
forks._PRIVATE["joblib.externals.loky.backend.process"] = ("LokyProcess", "of_another_version")
print(parents() == {{os.getpid()}})
""")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_joblib_warns_of_where_there_are_no_semaphores_is_for_the_driver_to_say() -> None:
    program = (
        "import _multiprocessing; del _multiprocessing.SemLock; from analyzer.workers import processes;"
        "processes.warm_up(lambda: None, ['joblib']); import joblib; print(joblib._multiprocessing_helpers.mp)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("None\n", "")


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
    done = run(
        f"""
server = forks._server._process.pid
for _ in range(20):
    os.kill(server, signal.SIGINT)
{POOL}
print(parents() == {{server}})
""",
        OF_JOBLIB,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_a_driver_sets_after_the_start_is_set_in_its_workers() -> None:
    """The name under which workers find what grades answers is one of these."""
    done = run(
        """
forks.end()
forks.start(load)
os.environ["SET_LATER"] = "here"
forks.begin(load)
server = forks._server._process.pid
import joblib
with forks.workers(), joblib.parallel_config("loky"):
    calls = [joblib.delayed(os.getenv)("SET_LATER"), joblib.delayed(os.getppid)()]
    print(joblib.Parallel(n_jobs=2, batch_size=1)(calls) == ["here", server])
""",
        OF_JOBLIB,
    )
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
    done = run(
        f"""
forks.end()
forks.start(load)
server = forks._server._process.pid
{POOL}
print(parents() == {{server}})
""",
        OF_JOBLIB,
    )
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


# ---------------------------------------------------------------- calls

CALL = """
import time
from analyzer.workers.processes import CallForked
from tests.workers import shard_tasks
assert forks.can_call()
server = forks._server._process.pid
call = CallForked(60.0, shard_tasks.in_two_steps)
"""


def test_a_call_is_made_where_workers_are_forked_when_they_are_done_and_outlives_them() -> None:
    done = run(
        CALL
        + """
call.go_on("before")
while call._forked is None:
    time.sleep(0.01)
print(call.done())
forks.end()
print(os.path.exists(f"/proc/{server}"))
call.hurry()
print(call.result() == [server, "before"])
print(os.path.exists(f"/proc/{server}"))
"""
    )
    assert (done.stdout, done.stderr) == ("False\nTrue\nTrue\nFalse\n", "")


def test_a_call_is_made_by_a_new_python_where_there_is_nothing_to_fork_from() -> None:
    done = run(
        CALL.replace("call =", "os.kill(server, signal.SIGKILL); call =")
        + """
call.go_on("before")
print(call.result() == [os.getpid(), "before"])
forks.end()
"""
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_a_forked_call_raises_is_raised_in_the_driver() -> None:
    done = run(
        CALL
        + """
from analyzer.errors import InputError
call.go_on()
try:
    call.result()
except TypeError as error:
    print(error)
forks.end()
"""
    )
    assert "missing 1 required positional argument" in done.stdout
    assert done.stderr == ""


def test_a_call_that_nobody_waits_for_ends_with_the_driver_or_before_it() -> None:
    """`run` would wait for a process that is left."""
    at_once, forked = "", "while call._forked is None: time.sleep(0.01)\n"
    for wait, program in (
        (at_once, "call.end(); forks.end()"),
        (forked, "forks.end(); call.end()"),
        (at_once, "os.kill(os.getpid(), signal.SIGKILL)"),
        (forked, "os.kill(os.getpid(), signal.SIGKILL)"),
    ):
        done = run(f"{CALL}\n{wait}{program}")
        assert done.stderr == ""
