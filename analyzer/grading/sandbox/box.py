"""A sandbox from outside: one warm runner at one level, programs run in it one after another.

with Box(Level.STRICT) as box:
    running = box.start({"mode": "script", "prelude": "none", "sources": ["print(input())"]}, Budget(), b"5")
    running.wait()         # Ended(code=0, stopped="", ...)
    running.output()       # b"5\\n"
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import select
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from analyzer.grading.sandbox.inside import frames
from analyzer.grading.sandbox.launch import Started, Unavailable, remove

START_SECONDS = 30.0  # for the runner to get ready, on a busy node
GRACE_SECONDS = 10.0  # for the runner to answer after the wall-clock limit of a program
LOOK_SECONDS = 0.05  # between two counts of a program's threads
MAX_THREADS = 64
MESSAGE_BYTES = 1 << 16  # of the runner
FILE_BYTES = 16 << 20  # the longest file a program may write


class Broken(Exception):
    """Raised when the sandbox itself failed: nothing is known about the program then."""


class Budget(NamedTuple):
    """What one program may use."""

    cpu_seconds: float = 6.0
    memory_bytes: int = 1 << 30  # of address space, the interpreter's included
    output_bytes: int = 1 << 20
    wall_factor: float = 5.0  # wall-clock backstop = cpu_seconds x this
    may_wait: bool = False  # else it is stopped after cpu_seconds of wall-clock time without any progress

    def request(self) -> dict[str, Any]:
        """As the runner takes it."""
        wall_seconds = self.wall_factor * self.cpu_seconds
        return {
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": wall_seconds,
            "idle_seconds": wall_seconds if self.may_wait else self.cpu_seconds,
            "memory_bytes": self.memory_bytes,
            "file_bytes": max(FILE_BYTES, 2 * self.output_bytes),
        }


class Ended(NamedTuple):
    """How a program ended."""

    code: int  # exit code, or minus the number of a signal
    stopped: str  # time_limit, output_limit or process_limit when the runner had to end it, else ""
    cpu_seconds: float


class Box:
    """One warm runner, for one thread, one program at a time. Raises Unavailable where the level is not to be had."""

    def __init__(self, start_runner: Callable[[int], Started]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                started = start_runner(theirs.fileno())
            except OSError as error:
                self._control.close()
                raise Unavailable(str(error)) from None
            except BaseException:
                self._control.close()
                raise
        self._pid = _runner_pid(started)
        self._finalizer = weakref.finalize(self, _end, self._control, started, self._pid)
        self._await_ready(started.process)

    def start(self, job: dict[str, Any], budget: Budget, given: bytes = b"") -> Running:
        """Start a program, with `given` as its input. Raises Broken."""
        mine, dialog = socket.socketpair()
        output = os.memfd_create("output")
        try:
            with _sealed(json.dumps(job).encode()) as request, _sealed(given) as stdin, dialog:
                descriptors = [request.fileno(), stdin.fileno(), output, dialog.fileno()]
                socket.send_fds(self._control, [json.dumps(budget.request()).encode()], descriptors)
        except OSError as error:
            mine.close()
            os.close(output)
            raise Broken(f"the sandbox is gone: {error}") from None
        return Running(self, mine, output, budget)

    def await_reply(self, seconds: float) -> Ended:
        """How the program that runs ended. Stops it when it has too many threads. Raises Broken."""
        deadline = time.monotonic() + seconds
        while not self._readable(LOOK_SECONDS):
            if time.monotonic() > deadline:
                raise Broken("the sandbox does not answer")
            if _threads_below(self._pid) > MAX_THREADS:
                self.stop("process_limit")
        reply = self._receive()
        if reply["trouble"]:
            raise Broken(reply["trouble"])
        return Ended(reply["code"], reply["stopped"], reply["cpu_seconds"])

    def stop(self, reason: str) -> None:
        """Have the running program killed."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": reason}).encode())

    def close(self) -> None:
        """End the runner and all that runs in it."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        try:
            if not self._readable(START_SECONDS):
                raise Broken(f"the sandbox was not ready after {START_SECONDS:g} s")
            self._receive()
        except Broken as error:
            self._control.close()
            told = process.communicate(timeout=START_SECONDS)[1].decode(errors="replace").strip()
            self.close()
            raise Unavailable(told.splitlines()[-1] if told else str(error)) from None

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._control], [], [], seconds)[0])

    def _receive(self) -> dict[str, Any]:
        try:
            message = self._control.recv(MESSAGE_BYTES)
        except OSError as error:
            raise Broken(str(error)) from None
        if not message:
            raise Broken("the sandbox ended")
        return dict(json.loads(message))


class Running:
    """A program that has been started. `dialog` is the stream on which it tells its failure and answers calls."""

    def __init__(self, box: Box, dialog: socket.socket, output: int, budget: Budget) -> None:
        self.dialog = dialog
        self._box = box
        self._output = output
        self._seconds = budget.wall_factor * budget.cpu_seconds + GRACE_SECONDS
        self._ended: Ended | None = None
        dialog.settimeout(self._seconds)

    def wait(self) -> Ended:
        """Wait for its end. Raises Broken when the sandbox failed."""
        if self._ended is None:
            self._ended = self._box.await_reply(self._seconds)
        return self._ended

    def stop(self) -> Ended:
        """End it, if it has not ended yet."""
        if self._ended is None:
            self._box.stop("judged")
        return self.wait()

    def output(self, longest: int) -> bytes:
        """The first `longest` bytes of what it has written to its output."""
        return os.pread(self._output, longest, 0)

    def told(self) -> dict[str, Any]:
        """What it told of its failure, {} if nothing. To be asked once it has ended."""
        self.dialog.settimeout(0.0)
        try:
            return read_told(*frames.receive(self.dialog, frames.SHORT))
        except frames.FrameError:
            return {}

    def close(self) -> None:
        """Let go of its descriptors."""
        self.dialog.close()
        os.close(self._output)


def read_told(tag: bytes, body: bytes) -> dict[str, Any]:
    """What a message says of a failure; {} for another message, or one that is malformed."""
    try:
        return dict(json.loads(body)) if tag in (frames.FAILED, frames.RAISED, frames.UNCROSSABLE) else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def _sealed(content: bytes) -> io.FileIO:
    """A file in memory with this content, to be read from its start and by nobody to be written."""
    file = os.fdopen(os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+b", buffering=0)
    file.write(content)
    file.seek(0)
    fcntl.fcntl(
        file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    )
    return file


def _runner_pid(started: Started) -> int:
    """The runner's process id on this host; that of the process itself where bubblewrap failed before it had one."""
    if started.info is None:
        return started.process.pid
    told = b""
    while part := os.read(started.info, 4096):
        told += part
        with contextlib.suppress(ValueError):
            return int(json.loads(told)["child-pid"])
    return started.process.pid


def _threads_below(runner: int) -> int:
    """How many threads the child of a runner has, 0 where that cannot be seen."""
    try:
        with open(f"/proc/{runner}/task/{runner}/children") as file:
            children = file.read().split()
        return sum(len(os.listdir(f"/proc/{child}/task")) for child in children)
    except OSError:
        return 0


def _end(control: socket.socket, started: Started, runner: int) -> None:
    """Close the socket, which ends the runner and its program, and see that it does."""
    control.close()
    if started.info is not None:
        os.close(started.info)
    try:
        started.process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in {runner, started.process.pid}:  # in a container the runner is process 1: all in it goes too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.process.wait()
    if started.process.stderr is not None:
        started.process.stderr.close()
    remove(started.scratch)
