"""Whole processes timed from outside, and the memory of all of a process's tree together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psutil

from analyzer.proc import adopt_orphans

POLL_SECONDS = 0.1


class CommandError(Exception):
    """A command failed; the message holds the command and what it said."""


class Run(NamedTuple):
    """One process from start to end."""

    seconds: float
    cpu: float  # seconds, of the process and of all its descendants
    stdout: str
    peak_bytes: int  # PSS of the process and its descendants, the largest sum seen; 0 unless asked for


def run(command: Sequence[str], memory: bool = False) -> Run:
    """Run a command to its end. Raises CommandError where it fails."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        adopt_orphans()
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        watch = _Watch(process.pid) if memory else None
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        cpu = used.ru_utime + used.ru_stime + _orphans()
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watch.end() if watch else 0
        stdout.seek(0)
        stderr.seek(0)
        output = stdout.read()
        if process.returncode:
            raise CommandError(f"{' '.join(command)}\nended with {process.returncode}:\n{stderr.read()}{output}")
    return Run(seconds, cpu, output, peak)


def _orphans() -> float:
    """CPU time of the descendants that the command left to us, each waited for: workers that were killed leave some."""
    cpu = 0.0
    while True:
        try:
            _, _, used = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu
        cpu += used.ru_utime + used.ru_stime


class _Watch(threading.Thread):
    """Adds up the memory of a process and its descendants again and again."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            with contextlib.suppress(psutil.Error):
                tree = [self._process, *self._process.children(recursive=True)]
                self._peak = max(self._peak, sum(_pss(process.pid) for process in tree))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self._peak


def _pss(pid: int) -> int:
    """Memory of a process, with what it shares divided among those it shares it with."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):  # it has ended meanwhile
        return 0


@contextlib.contextmanager
def cores(number: int) -> Iterator[None]:
    """Run what is started meanwhile on the first `number` of the cores that this process may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def import_error(python: str, statement: str) -> str:
    """The last line of what an interpreter says where an import fails, empty where it succeeds."""
    try:
        done = subprocess.run([python, "-c", statement], capture_output=True, check=False, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}" if done.returncode else ""


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
