"""A process is charged for what it does: not for what others do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from analyzer.grading.clock import Clock

TICK = 0.02
SPIN = "while True: sum(range(1000))"
SLEEP = "import time; time.sleep(1000)"
THREAD_SPINS = f"import threading\nthreading.Thread(target=exec, args=({SPIN!r},)).start()\n{SLEEP}"
CHILD_SPINS = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-E', '-c', {SPIN!r}])"


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A new Python (-S -E: it starts in a third of the time) that has come to this code."""
    command = [sys.executable, "-S", "-E", "-c", f"print(flush=True)\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def watched(seconds: float, *clocks: Clock) -> Clock:
    """Look at some clocks for so long; returns the first."""
    end = time.monotonic() + seconds
    while True:
        for clock in clocks:
            clock.look()
        if time.monotonic() >= end:
            return clocks[0]
        time.sleep(TICK)


def test_a_sleeping_process_sleeps() -> None:
    with running(SLEEP) as process:
        clock = watched(0.5, Clock(process.pid, TICK))
        assert 0.2 < clock.slept <= 0.6
        assert clock.ran + clock.held < 0.05


def test_a_busy_process_runs_and_is_not_charged_for_waiting_for_a_core() -> None:
    """One that works itself, one whose thread works, and one that waits for a child that works."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # all of them on one core
    try:
        with ExitStack() as stack:
            busy = [stack.enter_context(running(code)) for code in (CHILD_SPINS, THREAD_SPINS, SPIN, SPIN)]
            time.sleep(0.1)  # thread and child have started
            clocks = [Clock(process.pid, TICK) for process in busy]
            began = time.monotonic()
            watched(0.5, *clocks)
            passed = time.monotonic() - began
            assert max(clock.slept + clock.held for clock in clocks) < 0.1
            assert all(0.02 < clock.ran < passed * 0.6 for clock in clocks), [clock.ran for clock in clocks]
    finally:
        os.sched_setaffinity(0, cores)


def test_a_stopped_process_is_held() -> None:
    with running(SPIN) as process:
        clock = watched(0.1, Clock(process.pid, TICK))
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        clock.look()
        had = clock.had
        assert watched(0.5, clock).held > 0.2
        assert clock.had == pytest.approx(had, abs=0.02)
        process.send_signal(signal.SIGCONT)


def test_time_in_which_nobody_looked_is_not_charged() -> None:
    with running(SLEEP) as process:
        clock = Clock(process.pid, TICK)
        clock.look()
        time.sleep(0.5)  # as if this process had been stopped
        clock.look()
        assert clock.had < 0.1  # two ticks, and not half a second


def test_a_process_that_has_gone_or_is_hidden_counts_as_asleep() -> None:
    with running(SLEEP) as process:
        clock = Clock(process.pid, TICK)
    assert watched(0.2, clock).slept > 0.1
    assert not clock.visible
