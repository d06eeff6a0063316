"""Giving up powers for good: rlimits, no_new_privs, a system call filter, Landlock. Linux, standard library only.

What each one takes away is listed in docs/sandbox.md. They hold for the calling process and all it starts, native
code included, and nothing takes them back.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import os
import platform
import resource
import signal
import struct
from collections.abc import Sequence

from . import syscalls

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
SIGKILL = 9
SIGNALS = 256  # queued signals and timers, of all of the user's processes together

# ctypes, not a compiled helper: this file runs with the standard library of whatever Python the user has.
_libc = ctypes.CDLL(None, use_errno=True)
# syscall(2) returns a long, and ctypes takes everything for an int.
_libc.syscall.restype = ctypes.c_long


class Unavailable(Exception):
    """Raised when the kernel does not give what was asked for."""


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise Unavailable(f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int, what: str) -> None:
    """Raises Unavailable, naming `what`, where the kernel refuses."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)


def no_new_privileges() -> None:
    """No setuid program helps any more, and nobody of the same user may look into this process's memory."""
    prctl(PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
    # Also makes /proc/self root's, so a sibling of the same user cannot open our memory through it.
    prctl(PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")


def become_user(uid: int) -> None:
    """Drop root for good: uid and gid, no groups."""
    # The order is fixed: groups and gid while still root, uid last, or the first two would be refused. All three
    # ids of each, since a saved id could be taken back.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


STACK_BYTES = 120 << 20
"""Of the main thread, for recursion through C (`sum(f(v) for v in children)`). Linux keeps 128 MB of addresses free."""


def limit(memory_bytes: int, cpu_seconds: int, file_bytes: int, processes: int | None) -> None:
    """Resource limits of one program. `processes` counts all of the user's; None leaves it as it is."""
    wanted = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        # SIGXCPU may be caught or ignored by the program; SIGKILL at the hard limit, a second later, may not.
        resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        resource.RLIMIT_CORE: (0, 0),
        # Few on purpose: each may be a socket with a full buffer, which no limit of memory counts: 14 MB in all.
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (SIGNALS, SIGNALS),
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = (processes, processes)
    for which, (soft, hard) in wanted.items():
        # A hard limit of the job's own is never raised; RLIM_INFINITY is -1 in Python, so min() would take it for
        # the smallest.
        ceiling = resource.getrlimit(which)[1]
        if ceiling == resource.RLIM_INFINITY:
            ceiling = hard
        resource.setrlimit(which, (min(soft, ceiling), min(hard, ceiling)))
    # The soft limit alone: contest programs set it themselves, with an unlimited hard one. Threads keep what they had
    # when the runner started.
    ceiling = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = STACK_BYTES if ceiling == resource.RLIM_INFINITY else min(STACK_BYTES, ceiling)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, ceiling))


# --- the system call filter (classic BPF, linux/filter.h) ---

_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
# EPERM, not a kill: libraries try calls and go on without them, and a program that probes has not crashed.
_REFUSE = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
_PASS = (_RETURN, 0, 0, _ALLOW)

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def _argument(index: int) -> Instruction:
    # The offset of args is 16 in struct seccomp_data (nr, arch, instruction pointer), 8 bytes each. A high half
    # with other bits is ignored by the kernel for int arguments as well, so nothing can hide there.
    return (_LOAD, 0, 0, _ARGS + 8 * index)  # the low half: all that the kernel reads of an int (little endian)


def _only(index: int, values: Sequence[int]) -> list[Instruction]:
    """Allow the call when the argument is one of these."""
    # Jump offsets count from the next instruction: past the remaining tests, and past the _REFUSE that follows
    # them. They are 8 bits wide in BPF, so a list may hold 255 values.
    tests = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_argument(index), *tests, _REFUSE, _PASS]


def _never(index: int, values: Sequence[int]) -> list[Instruction]:
    """Refuse the call when the argument is one of these."""
    tests = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_argument(index), *tests, _PASS, _REFUSE]


def _bits(index: int, mask: int, value: int, *, refuse: bool) -> list[Instruction]:
    """Refuse (or allow only) the call when these bits of the argument have this value."""
    when, otherwise = (_REFUSE, _PASS) if refuse else (_PASS, _REFUSE)
    return [_argument(index), (_AND, 0, 0, mask), (_EQUAL, 0, 1, value), when, otherwise]


# A flag that only threads have. fork and vfork of glibc are clone without it.
CLONE_THREAD = 0x10000
AF_UNIX, SOCK_STREAM, SOCK_TYPE = 1, 1, 0xF
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)  # a program that stands still was stopped
_REFUSED_FCNTL = (
    *(8, 10, 15, 1024, 1026, 1031),  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
    *(6, 7, 37, 38),  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW: a gigabyte of locks in some seconds
)
_REFUSED_IOCTL = (0x8901, 0x8902, 0x5412)  # FIOSETOWN, SIOCSPGRP, TIOCSTI


