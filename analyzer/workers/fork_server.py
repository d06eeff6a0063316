"""The program of the process that workers are forked from: it calls what the driver tells it to, then forks on request.

Single-threaded, since a fork would lose the threads and keep their locks; `forks.py` is the driver's side.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker, spawn
from typing import Any, NoReturn

from analyzer import proc

_FORK_SAFE = {"jemalloc_bg_thd"}  # arrow's: jemalloc takes its locks before a fork, and starts it anew after one
REQUEST, CALL = b"fork", b"call"  # of a worker, of a call that lasts longer than they
MOST_FDS = 200  # of one request; the kernel's limit is 253


def main() -> NoReturn:
    """The server's program: load, then fork a worker for each request until the driver hangs up."""
    # Ctrl-C reaches the whole process group; workers are ended by the driver, and inherit this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    sys.argv = [""]
    try:
        gc.disable()  # what is loaded stays
        # Until the last call, or the end of the driver. What is wrong shows where it matters, in the first shard.
        with contextlib.suppress(Exception):
            while True:
                pickle.load(sys.stdin.buffer)()
        # Of _FORK_SAFE, from Python 3.12 on.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        # A fork would lose the threads and keep their locks.
        if proc.thread_names() - _FORK_SAFE:
            os._exit(1)
        # Out of the collector's sight: a collection in a worker would write to every object, and so copy its page.
        gc.collect()
        gc.freeze()
        gc.enable()
        _serve(control)
    finally:
        os._exit(0)


def call_in(environment: dict[str, str], function: Callable[[], None]) -> None:
    """What the driver has the server call: a function, in the driver's environment."""
    os.environ.update(environment)
    function()


def _serve(control: socket.socket) -> None:
    """Fork a worker for each request, until the driver has hung up and the last call has ended."""
    woken, wake = os.pipe()
    for fd in (woken, wake):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(woken, select.POLLIN)
    exit_pipes: dict[int, int] = {}  # pid of a worker -> where its exit code is written
    calls: set[int] = set()  # pids, too
    hung_up = False
    while not hung_up or calls:
        ready = {fd for fd, _ in poller.poll()}
        if woken in ready:
            os.read(woken, 4096)
            calls -= _reap(exit_pipes)
        if control.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(control, len(REQUEST), MOST_FDS + 3)
            if not message:
                hung_up = True
                poller.unregister(control)
                continue
            pid = os.fork()
            if pid == 0:
                _work(fds, [control.detach(), woken, wake, fds[1], *exit_pipes.values()])
            with contextlib.suppress(BrokenPipeError):
                forkserver.write_signed(fds[1], pid)
            exit_pipes[pid] = fds[1]
            if message == CALL:
                calls.add(pid)
            for fd in {*fds} - {fds[1]}:
                os.close(fd)


def _reap(exit_pipes: dict[int, int]) -> set[int]:
    """Report the exit codes of the workers that have ended, take their pipes away, and return their pids."""
    ended = set()
    while exit_pipes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        ended.add(pid)
        where = exit_pipes.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            forkserver.write_signed(where, os.waitstatus_to_exitcode(status))
        os.close(where)
    return ended


def _work(fds: list[int], others: list[int]) -> NoReturn:
    """In a forked worker: what multiprocessing's own server does after its fork."""
    code = 1
    driver = os.dup(fds[0])
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in others:
            os.close(fd)
        call, _, tracker, *inherited = fds
        resource_tracker._resource_tracker._fd = tracker  # type: ignore[attr-defined]
        forkserver._forkserver._inherited_fds = inherited  # type: ignore[attr-defined]
        code = spawn._main(call, driver)
    except Exception:  # noqa: BLE001  # the end of this process: nobody is there to raise it to
        # Of a driver that has ended, the semaphores have gone with it: no fault of anybody's.
        ends = select.poll()
        ends.register(driver, 0)
        if not ends.poll(0):  # it has not hung up
            sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def plain_process(state: dict[str, Any]) -> Any:
    """In a forked worker: the process that the driver described, of loky's own class."""
    from joblib.externals.loky.backend.process import LokyProcess

    process = LokyProcess.__new__(LokyProcess)
    process.__dict__.update(state)
    return process
