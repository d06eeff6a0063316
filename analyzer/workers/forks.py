"""Workers forked from one process that has loaded what each of them needs: modules, the tokenizer.

    start(load)             # a process apart calls load(), while the driver does other things
    begin(warm)             # and then warm(), the last of what any worker needs
    with workers():         # joblib's loky then has its workers forked from that process
        ...
    end()

A worker takes 0.8 s of CPU time to load all that by itself, and a copy of the tokenizer; forked, it takes some
milliseconds, and what is loaded is shared until it is changed. To loky a forked worker is like any other: the same
queues, the same signs of its death. Where the process has ended or could not be forked (it has threads), or where a
private name of another version is missing, loky starts its workers as usual. docs/decisions/forked-workers.md says why.

    driver ── control socket (descriptors) ── server   exec'ed, single-threaded; forks, reaps, ends with the driver
       └───── pipes: call in, pid and exit code out ── worker
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import context, forkserver, popen_forkserver, resource_tracker, util
from typing import Any

from analyzer import proc
from analyzer.workers.fork_server import CALL, MOST_FDS, REQUEST, call_in, plain_process

# An empty line: the driver was interrupted before it wrote, and ends.
_BOOT = (
    "import json, sys; line = sys.stdin.buffer.readline() or sys.exit(); sys.path[:] = json.loads(line);"
    "from analyzer.workers.fork_server import main; main()"
)
_ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
_REAP_SECONDS = 1.0


class _Server:
    """The driver's side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[int] = set()  # pids
        self._ended = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Ctrl-C reaches the whole process group, and Python cannot ignore it while it starts: it inherits a mask.
            # A process group of its own would do, too, but Ctrl-Z must stop the workers with their driver.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                # -P: a file in the working directory must not stand in for a module of the standard library.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno())],
                    stdin=subprocess.PIPE,
                    env=_environment(),
                    pass_fds=[theirs.fileno()],
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # sys.path first, as JSON: no pickle can be read before the modules that it names can be imported.
        self._write(json.dumps(sys.path).encode() + b"\n")

    def call(self, function: Callable[[], None], last: bool = False) -> None:
        """Have it call that next; after the `last` call it forks."""
        # In the environment of now: what is set meanwhile is for workers, too.
        self._write(pickle.dumps(functools.partial(call_in, _environment(), function)))
        if last:
            self._close()

    @property
    def ready(self) -> bool:
        """Whether its last call has been given to it."""
        assert self._process.stdin is not None
        return self._process.stdin.closed

    def _write(self, what: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the first fork will tell
            self._process.stdin.write(what)
            self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def fork(self, fds: list[int], request: bytes = REQUEST) -> tuple[int, int]:
        """Fork a process that inherits `fds`: where its pid and exit code are read, and where its call is written.

        Raises OSError where the server has ended.
        """
        self._close()  # without a last call, too: it would wait for one
        if len(fds) > MOST_FDS:
            raise OSError(f"{len(fds)} descriptors for one worker")
        status_r, status_w = os.pipe()
        call_r, call_w = os.pipe()
        try:
            tracker = resource_tracker.getfd()
            assert tracker is not None
            with self._lock:
                socket.send_fds(self._control, [request], [call_r, status_w, tracker, *fds])
        except OSError:
            os.close(status_r)
            os.close(call_w)
            raise
        finally:
            os.close(call_r)
            os.close(status_w)
        return status_r, call_w

    def end(self) -> None:
        """End it, once the workers that are being killed are reaped: nobody else could. A call keeps it."""
        deadline = time.monotonic() + _REAP_SECONDS
        with contextlib.suppress(OSError):
            while {*proc.children_of(self._process.pid)} - self._calls and time.monotonic() < deadline:
                time.sleep(0.002)
        with self._lock:
            self._ended = True
            self._control.close()
            self._close()
            if not self._calls:
                self._process.kill()  # it may be loading still, and holds nothing
                self._process.wait()

    def keep(self, pid: int) -> None:
        """Let it outlive `end` for this process."""
        with self._lock:
            self._calls.add(pid)

    def release(self, pid: int) -> None:
        """The process has ended."""
        with self._lock:
            self._calls.discard(pid)
            if self._ended and not self._calls:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_REAP_SECONDS)  # it reaps that process, and ends
                self._process.kill()
                self._process.wait()


def _environment() -> dict[str, str]:
    # A worker is one core's worth of work, and a process with threads of BLAS could not be forked.
    return {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD}}


_server: _Server | None = None