def _looked_into(pid: int) -> dict[str, list[Instruction]]:
    # Allowed because asyncio makes one when it starts. Datagram pairs are not: they could send to any socket's address.
    pair = [_argument(0), (_EQUAL, 1, 0, AF_UNIX), _REFUSE, *_bits(1, SOCK_TYPE, SOCK_STREAM, refuse=False)]
    own = [_argument(0), (_EQUAL, 1, 0, pid), _REFUSE]
    return {
        "kill": [*own, *_never(1, _STOPS)],
        "tgkill": [*own, *_never(2, _STOPS)],
        # 0 means oneself. The pid is known only after the fork, which is why this part of the filter is made in
        # each child.
        "prlimit64": _only(0, [0, pid]),
        # PDEATHSIG could be switched off, so that the program outlives its runner.
        "prctl": _never(0, [PR_SET_PDEATHSIG, PR_SET_SECCOMP]),
        "fcntl": _never(1, _REFUSED_FCNTL),
        "ioctl": _never(1, _REFUSED_IOCTL),
        # CLONE_THREAD needs CLONE_VM and CLONE_SIGHAND (the kernel checks), so it cannot be a process in
        # disguise.
        "clone": _bits(0, CLONE_THREAD, CLONE_THREAD, refuse=False),
        # O_TRUNC with O_RDONLY truncates in Linux, and Landlock asks for the right to truncate only since version
        # 3.
        "open": _bits(1, os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDONLY, refuse=True),
        "openat": _bits(2, os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDONLY, refuse=True),
        "socketpair": pair,
        "sendto": _only(4, [0]),  # no address; moot for the stream pairs that are all there is
    }


@functools.cache
def refused_calls() -> bytes:
    """The part of the filter that no process changes; called early, it is ready in the children."""
    machine = platform.machine()
    if machine not in syscalls.ARCHITECTURES:
        raise Unavailable(f"no system call filter for {machine}")
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        # First of all: numbers mean other calls in another architecture's table, and an x86_64 process may switch
        # to i386.
        (_EQUAL, 1, 0, syscalls.ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_GREATER, 0, 1, syscalls.NEWEST),  # later calls, and the x32 calls of x86_64
        # ENOSYS, not EPERM: glibc then falls back to the older call, which the filter knows.
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for names, answer in ((syscalls.REFUSED, errno.EPERM), (syscalls.ABSENT, errno.ENOSYS)):
        for name in names:
            code += _for_call(name, [(_RETURN, 0, 0, _ERRNO | answer)])
    return _packed(code)


def _for_call(name: str, block: list[Instruction]) -> list[Instruction]:
    """The block, for one system call alone; nothing where this machine has no such call."""
    number = syscalls.number(name, platform.machine())
    # The accumulator must hold the call's number again after a block; blocks end in a return, so it always does.
    return [] if number is None else [(_EQUAL, 0, len(block), number), *block]


def _packed(code: Sequence[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def filter_system_calls() -> None:
    """Install the filter: no new process or program, no socket, no signal to others, nothing that changes a file's
    owner, mode, times or links. Threads are allowed. Needs `no_new_privileges`. Raises Unavailable.
    """
    blocks = [_for_call(name, block) for name, block in _looked_into(os.getpid()).items()]
    # Some 400 instructions altogether; the kernel takes 4,096.
    code = refused_calls() + _packed([*itertools.chain.from_iterable(blocks), _PASS])
    # Kept in a local until the call has returned: the kernel copies the instructions, ctypes does not hold the
    # pointer.
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Filter(len(code) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0), "system call filter")


# --- Landlock (linux/landlock.h) ---

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = 1, 2, 4, 8, 1 << 5, 1 << 8, 1 << 14
READ_TREE = EXECUTE | READ_FILE | READ_DIR
SCRATCH = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_FILE | MAKE_REG | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE
FILE_ONLY = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE  # the rights that a rule for a file may name

# Rights that are handled and not granted are denied. The number of bits grew with each version of the interface;
# an unknown bit would be EINVAL, so an older kernel gets fewer.
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_ALL_TCP, _ALL_SCOPES = 3, 3


def landlock_version() -> int:
    """The version of Landlock's interface. Raises Unavailable without it (Linux 5.13, and enabled at boot)."""
    return _checked(_libc.syscall(syscalls.LANDLOCK_CREATE_RULESET, None, 0, 1), "Landlock")


def landlock_rules(paths: Sequence[tuple[str, int]]) -> int:
    """A ruleset (an open descriptor) that grants these rights beneath these paths and nothing else. Raises Unavailable.

    TCP and signals and abstract sockets of other processes are taken away too, where the kernel can.
    """
    version = landlock_version()
    handled = _HANDLED[min(version, 5)]
    # The struct grew: 8 bytes up to version 3, TCP with 4, scopes (abstract sockets, signals) with 6.
    attributes = struct.pack("=QQQ", handled, _ALL_TCP, _ALL_SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _checked(
        _libc.syscall(syscalls.LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0), "Landlock ruleset"
    )
    for path, rights in paths:
        _grant(ruleset, path, rights & handled)
    return ruleset


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        # O_PATH opens what cannot be read, too: the rule is about the place and needs no right to its contents.
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a path that is not there needs no grant
    try:
        # A right for directories in a rule for a file is EINVAL, not ignored.
        if not os.path.isdir(path):
            rights &= FILE_ONLY
        # struct landlock_path_beneath_attr is packed: 12 bytes, no padding.
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_libc.syscall(syscalls.LANDLOCK_ADD_RULE, ruleset, 1, rule, 0), f"Landlock rule for {path}")
    finally:
        os.close(descriptor)


def landlock(ruleset: int) -> None:
    """Keep to a ruleset for good. Needs `no_new_privileges`. Raises Unavailable."""
    _checked(_libc.syscall(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0), "Landlock")
