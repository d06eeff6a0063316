"""The worker's side of the zygotes: one for each reward and process, started when needed, shared by its threads.

A driver may share its zygotes with the workers that it starts on the same host: a reward is then loaded once for all.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from analyzer import proc
from analyzer.errors import RewardError
from analyzer.grading import Target
from analyzer.grading.clock import Clock

BOOT_SECONDS = 300.0  # importing torch from a network file system can take minutes
COMMAND_SECONDS = 60.0  # for a fork or a kill, on a busy node
SHARED = "ROLLOUT_ANALYZER_NURSERY"  # in the environment of workers on the driver's host: where its zygotes listen
MARK = "ROLLOUT_ANALYZER_ZYGOTE"  # in the environment of all that a zygote starts, so that it can be found
# The configuration comes by stdin: a command line is world-readable in /proc and limited to 128 kB an argument,
# and the options of a reward may be longer. sys.path is set first, as -P and a scrubbed environment would not
# find the package.
_BOOT = (
    "import json, sys; config = json.load(sys.stdin); sys.path[:] = config['sys_path'];"
    "from analyzer.grading.zygote import main; main(config)"
)
_PINNED = {
    # The order of a set of strings depends on it, and with that sympy's order of terms and some rewards.
    "PYTHONHASHSEED": "0",
    # One worker per core is all there is to use; a BLAS with a thread per core in every child makes n_jobs x
    # cores of them. A process with threads could not be forked safely either.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "SYMPY_GROUND_TYPES": "python",  # gmpy2 aborts the process on a huge power
}


# Short enough for a user who waits for an error, long enough that looking costs nothing over minutes of an
# import.
TICK = 0.5  # seconds between two looks at a process that is waited for


def patience(pid: int, seconds: float) -> Callable[[], None]:
    """A function to call at each look, which raises TimeoutError once the process has had so many seconds.

    Stopped time counts here, since a zygote that stands still is replaced; time queued for a core does not.
    """
    # The clock starts at the first look, not here: what answers within a tick is never looked at.
    clock = Clock(pid, TICK)

    def on_wait() -> None:
        clock.look()
        if clock.had + clock.held > seconds:
            raise TimeoutError

    return on_wait


class ZygoteGone(Exception):
    """Raised when the zygote has died, or did not answer and was killed."""


class ZygoteClient:
    """A running zygote, of this process or of its driver. Its methods may be called from any thread of this process."""

    def __init__(self, target: Target) -> None:
        """Join the driver's, or start one and wait until the reward is loaded. Raises RewardError where that fails."""
        self.gone = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        if not self._joined(_key(target)):
            self._start(target)

    def _joined(self, key: str) -> bool:
        """Connect to the zygote that the driver shares for this target, if there is one."""
        shared = os.environ.get(SHARED)
        # The variable is inherited by all that the driver starts, on other hosts too (dask, ray, SLURM): hence
        # the attempt to connect.
        if shared is None:
            return False
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # The name begins with NUL: an abstract address, which needs no file, outlives no process and is the
            # same in every working directory. It belongs to the network namespace, so a container simply does not
            # find it.
            self._control.connect(f"\0{_address(shared, key)}")
        except OSError:  # the driver is on another host, or its zygote has ended
            self._control.close()
            return False
        # Abstract sockets have no permissions; the listening side checks the user, and the pid is what patience()
        # watches.
        self._pid, _ = proc.peer_of(self._control)
        return True

    def _start(self, target: Target) -> None:
        # The one sign that survives everything a reward may do: setsid, double fork and a new parent keep the
        # environment.
        self._mark = secrets.token_hex(16)
        answer = self._boot(target, late=False)
        # Loading left threads behind (torch, a client library). A fork would copy their locks but not them, so a
        # second zygote loads nothing and each child loads for itself: slower, and right.
        if "threads" in answer:
            self._stop()
            answer = self._boot(target, late=True)
            self.gone = False
        if "failed" in answer:
            self._stop()
            raise RewardError(f"the reward {name_of(target)} cannot be loaded: {answer['failed']}")

    # The descriptor travels by SCM_RIGHTS, since the child is the zygote's and not ours: it cannot inherit
    # anything from here.
    def spawn(self, sock: socket.socket, memory_bytes: int) -> int:
        """Fork a child that serves calls on its copy of `sock`; returns its pid. Raises ZygoteGone."""
        return int(self._command({"spawn": memory_bytes}, [sock.fileno()])["pid"])

    def end(self, pid: int) -> str:
        """Kill a child and all it started; says how it had ended: "SIGKILL", "exit status 1". Raises ZygoteGone."""
        return str(self._command({"end": pid}, [])["ended"])

    def share(self, address: str) -> None:
        """Let other processes of this user connect at an abstract address, if it is ours. Raises ZygoteGone."""
        if self._process is not None:
            self._command({"listen": address}, [])

    def close(self) -> None:
        """End the children that were started from here and, where it is ours, the zygote with all it started."""
        with self._lock:
            self._control.close()  # it sees that
            if self._process is not None:
                # Five seconds for an orderly end, in which it reaps its children; _stop() below does not ask
                # again.
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
            self._stop()

    def _boot(self, target: Target, late: bool) -> dict[str, Any]:
        """Start the process; `late`: without loading the reward, which each child then does."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = {
            "path": target.path,
            "options": dict(target.options),
            "late": late,
            "worker": os.getpid(),
            "control": theirs.fileno(),
            "sys_path": sys.path,
        }
        # Files, not pipes: nobody reads while the reward loads, and 64 kB of warnings would block an import
        # forever.
        with theirs, tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
            stdin.write(json.dumps(config).encode())
            stdin.seek(0)
            self._process = subprocess.Popen(
                # exec, not fork: the worker has threads, arrow's and joblib's, whose locks a forked child
                # would never see released.
                [sys.executable, "-P", "-c", _BOOT],
                stdin=stdin,
                # What a reward prints is not for the user's terminal, where a report may be going through a pipe.
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=_environment() | {MARK: self._mark},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C in the terminal is for the driver
            )
            # At once: while this process holds the other end too, the death of the zygote is not an end of the
            # stream.
            theirs.close()
            self._pid = self._process.pid
            try:
                return self._receive(BOOT_SECONDS)
            except TimeoutError:
                self._stop()
                raise RewardError(f"the reward {name_of(target)} was not loaded in {BOOT_SECONDS:g} s") from None
            except ZygoteGone:
                how = proc.how_ended(self._process.wait())
                self._stop()
                raise RewardError(
                    f"loading the reward {name_of(target)} ended the process ({how}){_last_line(stderr)}"
                ) from None

    def _command(self, message: Mapping[str, Any], fds: list[int]) -> dict[str, Any]:
        with self._lock:
            try:
                # SEQPACKET keeps message boundaries, so a command and its descriptor arrive together and a
                # partial read cannot happen.
                socket.send_fds(self._control, [json.dumps(message).encode()], fds)
                return self._receive(COMMAND_SECONDS)
            # TimeoutError is an OSError, and is meant here: after a command without an answer, the next answer
            # would be the wrong one.
            except (OSError, ZygoteGone) as error:
                self._stop()
                raise ZygoteGone(str(error)) from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        """Its next answer. Raises TimeoutError, ZygoteGone."""
        self._control.settimeout(TICK)
        on_wait = patience(self._pid, seconds)
        message = None
        while message is None:
            try:
                message = self._control.recv(1 << 16)
            except TimeoutError:
                on_wait()
            # A reset instead of an end of stream: it died with an unread command in its socket.
            except ConnectionError:
                message = b""
        if not message:
            raise ZygoteGone("end of stream")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _stop(self) -> None:
        """Let go of it. Ours is killed and reaped: its children die with it, and what those started has the mark."""
        self.gone = True
        self._control.close()
        if self._process is None:
            # Not ours to restart. The workers of one driver may all come here at once; each then has one of its
            # own.
            os.environ.pop(SHARED, None)  # from now on this process has its own
            return
        self._process.kill()
        self._process.wait()
        # Children die by PDEATHSIG; what they started in sessions of their own is found by the mark in its
        # environment.
        proc.kill_marked(f"{MARK}={self._mark}")


_zygotes: dict[str, ZygoteClient] = {}
_zygotes_lock = threading.Lock()
_announced: str | None = None  # the name of the next `share`
_inherited: list[ZygoteClient] = []  # those of the parent of a forked process, which must not touch them


def zygote_for(target: Target) -> ZygoteClient:
    """The zygote of this process for that target, started if there is none. Raises RewardError."""
    # The key holds the options, too: the same reward with another tolerance is another loaded object.
    key = _key(target)
    with _zygotes_lock:
        if key not in _zygotes or _zygotes[key].gone:
            _zygotes[key] = ZygoteClient(target)
        return _zygotes[key]


def rename(target: Target, other: Target) -> None:
    """Have the zygote of `target` serve `other` from now on: the same function, its options filled in."""
    with _zygotes_lock:
        # Loading a reward may take minutes: not again, where nothing but its options has changed.
        if zygote := _zygotes.pop(_key(target), None):
            if before := _zygotes.pop(_key(other), None):
                before.close()
            _zygotes[_key(other)] = zygote


def announce() -> None:
    """Let the workers that this process starts from now on use the zygotes that the next `share` shares."""
    global _announced
    # A fresh name per call: a worker of an earlier run on this host must not find these zygotes.
    _announced = os.environ[SHARED] = secrets.token_hex(16)


def share() -> None:
    """Let the workers that this process starts from now on, or has since `announce`, use its zygotes."""
    global _announced
    if _announced is None:
        announce()
    with _zygotes_lock:
        assert _announced is not None
        name, _announced = _announced, None
        for key, zygote in _zygotes.items():
            with suppress(ZygoteGone):  # the workers then start their own
                zygote.share(_address(name, key))


def close_all() -> None:
    """End the zygotes of this process; the next call that needs one starts it again."""
    global _announced
    with _zygotes_lock:
        os.environ.pop(SHARED, None)
        # A run that ended before its `share` has left it: workers of the next one would not get that name.
        _announced = None
        while _zygotes:
            _zygotes.popitem()[1].close()


def name_of(target: Target) -> str:
    """What to call a target in a message."""
    return target.name or target.path


def _key(target: Target) -> str:
    return json.dumps([target.path, dict(target.options)], sort_keys=True)


def _address(shared: str, key: str) -> str:
    # sun_path holds 108 bytes, and the options may be of any length: hence a digest.
    return f"rollout-analyzer/{shared}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _environment() -> dict[str, str]:
    """The environment of the run; what changes how Python or sympy behave is left out, or set here."""
    # PYTHONHASHSEED, PYTHONOPTIMIZE, PYTHONSTARTUP and SYMPY_USE_CACHE of the user's shell would change rewards
    # from one machine to the next without any trace in the run's identity.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SYMPY_"))}
    if "PYTHONPATH" in os.environ:  # for Python programs that a reward starts
        kept["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return kept | _PINNED


def _last_line(stderr: IO[bytes]) -> str:
    """What Python itself had to say, where it did not get as far as the zygote's program."""
    stderr.seek(0)
    # From its start, and not all: a library that logs while it loads may have written gigabytes.
    lines = stderr.read(1 << 16).decode(errors="replace").split("\n")
    return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def _after_fork() -> None:
    # Whoever held the lock in the parent does not exist here, so it would never be released. The zygotes
    # themselves stay referenced: collecting them would close sockets that a destructor has no right to shut down.
    global _zygotes_lock
    _zygotes_lock = threading.Lock()
    _inherited.extend(_zygotes.values())
    _zygotes.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_all)
