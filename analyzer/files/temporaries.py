"""Temporary names: whose they are, which were left behind by a process that is gone, and folders built only once.

    .shard-000017.parquet.187b6a3f9be1f2c4.3f0c9a1b5e77.4711-81520.tmp      name, time, node, process

A killed process leaves such names behind; whoever comes next removes them. The node part is of this boot of the
machine and this PID namespace, so that a process id means something. Ids are given out again: a process is known by its
id and by when it began.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from analyzer import proc

_NAME = re.compile(r"\.(?P<name>.+)\.(?P<time>[0-9a-f]{16})\.(?P<node>[0-9a-f]{12})\.(?P<process>[0-9]+-[0-9]+)\.tmp")
# Of processes on other nodes nothing is known. A day is longer than any stage goes without writing.
_DEAD_AFTER = 24 * 3600.0  # seconds without a change
_QUIET_AFTER = 120.0  # seconds without a sign of life after which a builder is not waited for
_HEARTBEAT = 10.0


def name_for(name: str) -> str:
    """A new temporary name for what will be called `name`."""
    return f".{name}.{time.time_ns():016x}.{_node()}.{_this_process(os.getpid())}.tmp"


@functools.lru_cache(1)
def _this_process(pid: int) -> str | None:
    # Asked for each file that is written. By its id, which a fork changes: /proc takes half a millisecond to tell.
    return process(pid)


def process(pid: int) -> str | None:
    """What a process of this node is called: its id, and the ticks of the clock from the boot to when it began.

    None where it has ended, reaped or not.
    """
    ticks = proc.began(pid)
    return None if ticks is None else f"{pid}-{ticks}"


@functools.cache
def _node() -> str:
    # Host names repeat among containers and ids among PID namespaces: only together do they tell where an id means
    # something.
    parts = [os.uname().nodename]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files and folders that processes which are gone left in `folder`."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if (match := _NAME.fullmatch(entry.name)) and _is_stale(entry.path, match):
                remove(entry.path)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file or folder, if it is there."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _is_stale(path: str, match: re.Match[str]) -> bool:
    # On this node there is an answer at once; across nodes only age speaks.
    if match["node"] == _node() and not _runs(match["process"]):
        return True
    try:
        times = [os.stat(path).st_mtime]
        if os.path.isdir(path):
            times += [entry.stat().st_mtime for entry in os.scandir(path)]
    except OSError:  # its owner has just finished it
        return False
    return time.time() - max(times) > _DEAD_AFTER


def _runs(name: str) -> bool:
    """Whether the process of that name has not ended."""
    pid = int(name.partition("-")[0])
    try:
        # Signal 0 is not sent, only checked: whether the process exists, and whether it is the user's.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, of which /proc may tell nothing
        return True
    return process(pid) == name


# ---------------------------------------------------------------- folders built once


@contextlib.contextmanager
def turn(target: Path, made: Path) -> Iterator[bool]:
    """Whether it is for this process to build `target`; `made` is its own temporary folder for that, beside it.

    Where others are building the same already, it waits for them, unless they give no sign of life. This saves work
    and is not a lock: two that build at once do no harm.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.utime(made)
            stop.wait(_HEARTBEAT)

    # In a thread, because building may be one call into arrow that takes minutes.
    beats = threading.Thread(target=beat, daemon=True)
    beats.start()
    try:
        while not target.exists() and _someone_before(target, made):
            time.sleep(0.2)
        yield not target.exists()
    finally:
        stop.set()
        beats.join()


def _someone_before(target: Path, made: Path) -> bool:
    """Whether somebody who came earlier is building `target` and lives."""
    for entry in list(os.scandir(target.parent)):
        match = _NAME.fullmatch(entry.name)
        # Names begin with the time in hexadecimal of fixed width, so they sort by age.
        if not match or match["name"] != target.name or entry.name >= made.name:
            continue
        if match["node"] == _node():
            if _runs(match["process"]):
                return True
            continue
        # Of a process of another node only its heartbeat is known. Both times are the file server's: the clocks of two
        # nodes may differ by more than _QUIET_AFTER.
        with contextlib.suppress(OSError):
            if os.stat(made).st_mtime - os.stat(entry.path).st_mtime < _QUIET_AFTER:
                return True
    return False
