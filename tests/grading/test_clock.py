"""A process is charged for what it does: not for what others do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from analyzer.grading.clock import Clock

TICK = 0.02
SPIN = "while True: sum(range(1000))"
SLEEP = "import time; time.sleep(1000)"
THREAD_SPINS = f"import threading\nthreading.Thread(target=exec, args=({SPIN!r},)).start()\n{SLEEP}"
CHILD_SPINS = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])"


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    ready = f"print(flush=True)\n{code}"
    with subprocess.Popen([sys.executable, "-c", ready], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.2)  # its own children have started
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def watched(clock: Clock, seconds: float) -> Clock:
    clock.look()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(TICK)
        clock.look()
    return clock


def test_a_sleeping_process_sleeps() -> None:
    with running(SLEEP) as process:
        clock = watched(Clock(process.pid, TICK), 0.5)
        assert 0.2 < clock.slept <= 0.6
        assert clock.ran + clock.held < 0.05


@pytest.mark.parametrize("code", [SPIN, THREAD_SPINS, CHILD_SPINS], ids=["itself", "thread", "child"])
def test_a_busy_process_runs_and_is_not_charged_for_waiting_for_a_core(code: str) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # all of them on one core
    try:
        with running(SPIN), running(SPIN), running(SPIN), running(code) as process:
            began = time.monotonic()
            clock = watched(Clock(process.pid, TICK), 0.5)
            passed = time.monotonic() - began
            assert clock.slept + clock.held < 0.1
            assert 0.02 < clock.ran < passed * 0.6
    finally:
        os.sched_setaffinity(0, cores)


def test_a_stopped_process_is_held() -> None:
    with running(SPIN) as process:
        clock = watched(Clock(process.pid, TICK), 0.1)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        clock.look()
        had = clock.had
        assert watched(clock, 0.5).held > 0.2
        assert clock.had == pytest.approx(had, abs=0.02)
        process.send_signal(signal.SIGCONT)


def test_time_in_which_nobody_looked_is_not_charged() -> None:
    with running(SLEEP) as process:
        clock = Clock(process.pid, TICK)
        clock.look()
        time.sleep(0.5)  # as if this process had been stopped
        clock.look()
        assert clock.had <= 2 * TICK


def test_a_process_that_has_gone_or_is_hidden_counts_as_asleep() -> None:
    with running(SLEEP) as process:
        clock = Clock(process.pid, TICK)
    assert watched(clock, 0.2).slept > 0.1
    assert not clock.visible
