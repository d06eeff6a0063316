"""A sandbox from outside: one warm runner at one level, programs run in it one after another.

    with open_box(find_level("strict")) as box:     # of levels/
        running = box.start({"mode": "script", "prelude": "none", "sources": ["print(input())"]}, Budget(), b"5")
        running.wait()[:2]         # (0, "")
        running.output(80)         # b"5\\n"
        running.close()

Each program is a process of its own, forked by the runner, which is what holds the sandbox.
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
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from analyzer import proc
from analyzer.grading.clock import Clock
from analyzer.grading.sandbox.inside import frames
from analyzer.grading.sandbox.launch import Started, Unavailable, remove

START_SECONDS = 30.0  # for the runner to get ready
GRACE_SECONDS = 10.0  # for the runner to answer when its program has ended or is to be killed
# A look reads /proc for each thread of the program; twenty a second cost less than 1 % of a core.
LOOK_SECONDS = 0.05  # between two looks at a program
HELD_FACTOR = 10.0  # a program may stay stopped, or wait for a disk, for its wall-clock budget x this
MAX_THREADS = 64
ASLEEP, HELD, PROCESS_LIMIT = "asleep", "held", "process_limit"
"""Why a program is stopped from outside."""
MESSAGE_BYTES = 1 << 16  # of the runner
# A bound of one file, needed in any case: RLIMIT_FSIZE applies to the memory file of its output as well.
FILE_BYTES = 16 << 20  # the longest file a program may write


class Broken(Exception):
    """Raised when the sandbox itself failed: nothing is known about the program then."""


class Budget(NamedTuple):
    """What one program may use. Its time is its own: time queued for a core, or stopped, counts for nothing."""

    cpu_seconds: float = 6.0
    memory_bytes: int = 1 << 30  # of address space, the interpreter's included
    output_bytes: int = 1 << 20
    wall_factor: float = 5.0  # what it may sleep in all = cpu_seconds x this
    may_wait: bool = False  # else it is stopped when it has slept for cpu_seconds without any progress

    @property
    def wall_seconds(self) -> float:
        """What it may sleep in all."""
        return self.wall_factor * self.cpu_seconds

    @property
    def idle_seconds(self) -> float:
        """What it may sleep at a stretch."""
        return self.wall_seconds if self.may_wait else self.cpu_seconds

    def request(self) -> dict[str, Any]:
        """As the runner takes it."""
        return {
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory_bytes,
            "file_bytes": max(FILE_BYTES, 2 * self.output_bytes),
        }


class Ended(NamedTuple):
    """How a program ended."""

    code: int  # exit code, or minus the number of a signal
    stopped: str  # time_limit or output_limit where the runner ended it, ASLEEP and so on where it was told to, else ""
    cpu_seconds: float


class Box:
    """One warm runner, for one thread, one program at a time. Raises Unavailable where the level is not available."""

    def __init__(self, start_runner: Callable[[int], Started]) -> None:
        # SEQPACKET keeps the four descriptors with their message; a stream could deliver them apart.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Closed here once the runner has it, so that the runner's death is an end of the stream.
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
        # Also called when the interpreter ends, so that no runner outlives a thread that forgot to close its
        # sandbox.
        self._finalizer = weakref.finalize(self, _end, self._control, started, self._pid)
        self._await_ready(started.process)

    def start(self, job: dict[str, Any], budget: Budget, given: bytes = b"") -> Running:
        """Start a program, with `given` as its input. Raises Broken."""
        mine, dialog = socket.socketpair()
        # A file in memory instead of a pipe: a program that prints a gigabyte is stopped by RLIMIT_FSIZE, nobody has to
        # read along, and what it wrote before it was killed is still there.
        output = os.memfd_create("output")
        try:
            # Ours are closed at once, but for what is read afterwards; the runner holds the copies that it was
            # sent.
            with _sealed(json.dumps(job).encode()) as request, _sealed(given) as stdin, dialog:
                descriptors = [request.fileno(), stdin.fileno(), output, dialog.fileno()]
                socket.send_fds(self._control, [json.dumps(budget.request()).encode()], descriptors)
        except OSError as error:
            mine.close()
            os.close(output)
            raise Broken(f"the sandbox is gone: {error}") from None
        return Running(self, mine, output, budget)

    def await_reply(self, on_wait: Callable[[], None]) -> Ended:
        """How the program that runs ended; `on_wait` is called at each look. Raises Broken."""
        while not self._readable(LOOK_SECONDS):
            on_wait()
        reply = self._receive()
        # It could not be confined, so it never ran: no verdict, whatever its exit code says.
        if reply["trouble"]:
            raise Broken(reply["trouble"])
        return Ended(reply["code"], reply["stopped"], reply["cpu_seconds"])

    def watch(self, budget: Budget) -> Watch:
        """A watch over the program that has just been started."""
        return Watch(self._pid, budget)

    def stop(self, reason: str) -> None:
        """Have the running program killed."""
        # The runner may have ended already; await_reply finds that out and says so.
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
        # Stopped time counts in this limit: what is waited for is our own runner, and a new one can be started.
        clock = Clock(self._pid, LOOK_SECONDS)
        try:
            while not self._readable(LOOK_SECONDS):
                clock.look()
                if clock.had + clock.held > START_SECONDS:
                    raise Broken(f"the sandbox was not ready after {START_SECONDS:g} s")
            self._receive()
        except Broken as error:
            self._control.close()
            # The last line of what it wrote to stderr is the reason: bubblewrap's own message, or the runner's
            # sys.exit(text).
            errors = process.communicate(timeout=START_SECONDS)[1].decode(errors="replace").strip()
            self.close()
            raise Unavailable(errors.splitlines()[-1] if errors else str(error)) from None

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


class Watch:
    """Looks at a program while its judge waits for it, and says when it has had its time."""

    def __init__(self, runner: int, budget: Budget) -> None:
        self._runner = runner
        self._budget = budget
        self._program: Clock | None = None
        self._alone = Clock(runner, LOOK_SECONDS)  # the runner, when it has no program or is to end it
        self._idle = 0.0
        self._reason = ""

    def look(self) -> str:
        """Why the program is to be stopped, said once; else "". Raises Broken when the runner does not answer."""
        try:
            children = proc.children_of(self._runner)
            program = children[0] if children else 0
        except OSError:  # the runner is hidden from us, and so stands for its program
            program = self._runner
        # Nothing of the program is left to judge. The runner has to answer soon; this is the one place that
        # notices when not.
        if self._reason or program == 0:
            self._alone.look()
            if self._alone.had + self._alone.held > GRACE_SECONDS:
                raise Broken("the sandbox does not answer")
            return ""
        self._reason = self._look_at(program)
        # A new clock at each look at a program: the grace begins when the program ends, not when it began.
        self._alone = Clock(self._runner, LOOK_SECONDS)
        return self._reason

    def _look_at(self, program: int) -> str:
        if self._program is None:
            self._program = Clock(program, LOOK_SECONDS)
        clock, budget = self._program, self._budget
        ran, slept = clock.ran, clock.slept
        clock.look()
        # Threads are allowed at every level, and RLIMIT_NPROC, which counts all of the user's, is set at rlimits alone.
        if clock.threads > MAX_THREADS:
            return PROCESS_LIMIT
        # More than a millisecond of CPU time is progress. A sleep in a loop wakes for some microseconds and makes
        # none.
        self._idle = 0.0 if clock.ran > ran + 0.001 else self._idle + clock.slept - slept
        # With hidepid, or in a container whose /proc is not ours, only time is known and not what was done in it.
        if not clock.visible:  # it may be queued or stopped as well as asleep: unknown
            return HELD if clock.slept >= budget.wall_seconds else ""
        if self._idle >= budget.idle_seconds or clock.slept >= budget.wall_seconds:
            return ASLEEP
        return HELD if clock.held >= HELD_FACTOR * budget.wall_seconds else ""


class Running:
    """A program that has been started. `dialog` is the stream on which it reports a failure and answers calls."""

    def __init__(self, box: Box, dialog: socket.socket, output: int, budget: Budget) -> None:
        self._box = box
        self._dialog = dialog
        self._output = output
        # The program has been sent already; the watch may come to see the runner before it has forked, and then
        # waits.
        self._watch = box.watch(budget)
        self._ended: Ended | None = None
        dialog.settimeout(LOOK_SECONDS)

    def send(self, tag: bytes, body: bytes) -> None:
        """Send a message to it, within its time. Raises FrameError, Broken."""
        frames.forward(self._dialog, tag, body, self._look)

    def receive(self, longest: int) -> tuple[bytes, bytes]:
        """Its next message, (tag, body), within its time. Raises FrameError, Broken."""
        return frames.receive(self._dialog, longest, self._look)

    def wait(self) -> Ended:
        """Wait for its end. Raises Broken when the sandbox failed."""
        if self._ended is None:
            self._ended = self._box.await_reply(self._look)
        return self._ended

    def stop(self) -> Ended:
        """End it, if it has not ended yet."""
        if self._ended is None:
            self._box.stop("judged")
        return self.wait()

    def _look(self) -> None:
        if reason := self._watch.look():
            self._box.stop(reason)

    def output(self, longest: int) -> bytes:
        """The first `longest` bytes of what it has written to its output."""
        # pread leaves the offset alone, which this descriptor shares with the program's standard output.
        return os.pread(self._output, longest, 0)

    def failure(self) -> dict[str, Any]:
        """The failure that it reported, {} if none. To be called once it has ended."""
        # It has ended, so all that it said is in the socket; a program that said nothing must not cost a wait.
        self._dialog.settimeout(0.0)
        try:
            return read_failure(*frames.receive(self._dialog, frames.SHORT))
        except frames.FrameError:
            return {}

    def close(self) -> None:
        """Let go of its descriptors."""
        self._dialog.close()
        os.close(self._output)


def read_failure(tag: bytes, body: bytes) -> dict[str, Any]:
    """What a message says of a failure: `phase`, `type`, `text` and `message`, which are texts, `errno` and `yours`.

    The last two are ints or None. {} for another message. A program sends it, so it may be malformed: then the text
    says so.
    """
    if tag not in (frames.FAILED, frames.RAISED, frames.UNCROSSABLE):
        return {}
    try:
        report = json.loads(body)
    # A program may send brackets without end. Its message is at most 64 kB (frames.SHORT), so this stays cheap.
    except (ValueError, RecursionError, MemoryError):
        report = None
    failure = report if isinstance(report, dict) else {"text": "it failed with a message that cannot be read"}
    names = ("phase", "type", "text", "message")
    texts = {name: failure[name] if isinstance(failure.get(name), str) else "" for name in names}
    # type(), not isinstance: True is an int to isinstance, and JSON has it.
    numbers = {name: failure[name] if type(failure.get(name)) is int else None for name in ("errno", "yours")}
    return {**texts, **numbers}


def _sealed(content: bytes) -> io.FileIO:
    """A file in memory with this content, to be read from its start and by nobody to be written."""
    # Sealed against everybody: the same descriptor is given away, and a program that could still write to its
    # input could change it under a judge that reads it a second time.
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
    received = b""
    # The object may come in pieces, and is whole when it parses: what bubblewrap starts may keep the pipe open, so its
    # end is not a sign.
    while part := os.read(started.info, 4096):
        received += part
        with contextlib.suppress(ValueError):
            return int(json.loads(received)["child-pid"])
    return started.process.pid


def _end(control: socket.socket, started: Started, runner: int) -> None:
    """Close the socket, which ends the runner and its program, and see that it does."""
    # The runner reads the end of the stream and ends, its program with it (PDEATHSIG): no signal is needed in the
    # usual case.
    control.close()
    if started.info is not None:
        os.close(started.info)
    try:
        started.process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        # Not reaped by us until wait() below, so bwrap's pid is its own; the runner's, below it, ends with the
        # PID namespace.
        for pid in {runner, started.process.pid}:  # in a container the runner is process 1: all in it goes too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.process.wait()
    if started.process.stderr is not None:
        started.process.stderr.close()
    remove(started.scratch)
