"""The zygote's program: load the reward once, then fork a child for each worker thread, kill them, reap them.

It is exec'ed, so it holds no lock, thread or socket of the worker; it has one thread, so forking it is safe. It never
calls the reward's methods, so it is always there to answer. It ends when the worker does, whatever ends the worker,
and everything it started ends with it: children die with it (PDEATHSIG), processes that those left behind come to it
as orphans (PR_SET_CHILD_SUBREAPER) and are killed.

Commands and answers are one JSON message each on a SEQPACKET socket:

    {"spawn": memory_bytes} and a socket    {"pid": 123}
    {"end": 123}                            {"ended": "SIGKILL"}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from analyzer.grading import child, proc

IDLE_SECONDS = 300.0  # without children and commands, then the zygote goes; the worker starts another when it must
_WATCH_SECONDS = 1.0


def main(config: Mapping[str, Any]) -> None:
    """Run the zygote as `config` says, which is what nursery.Zygote sends. Never returns."""
    try:
        # While the reward is loaded nobody here can watch the worker, so the kernel does.
        proc.die_with(config["worker"])
        proc.adopt_orphans()
        control = socket.socket(fileno=config["control"])
        control.set_inheritable(False)
        _silence()
        sys.argv = [""]
        load: Callable[[], Any] = partial(build, config["path"], config["options"])
        if not config["late"]:
            load = _preload(control, load)
        # The kernel watches the worker's thread, and one that ends must not take the children of others along.
        proc.live_on()
        _send(control, {"ready": True})
        _serve(control, config["worker"], load)
    finally:
        os._exit(1)


def build(path: str, options: Mapping[str, Any]) -> Any:
    """The object that `path` ("module:Class") and `options` describe, loaded. Raises whatever that raises."""
    module, _, name = path.partition(":")
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    reward = target(**options)
    if hasattr(reward, "load"):
        reward.load()
    return reward


def _preload(control: socket.socket, load: Callable[[], Any]) -> Callable[[], Any]:
    """Load the reward here, for all children; ends the process where that fails or leaves threads running."""
    try:
        reward = load()
    except BaseException as error:  # noqa: BLE001 - a reward may raise anything when it is loaded
        _send(control, {"failed": child.explain(error)})
        os._exit(1)
    if proc.thread_count() > 1:  # a fork would lose those threads and keep their locks: each child loads for itself
        _send(control, {"threads": True})
        os._exit(1)
    gc.collect()
    gc.freeze()
    return lambda: reward


def _serve(control: socket.socket, worker: int, load: Callable[[], Any]) -> None:
    """Carry out commands until the worker hangs up or dies."""
    running: set[int] = set()
    poller = select.poll()
    poller.register(control, select.POLLIN)
    idle_since = time.monotonic()
    # A process that the worker forked may hold its end of the socket open, so its death is watched for as well.
    while os.getppid() == worker:
        if not poller.poll(_WATCH_SECONDS * 1000):
            if not running and time.monotonic() - idle_since > IDLE_SECONDS:
                break
            continue
        message, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            break
        command = json.loads(message)
        if "spawn" in command:
            running.add(_spawn(control, fds[0], load, command["spawn"]))
        else:
            running.remove(command["end"])
            _send(control, {"ended": _end(command["end"], running)})
        idle_since = time.monotonic()
    for pid in list(running):
        running.remove(pid)
        _end(pid, running)


def _spawn(control: socket.socket, fd: int, load: Callable[[], Any], memory_bytes: int) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        child.main(fd, zygote, load, memory_bytes)
    os.close(fd)
    _send(control, {"pid": pid})
    return pid


def _end(pid: int, running: set[int]) -> str:
    """Kill a child and all it left behind; how it ended, if it had done so by itself."""
    os.kill(pid, signal.SIGKILL)  # it has not been reaped, so the id is still its own
    _, status = os.waitpid(pid, 0)
    while orphans := set(proc.children()) - running:
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _silence() -> None:
    """Whatever is printed is discarded, and reading from the terminal finds nothing."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _send(control: socket.socket, message: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the worker is gone; the loop notices
        control.send(json.dumps(message).encode("ascii"))
