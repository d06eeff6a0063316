"""The child's program: one call at a time on one reward, until the worker hangs up.

It answers every call that ends, with its value or the status that says why there is none. Calls that do not end, and
crashes, are seen from outside.
"""

from __future__ import annotations

import fcntl
import gc
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from os import _exit, close, getpid, setsid
from os.path import basename, dirname
from typing import Any, NoReturn

from analyzer import proc
from analyzer.errors import AnalyzerError
from analyzer.grading import hygiene
from analyzer.grading.frames import Channel, Closed, pack
from analyzer.schema import Status, Unscored

MAX_CALLS = 2000  # then the child is replaced, so that caches of sympy and the like do not grow forever
_MEMORY_CHECK = 100  # calls
# Below the usual limit of 1024 (lower where that is lower), above what a reward is likely to close or open.
_HIGH_FD = 700
_DETAIL_LENGTH = 1000
_PACKAGE = dirname(dirname(__file__))


def main(fd: int, zygote: int, build: Callable[[], Any], memory_bytes: int) -> NoReturn:
    """Serve calls that come over the socket `fd`; `build` gives the reward. Never returns."""
    try:
        # First of all: from here on no way in which the zygote ends can leave this process behind.
        proc.die_with(zygote)
        proc.adopt_orphans()
        setsid()  # a reward that signals its process group means its own
        # A crash is an everyday event here; a core of 2 GB per crash would fill the user's disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Where the node runs out of memory, the kernel is to kill this process and not the worker, whose shard
        # would be lost. Raising one's own score needs no privilege.
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        # The protocol moves up before any code of a user's runs: while it loads, a reward may close or reuse low
        # descriptors.
        channel = Channel(socket.socket(fileno=_move_high(fd)))
        try:
            reward = build()
        except BaseException as error:  # noqa: BLE001 - a reward may raise anything when it is loaded
            channel.send(pack({"failed": explain(error)}))
            _exit(1)
        # The limit is set after loading, relative to what is mapped then, so that a reward with torch (gigabytes
        # of mappings) has the same room as one without. Only the soft limit moves: an ordinary user could never
        # raise a hard one again.
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = proc.mapped_bytes() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        channel.send(pack({"ready": True}))
        _serve(channel, reward, memory_bytes)
    except Closed:
        _exit(0)
    # _exit skips atexit handlers and buffers that were inherited from the zygote by fork and are not this
    # process's to run.
    finally:
        _exit(1)


def explain(error: BaseException) -> str:
    """An exception in one line: its type and text, and the place it comes from. Never raises."""
    if isinstance(error, AnalyzerError):  # written for the user as it is
        return str(error)
    try:
        # The text is the user's code as well: __str__ may raise, and it may be megabytes long.
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except BaseException:  # noqa: BLE001 - an exception whose own __str__ raises
        text = type(error).__name__
    place = ""
    frame = error.__traceback__
    # The innermost frame that is not part of importlib is the line that its author can do something about.
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith("<frozen"):
            place = f" ({basename(file)}, line {frame.tb_lineno})"
            if isinstance(error, SyntaxError) and file.startswith(_PACKAGE):
                place = ""  # where a file was loaded, which is our affair; its own place stands in the text
        frame = frame.tb_next
    return " ".join(text[:_DETAIL_LENGTH].split()) + place


def _serve(channel: Channel, reward: Any, memory_bytes: int) -> NoReturn:
    # Taken before the first call: a reward that forks and returns in both processes would otherwise answer every
    # call twice, and each answer after that would belong to the request before.
    me = getpid()
    resident = proc.resident_bytes()
    clean = hygiene.state()
    kept = hygiene.Kept()
    for calls in count(1):
        request = channel.receive()
        reply = _answer(reward, request, kept)
        if getpid() != me:  # the reward forked, and this is its child that came back
            _exit(0)
        # The id is echoed so that a late or forged answer can never be taken for that of another rollout.
        reply["id"] = request["id"]
        # The child decides by itself whether it is soiled, since only it can look; it answers first and is
        # replaced afterwards, so that a bad habit of a reward costs time, not results.
        reply["last"] = (
            # The cheapest tests stand first; resident memory is a read of /proc and so is looked at in every
            # 100th call only.
            calls >= MAX_CALLS
            or reply["status"] == Status.MEMORY
            or hygiene.has_processes()
            or hygiene.state() != clean
            or (calls % _MEMORY_CHECK == 0 and proc.resident_bytes() > resident + memory_bytes // 2)
        )
        channel.send(_pack(reply))
    raise AssertionError("unreachable: count() does not end")


def _answer(reward: Any, request: dict[str, Any], kept: hygiene.Kept) -> dict[str, Any]:
    try:
        return {"status": Status.OK, "value": kept.call(getattr(reward, request["method"]), *request["args"])}
    except Unscored as error:
        return {"status": error.status, "detail": error.detail}
    except MemoryError as error:
        # Without this the answer that reports the lack of memory could itself not be built.
        error.__traceback__ = None  # its frames hold what filled the memory
        gc.collect()
        return {"status": Status.MEMORY, "detail": "the memory limit was reached"}
    # A reward that calls sys.exit() is a broken reward, not a crash: the child has lost nothing and goes on.
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt must not end the child either
        return {"status": Status.ERROR, "detail": explain(error)}


def _pack(reply: dict[str, Any]) -> bytes:
    try:
        return pack(reply)
    # What a user's function returns need not be JSON (a numpy array, a set, itself nested). The child is replaced
    # after it, as an object with a hostile __iter__ or __str__ may have run code in here.
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return pack(
            {
                "status": Status.INVALID_RESULT,
                "detail": f"the result cannot be passed on: {explain(error)}",
                "id": reply["id"],
                "last": True,
            }
        )


def _move_high(fd: int) -> int:
    """Move the protocol out of the way of a reward that closes or reuses the first descriptors."""
    # F_DUPFD gives the lowest free descriptor from this number on, and fails where the soft limit lies below it.
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD if most > _HIGH_FD + 16 else max(3, most - 16))
    close(fd)
    return high
