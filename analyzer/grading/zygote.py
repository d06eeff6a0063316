"""The zygote's program: load the reward once, then fork a child for each worker thread, kill them, reap them.

It is exec'ed, so it holds no lock, thread or socket of the process that started it, its owner; it has one thread, so
forking it is safe. It never calls the reward's methods, so it is always there to answer. It ends when its owner does,
whatever ends that, and everything it started ends with it: children die with it (PDEATHSIG), processes that those left
behind come to it as orphans (PR_SET_CHILD_SUBREAPER) and are killed.

Commands and answers are one JSON message each on a SEQPACKET socket:

    {"spawn": memory_bytes} and a socket    {"pid": 123}
    {"end": 123}                            {"ended": "SIGKILL"}
    {"listen": name}                        {"listening": true}

Once it listens, at an abstract address of the host, other processes of the same user may connect and give the first two
commands; the children of one that ends are ended.
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

from analyzer import proc
from analyzer.grading import child

IDLE_SECONDS = 300.0  # without children and commands, then the zygote goes; the worker starts another when it must
_WATCH_SECONDS = 1.0
_WAITING = 128  # processes that may wait to be accepted


def main(config: Mapping[str, Any]) -> None:
    """Run the zygote as `config` says, which is what nursery.ZygoteClient sends. Never returns."""
    try:
        # While the reward is loaded nobody here can watch the worker, so the kernel does.
        proc.die_with(config["worker"])
        proc.adopt_orphans()
        control = socket.socket(fileno=config["control"])
        # A reward may start programs while it loads; one that kept this descriptor would keep the worker waiting
        # after our death.
        control.set_inheritable(False)
        # Before any code of a user's: what it prints is discarded, and input() finds the end at once. What Python
        # said until here (a package missing, a syntax error) has reached the file that the worker reads.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        # Libraries with flags of their own (absl, ray) parse sys.argv when imported and would find "-c" and its
        # text.
        sys.argv = [""]
        load: Callable[[], Any] = partial(build, config["path"], config["options"])
        # Loaded before the fork, a gigabyte of libraries is shared by all children as copy-on-write pages.
        if not config["late"]:
            load = _preload(control, load)
        # The kernel watches the worker's thread, and one that ends must not take the children of others along.
        proc.live_on()
        _send(control, {"ready": True})
        _Server(control, config["worker"], load).run()
    finally:
        # Never sys.exit(): atexit handlers of whatever the reward imported could hang, and nobody would be left
        # to kill them.
        os._exit(1)


def build(path: str, options: Mapping[str, Any]) -> Any:
    """The object that `path` ("module:Class") and `options` describe, loaded. Raises whatever that raises."""
    module, _, name = path.partition(":")
    target: Any = importlib.import_module(module)
    # A nested class is reached by its dotted name, as in pickle's qualified names.
    for part in name.split("."):
        target = getattr(target, part)
    reward = target(**options)
    if hasattr(reward, "load"):
        reward.load()
    return reward


def _preload(control: socket.socket, load: Callable[[], Any]) -> Callable[[], Any]:
    """Load the reward here, for all children; ends the process where that fails or leaves threads running."""
    gc.disable()  # what is loaded stays: looking through it again and again would be a fifth of loading sympy
    try:
        reward = load()
    except BaseException as error:  # noqa: BLE001 - a reward may raise anything when it is loaded
        _send(control, {"failed": child.explain(error)})
        os._exit(1)
    # /proc, not threading.active_count(): threads of OpenMP or of a Rust library are unknown to Python.
    if proc.thread_count() > 1:  # a fork would lose those threads and keep their locks: each child loads for itself
        _send(control, {"threads": True})
        os._exit(1)
    # freeze() moves all that lives out of the collector's sight: the first collection in a child would otherwise
    # write to every object's header, and so copy all the pages that fork shares.
    gc.collect()
    gc.freeze()
    gc.enable()
    return lambda: reward


class _Server:
    """Carries out the commands of the owner and of those who have connected, until the owner hangs up or dies."""

    def __init__(self, owner: socket.socket, worker: int, load: Callable[[], Any]) -> None:
        self._owner = owner
        self._worker = worker
        self._load = load
        self._listener: socket.socket | None = None
        self._clients = {owner: _Client(worker)}
        self._poller = select.poll()
        self._poller.register(owner, select.POLLIN)

    def run(self) -> None:
        idle_since = watched = time.monotonic()
        while self._owner in self._clients:
            # POLLHUP and POLLERR come without being asked for, and recv_fds() then reads b"": one path for every
            # kind of end.
            ready = {fd for fd, _ in self._poller.poll(_WATCH_SECONDS * 1000)}
            if self._listener is not None and self._listener.fileno() in ready:
                self._accept(self._listener)
            # A copy, since _obey() drops clients while the loop runs.
            for sock in [sock for sock in self._clients if sock.fileno() in ready]:
                self._obey(sock)
            now = time.monotonic()
            if now - watched >= _WATCH_SECONDS:
                watched = now
                # A process that a client forked may hold its end of the socket open, so deaths are watched for as
                # well as hang-ups.
                dead = [sock for sock, client in self._clients.items() if proc.is_dead(client.pid)]
                # Reparented: the owner is gone, and its pid may already be that of another process.
                if os.getppid() != self._worker:
                    dead.append(self._owner)
                for sock in {*dead} & self._clients.keys():
                    self._drop(sock)
            # A zygote that nobody uses gives back its memory, a gigabyte with torch; the next call starts
            # another.
            if ready or self._running():
                idle_since = now
            elif now - idle_since > IDLE_SECONDS:
                break
        for sock in list(self._clients):
            self._drop(sock)

    def _running(self) -> set[int]:
        return set().union(*(client.children for client in self._clients.values()))

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        # An abstract socket has no mode bits: any user of the host could connect, and a spawn runs our user's
        # code.
        pid, uid = proc.peer_of(sock)
        if uid != os.geteuid():
            sock.close()
            return
        self._clients[sock] = _Client(pid)
        self._poller.register(sock, select.POLLIN)

    def _obey(self, sock: socket.socket) -> None:
        try:
            # 4096 bytes hold every command, and SEQPACKET delivers one at a time; one descriptor at most belongs
            # to it.
            message, fds, _, _ = socket.recv_fds(sock, 4096, 1)
        except ConnectionError:
            message, fds = b"", []
        if not message:
            self._drop(sock)
            return
        command = json.loads(message)
        children = self._clients[sock].children
        if "spawn" in command:
            pid = self._spawn(fds[0], command["spawn"])
            children.add(pid)
            _send(sock, {"pid": pid})
        elif "end" in command:
            # A client may end its own children alone. Another number raises KeyError, which ends this process and
            # so all of them.
            children.remove(command["end"])
            _send(sock, {"ended": _end(command["end"], self._running())})
        else:
            self._listen(command["listen"])
            _send(sock, {"listening": True})

    def _listen(self, name: str) -> None:
        # A second run of the same driver shares under a new name; the workers of the first have gone.
        if self._listener is not None:
            self._poller.unregister(self._listener)
            self._listener.close()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"\0{name}")
        self._listener.listen(_WAITING)
        self._poller.register(self._listener, select.POLLIN)

    def _drop(self, sock: socket.socket) -> None:
        children = self._clients.pop(sock).children
        self._poller.unregister(sock)
        sock.close()
        # Popped first, so that _end() does not take it for one of those that are to live.
        while children:
            _end(children.pop(), self._running() | children)

    def _spawn(self, fd: int, memory_bytes: int) -> int:
        zygote = os.getpid()
        # Safe because this process has one thread; see _preload.
        pid = os.fork()
        if pid == 0:
            # A child that held the sockets of other clients would keep them open after the zygote's death.
            for sock in (*self._clients, *([self._listener] if self._listener else ())):
                sock.close()
            child.main(fd, zygote, self._load, memory_bytes)
        # Our copy of the child's socket: kept, it would hide the child's end from the worker, and leak one per
        # child.
        os.close(fd)
        return pid


class _Client:
    """A process that may have children forked, and those it has."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.children: set[int] = set()


def _end(pid: int, running: set[int]) -> str:
    """Kill a child and all it left behind; how it ended, if it had done so by itself."""
    os.kill(pid, signal.SIGKILL)  # it has not been reaped, so the id is still its own
    _, status = os.waitpid(pid, 0)
    # Killing one orphan may hand us its children in turn (we are their subreaper), so the list is read until it
    # is empty.
    while orphans := set(proc.children()) - running:
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
    return proc.how_ended(os.waitstatus_to_exitcode(status))


def _send(control: socket.socket, message: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the worker is gone; the loop notices
        control.send(json.dumps(message).encode("ascii"))