# What is private here to multiprocessing and loky, whose other versions may lack it.
_PRIVATE = {
    "multiprocessing.context": ("_concrete_contexts", "set_spawning_popen"),
    "multiprocessing.forkserver": ("_forkserver", "read_signed", "write_signed"),
    "multiprocessing.popen_forkserver": ("Popen",),
    "multiprocessing.resource_tracker": ("_resource_tracker", "getfd"),
    "multiprocessing.spawn": ("_main",),
    "joblib.externals.loky.backend.context": ("LokyContext",),
    "joblib.externals.loky.backend.process": ("LokyProcess",),
    "joblib.externals.loky.backend.reduction": ("dump",),
}


def _missing() -> list[str]:
    """The private names that these versions of Python and joblib lack."""
    missing = []
    for module, names in _PRIVATE.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            missing.append(module)
        else:
            missing += [f"{module}.{name}" for name in names if not hasattr(found, name)]
    return missing


def start(load: Callable[[], None]) -> None:
    """Start the process before it is known what workers need: it calls `load` (see `begin`), and waits for the rest.

    Nothing happens where it is there already.
    """
    global _server
    if _server is None:
        _server = _Server()
        _server.call(load)


def begin(warm: Callable[[], None]) -> None:
    """Call `warm` in the process that workers are forked from, once, while the driver does other things.

    warm: picklable. What it raises is left for the workers to meet.
    """
    global _server
    if _server is None:
        _server = _Server()
    if not _server.ready:
        _server.call(warm, last=True)


def end() -> None:
    """End what `start` or `begin` has started, when its workers have been killed."""
    global _server
    if _server is not None:
        server, _server = _server, None
        server.end()


@contextlib.contextmanager
def workers() -> Iterator[None]:
    """A context in which loky's pools have their workers forked, where `begin` was called."""
    if _server is None or _missing():
        yield
        return
    forking = _context()
    # loky looks its context up here by name, when it makes a pool; joblib gives no other way in.
    known: dict[str, Any] = context._concrete_contexts  # type: ignore[attr-defined]
    before, known["loky"] = known["loky"], forking
    try:
        yield
    finally:
        known["loky"] = before


@functools.cache
def _context() -> Any:
    """loky's own context, whose processes are forked."""
    from joblib.externals.loky.backend.context import LokyContext
    from joblib.externals.loky.backend.process import LokyProcess

    class Forked(LokyProcess):  # type: ignore[misc]  # joblib has no types
        """A worker; loky asks it for no more than its pid, its sentinel and its end."""

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
            try:
                return _Popen(process_obj)
            except (OSError, EOFError):  # the server is gone
                return LokyProcess._Popen(process_obj)

        def __reduce__(self) -> Any:
            # In the worker it is any process: the class is made here, where joblib is imported already.
            return plain_process, (self.__dict__,)

    class ForkingContext(LokyContext):  # type: ignore[misc]
        """What makes queues and locks is loky's."""

        Process = Forked

    return ForkingContext()


class _Popen(popen_forkserver.Popen):
    """A forked worker as the driver sees it; how it has ended is what the server says."""

    _request = REQUEST
    _fds: list[int]  # that the worker is to inherit

    def _launch(self, process_obj: Any) -> None:
        from joblib.externals.loky.backend import reduction

        if _server is None:
            raise OSError("no server")
        call = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            # No word of the main module, which multiprocessing would import in the worker: a script of the user's
            # need not be one that can be imported.
            reduction.dump({"name": process_obj._name}, call)
            reduction.dump(process_obj, call)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, into = _server.fork(self._fds, self._request)
        # A second way into the worker's pipe: its end tells the worker that this process has ended.
        kept = os.dup(into)
        self.finalizer = util.Finalize(self, _close, (kept, self.sentinel))
        with open(into, "wb") as file:
            file.write(call.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class Call(_Popen):
    """`function(*args)` in a process forked from where workers are, which may last longer than they; then `close`."""

    _request = CALL

    def __init__(self, function: Callable[..., None], *args: Any) -> None:
        """Waits for what is being loaded. Raises OSError or EOFError where there is nothing to fork from."""
        if _server is None:
            raise OSError("no server")
        self._server = _server
        super().__init__(_context().Process(target=function, args=args))
        self._server.keep(self.pid)

    def close(self) -> None:
        """End it where it still runs: to it, the driver has ended."""
        self.finalizer()
        self._server.release(self.pid)


def can_call() -> bool:
    """Whether there is something to fork a `Call` from."""
    # It imports joblib, in this thread: where two import it at once, each may find it half-made.
    return _server is not None and _server.ready and not _missing()


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def follow() -> bool:
    """In a forked worker: end when the driver does, however that ends. False in any other process."""
    driver = multiprocessing.parent_process()
    # loky's own workers have no such pipe.
    if driver is None or getattr(driver, "_sentinel", None) is None:
        return False

    def end_with_driver() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=end_with_driver, daemon=True).start()
    return True
