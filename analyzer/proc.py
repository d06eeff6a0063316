"""What Linux knows of a process: its CPU time, its memory, its children, its mounts, and who it dies with."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_libc = ctypes.CDLL(None, use_errno=True)
# Without types ctypes passes C ints, and the kernel reads longs: the upper halves would be left-overs.
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; at once when `parent` is gone already."""
    # The parent may have ended before this call, and then no signal ever comes: hence the look at who it is now.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def live_on() -> None:
    """Undo `die_with`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that a daemonised process stays in reach."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all threads, ended ones too. Raises ProcessLookupError when it is gone.

    The clock id is the one that clock_getcpuclockid(3) computes; where the kernel has no such clock, /proc is read,
    which counts in hundredths of a second.
    """
    try:
        # In nanoseconds, and one system call; /proc is text, and coarse.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        try:
            return sum(map(int, _stat(pid)[11:13])) / _TICKS
        except OSError as error:
            raise ProcessLookupError(str(error)) from None


class Activity(NamedTuple):
    """What a process and all below it are doing, threads taken one by one."""

    states: frozenset[str]  # letters of proc(5): R running or queued, S asleep, D waiting for a disk, T stopped
    threads: int
    cpu_seconds: float  # so far; of ended children too, once they have been waited for


def activity(pid: int) -> Activity:
    """What a process and its descendants are doing now. Raises ProcessLookupError when it is gone or hidden.

    Descendants are seen where the kernel lists them (CONFIG_PROC_CHILDREN).
    """
    states, threads, spent, below = set(), 0, cpu_seconds(pid), [pid]
    # All threads and children, since a grader may wait for a child that does the work.
    while below:
        process = below.pop()
        with suppress(OSError):
            spent += (cpu_seconds(process) if process != pid else 0.0) + sum(map(int, _stat(process)[13:15])) / _TICKS
            for thread in os.listdir(f"/proc/{process}/task"):
                place = f"{process}/task/{thread}"
                states.add(_stat(place)[0])
                threads += 1
                with suppress(OSError):
                    below += map(int, Path(f"/proc/{place}/children").read_text().split())
    if not states:
        raise ProcessLookupError(f"process {pid} cannot be looked at")
    return Activity(frozenset(states), threads, spent)


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """The process id and the user id of who holds the other end of a Unix socket."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def began(pid: int) -> int | None:
    """Ticks of the clock from the boot to when a process began; None where it has ended, reaped or not."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    # A zombie has ended, though its id is not free yet.
    return None if fields[0] in "ZX" else int(fields[19])


def how_ended(code: int) -> str:
    """A return code (minus the signal, where one ended the process) in words: "SIGKILL", "exit status 1"."""
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def is_dead(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return began(pid) is None


def mapped_bytes() -> int:
    """Address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def thread_count() -> int:
    """Threads of this process, those of C libraries too."""
    return len(os.listdir("/proc/self/task"))


def thread_names() -> set[str]:
    """Names of the threads of this process but for the main one, those of C libraries too."""
    others = {int(thread) for thread in os.listdir("/proc/self/task")} - {os.getpid()}
    return {Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in others}


@functools.cache
def filesystem_type(device: int) -> str:
    """What is mounted as that device (st_dev of a file in it), "ext4" or "fuse.sshfs"; "" where it is not known."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0]
    return ""


def children() -> list[int]:
    """The processes whose parent is this one (it has one thread), ended but unreaped ones too."""
    return children_of(os.getpid())


def children_of(pid: int) -> list[int]:
    """The processes whose parent is this one of one thread, the oldest first. Raises OSError where it is hidden."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:  # a kernel built without CONFIG_PROC_CHILDREN, or it has gone
        _stat(pid)
        # Every process is asked for its parent where the kernel keeps no list of children.
        found = []
        for other in _all_pids():
            with suppress(OSError):
                if int(_stat(other)[1]) == pid:
                    found.append(other)
        return found


def kill_marked(mark: str) -> None:
    """Kill every process of this user that was started with `mark` in its environment."""
    for pid in _all_pids():
        with suppress(OSError):
            # Whatever was started keeps the environment that it was started with, though it left its session and its
            # parent; only one that overwrites its own memory escapes this.
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes() and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat, or PID/task/TID/stat, from the state on; the name before may hold brackets."""
    # From the last bracket: a program can call itself anything, ") R 1" too.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def give_back_memory() -> None:
    """Return what pyarrow's and the C library's allocators hold without need; some milliseconds."""
    import pyarrow as pa

    # arrow's pool (mimalloc or jemalloc) is not the C library's, so each is asked.
    pa.default_memory_pool().release_unused()
    # glibc keeps what is free below the top of a heap; musl and others have no such call, and need none.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
