"""The warm process of a sandbox: started once, forks a child for each program, sees that it keeps to its limits.

It is single-threaded and trusted; what it forks is not. Its settings come as JSON on the command line, its requests
over a SOCK_SEQPACKET socket (descriptor 3), each with four descriptors: the job, the input, the output, the dialog.

    request   {"cpu_seconds": 6.0, "memory_bytes": 1073741824, "file_bytes": 16777216}
    reply     {"code": 0, "stopped": "", "cpu_seconds": 0.02, "trouble": ""}
              stopped: time_limit | output_limit | what it was killed for; trouble: why the child could not be confined
    {"kill": "asleep"} in between stops the child; the end of the stream stops everything.

Of time it knows the child's CPU clock alone: whether a child that does nothing sleeps or waits for a core is seen from
outside, where there is a /proc.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import math
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from . import confine, program, reach

CONTROL = 3
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 256
PROCESSES_MORE = 64  # at the level rlimits, above what the user has running
FIRST_LOOK, LATER_LOOK = 0.005, 0.05  # seconds between two looks at a running program


def main() -> None:
    """Serve requests until the other side is gone."""
    settings = json.loads(sys.argv[1])
    if settings["control"] != CONTROL:
        os.dup2(settings["control"], CONTROL)
        os.close(settings["control"])
    control = socket.socket(fileno=CONTROL)
    if settings["janitor"]:
        _leave_to_a_janitor(settings["scratch"])
    try:
        ruleset = _settle_down(settings)
    except (confine.Unavailable, OSError) as error:
        sys.exit(str(error))
    os.dup2(1, 2)  # errors were for whoever starts this; what programs write there goes to /dev/null as output does
    control.send(json.dumps({"ready": True}).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not message:
            return
        if descriptors:  # else a kill that came too late
            request = json.loads(message)
            reply = _serve(request, descriptors, control, settings, ruleset)
            _clean(settings["scratch"])
            control.send(json.dumps(reply).encode())


def _settle_down(settings: dict[str, Any]) -> int | None:
    """Make ready what all children share; returns the Landlock ruleset. Raises Unavailable or OSError."""
    warnings.simplefilter("ignore")
    sys.path.extend(settings["site"])
    ruleset = None
    if settings["landlock"]:  # while root can still reach all the paths
        readable = [(path, confine.READ_TREE) for path in settings["readable"]]
        devices = [(f"/dev/{name}", confine.DEVICE) for name in ("null", "zero", "full", "random", "urandom")]
        ruleset = confine.landlock_rules([*readable, *devices, (settings["scratch"], confine.SCRATCH)])
    if settings["filter"]:
        confine.refused_calls()
    settings["kept"] = []
    if settings["uid"] is not None:
        library = reach.open_library()
        confine.become_user(settings["uid"])
        settings["kept"] = reach.keep_within_reach(library)
    os.chdir(settings["scratch"])
    confine.no_new_privileges()
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")
    wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    settings["wake"] = wake
    gc.collect()
    gc.freeze()  # children do not copy these pages to count references in them
    return ruleset


def _serve(
    request: dict[str, Any],
    descriptors: list[int],
    control: socket.socket,
    settings: dict[str, Any],
    ruleset: int | None,
) -> dict[str, Any]:
    confirmed, confirm = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become_program(request, descriptors, confirm, settings, ruleset)
        finally:
            os._exit(1)
    for descriptor in (*descriptors, confirm):
        os.close(descriptor)
    stopped, status, usage = _supervise(pid, request, control, settings)
    _end_survivors()
    spent = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    if not stopped and code < 0 and (-code == signal.SIGXCPU or spent >= request["cpu_seconds"]):
        stopped = "time_limit"
    with open(confirmed, "rb") as pipe:
        trouble = pipe.read(1 << 12).decode(errors="replace")
    return {"code": code, "stopped": stopped, "cpu_seconds": round(spent, 3), "trouble": trouble}


def _become_program(
    request: dict[str, Any], descriptors: list[int], confirm: int, settings: dict[str, Any], ruleset: int | None
) -> None:
    """In the child: confine it, then let the program run. Says on `confirm` why it could not be confined."""
    try:
        signal.set_wakeup_fd(-1)
        for handled in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(handled, signal.SIG_DFL)
        confine.prctl(confine.PR_SET_PDEATHSIG, confine.SIGKILL, "PR_SET_PDEATHSIG")
        with open(descriptors[0], encoding="utf-8") as file:
            job = json.load(file)
        for number, descriptor in zip((0, 1, CONTROL), descriptors[1:], strict=True):
            os.dup2(descriptor, number)
        _confine(request, settings, ruleset)
    except BaseException as error:
        os.write(confirm, f"{type(error).__name__}: {error}".encode()[: 1 << 10] or b"?")
        raise
    for below, above in itertools.pairwise([CONTROL, *settings["kept"], 1 << 10]):
        os.closerange(below + 1, above)
    program.run(job, socket.socket(fileno=CONTROL))


def _confine(request: dict[str, Any], settings: dict[str, Any], ruleset: int | None) -> None:
    confine.limit(
        request["memory_bytes"],
        2 * math.ceil(request["cpu_seconds"]),  # the kernel counts it in ticks: exact enough for a last resort
        request["file_bytes"],
        _processes_allowed() if settings["count_processes"] else None,
    )
    if ruleset is not None:
        confine.landlock(ruleset)
    if settings["filter"]:
        confine.filter_system_calls()


def _supervise(
    pid: int, request: dict[str, Any], control: socket.socket, settings: dict[str, Any]
) -> tuple[str, int, resource.struct_rusage]:
    """Wait for the child, and stop it at its limits: (why it was stopped or "", wait status, resource usage)."""
    stopped, pause = "", FIRST_LOOK
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return stopped, status, usage
        ready, _, _ = select.select([settings["wake"], control], [], [], pause)
        pause = LATER_LOOK
        if settings["wake"] in ready:
            os.read(settings["wake"], 512)
        if control in ready:
            stopped = _told_to_stop(pid, control)
        if not stopped and _cpu_seconds(pid) >= request["cpu_seconds"]:
            stopped = "time_limit"
        if not stopped and _overflows(settings["scratch"]):
            stopped = "output_limit"
        if stopped:
            _kill(pid)


def _told_to_stop(pid: int, control: socket.socket) -> str:
    message = control.recv(1 << 16)
    if not message:  # whoever asked is gone
        _kill(pid)
        os.waitpid(pid, 0)
        _end_survivors()
        os._exit(0)
    return str(json.loads(message)["kill"])


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still the child's


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process, all threads, by its CPU clock (clock_getcpuclockid(3)); 0 when it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _processes_allowed() -> int:
    """How many processes and threads the user may have: those there are, and some more."""
    threads = 0
    for process in _numbers_in("/proc"):
        try:
            if os.stat(f"/proc/{process}").st_uid == os.getuid():
                threads += len(os.listdir(f"/proc/{process}/task"))
        except OSError:
            continue
    return threads + PROCESSES_MORE


def _numbers_in(directory: str) -> Iterator[int]:
    yield from (int(name) for name in os.listdir(directory) if name.isdigit())


def _end_survivors() -> None:
    """Kill what the program left behind: orphans come to this process. Only the level rlimits lets a program fork."""
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(number) for number in file.read().split()]
        for child in children:
            _kill(child)
        time.sleep(0.001)
    raise RuntimeError("a process of the program will not end")


def _overflows(scratch: str) -> bool:
    total = 0
    with os.scandir(scratch) as entries:
        for count, entry in enumerate(entries):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
            if count >= SCRATCH_FILES or total > SCRATCH_BYTES:
                return True
    return False


def _clean(scratch: str) -> None:
    """Remove what a program left in its directory, which is flat: a program cannot make another one in it."""
    with os.scandir(scratch) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)  # at the level rlimits only
            else:
                os.unlink(entry.path)


def _leave_to_a_janitor(scratch: str) -> None:
    """Start a process that removes the scratch directory when this one has ended, however it ended.

    It stays the user that this process is now, since a program's may not be allowed to remove anything there; and it is
    nobody's child, since whoever ends a worker may end all that is below it.
    """
    ended, held = os.pipe()  # only this process holds the second; children close it before a program starts
    between = os.fork()
    if between:
        os.close(ended)
        os.waitpid(between, 0)
        return
    try:
        os.setsid()
        if os.fork():
            return
        os.close(held)
        os.close(CONTROL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(0, 2)  # whoever reads the errors of the runner must not wait for this process
        os.chdir("/")
        os.read(ended, 1)
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os._exit(0)
