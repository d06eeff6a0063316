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
import site
import socket
import sys
import time
import warnings
from typing import Any

from . import confine, program, reach

CONTROL = 3
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 256
REMOVALS = 100  # tries of the janitor to remove a scratch directory, over some five seconds
PROCESSES_MORE = 64  # at the level rlimits, above what the user has running
FIRST_LOOK, LATER_LOOK = 0.005, 0.05  # seconds between two looks at a running program


def main() -> None:
    """Serve requests until the other side is gone."""
    settings = json.loads(sys.argv[1])
    # A fixed number, so that children can close everything above it without knowing what is open.
    if settings["control"] != CONTROL:
        os.dup2(settings["control"], CONTROL)
        os.close(settings["control"])
    control = socket.socket(fileno=CONTROL)
    # Before root is given up: the janitor must be able to remove files of user 65534.
    if settings["janitor"]:
        _leave_to_a_janitor(settings["scratch"])
    try:
        ruleset = _settle_down(settings)
    except (confine.Unavailable, OSError) as error:
        sys.exit(str(error))
    os.dup2(1, 2)  # errors were for whoever starts this; what programs write there goes to /dev/null as output does
    control.send(json.dumps({"ready": True}).encode())
    while True:
        # Blocks for as long as there is no work; the end of the stream is the only order to stop.
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not message:
            return
        if descriptors:  # else a kill that came too late
            request = json.loads(message)
            reply = _serve(request, descriptors, control, settings, ruleset)
            # Before the reply: the next program may be sent as soon as that is read.
            _clean(settings["scratch"])
            control.send(json.dumps(reply).encode())


def _settle_down(settings: dict[str, Any]) -> int | None:
    """Make ready what all children share; returns the Landlock ruleset. Raises Unavailable or OSError."""
    warnings.simplefilter("ignore")
    # What site does, with the libraries of the worker: the interpreter was started without site, and without a venv,
    # whose Python may be a copy.
    sys.path.extend(settings["site"])
    for add_names in (site.setquit, site.setcopyright, site.sethelper):  # exit, quit, license, help
        add_names()
    ruleset = None
    if settings["landlock"]:  # while root can still reach all the paths
        readable = [(path, confine.READ_TREE) for path in settings["readable"]]
        devices = [(f"/dev/{name}", confine.DEVICE) for name in ("null", "zero", "full", "random", "urandom")]
        ruleset = confine.landlock_rules([*readable, *devices, (settings["scratch"], confine.SCRATCH)])
    if settings["filter"]:
        # Assembled in Python, instruction by instruction: once here, and inherited by every child.
        confine.refused_calls()
    settings["kept"] = []
    if settings["uid"] is not None:
        library = reach.open_library()
        confine.become_user(settings["uid"])
        settings["kept"] = reach.keep_within_reach(library)
    # After the step down to the other user: a directory that it cannot enter fails here, at the start, and not in
    # a program.
    os.chdir(settings["scratch"])
    # In the runner already. It is inherited and cannot be undone, and DUMPABLE keeps children from reading our
    # memory.
    confine.no_new_privileges()
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")
    # SIGCHLD wakes select() at once by way of this pipe, so a program of 2 ms is not rounded up to a look of 50.
    wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    # Any Python handler: with SIG_DFL no byte is written to the wakeup descriptor.
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
    # A pipe of its own for "could not be confined": the program never sees it, so it cannot claim a broken
    # sandbox to get a second try, nor hide one. It is empty unless confining failed.
    confirmed, confirm = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become_program(request, descriptors, confirm, settings, ruleset)
        finally:
            # Whatever happens in the child, it must never come back into the runner's loop.
            os._exit(1)
    for descriptor in (*descriptors, confirm):
        os.close(descriptor)
    # The usage is that of the child and of all it has waited for.
    stopped, status, usage = _supervise(pid, request, control, settings)
    _end_survivors()
    spent = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    # Killed by the kernel at RLIMIT_CPU, or just before we looked: the time is what tells, whichever signal came
    # first.
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
        # The pipe is shared with the runner: a program that gets signals would otherwise wake it all the time.
        signal.set_wakeup_fd(-1)
        for handled in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(handled, signal.SIG_DFL)
        confine.prctl(confine.PR_SET_PDEATHSIG, confine.SIGKILL, "PR_SET_PDEATHSIG")
        # Read while still unconfined, and by this process: the runner never parses a job, so a hostile one cannot
        # hurt it.
        with open(descriptors[0], encoding="utf-8") as file:
            job = json.load(file)
        for number, descriptor in zip((0, 1, CONTROL), descriptors[1:], strict=True):
            os.dup2(descriptor, number)
        _confine(request, settings, ruleset)
    except BaseException as error:
        # At least one byte, or the runner would take an exception without text for success.
        os.write(confirm, f"{type(error).__name__}: {error}".encode()[: 1 << 10] or b"?")
        raise
    # Everything but the kept directories of the library: the control socket's copies, other requests and the
    # confirm pipe, whose closing tells the runner that confining worked. RLIMIT_NOFILE bounds new descriptors and
    # closes none.
    for below, above in itertools.pairwise([CONTROL, *settings["kept"], 1 << 10]):
        os.closerange(below + 1, above)
    program.run(job, socket.socket(fileno=CONTROL))


def _confine(request: dict[str, Any], settings: dict[str, Any], ruleset: int | None) -> None:
    # The filter comes last, since it refuses the calls of Landlock's.
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
        # wait4, not waitpid: it gives this child's resource usage, RUSAGE_CHILDREN only the sum of all
        # programs so far.
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return stopped, status, usage
        # Most programs end within milliseconds: one early look, and then few.
        ready, _, _ = select.select([settings["wake"], control], [], [], pause)
        pause = LATER_LOOK
        if settings["wake"] in ready:
            # Drained in one read; what more arrives only leads to one more look.
            os.read(settings["wake"], 512)
        if control in ready:
            stopped = _reason_to_stop(pid, control)
        if not stopped and _cpu_seconds(pid) >= request["cpu_seconds"]:
            stopped = "time_limit"
        if not stopped and _overflows(settings["scratch"]):
            stopped = "output_limit"
        # Again at each look until it has been reaped: killing what is dying already does no harm.
        if stopped:
            _kill(pid)


def _reason_to_stop(pid: int, control: socket.socket) -> str:
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
        # Finer than /proc/PID/stat (10 ms), and there at the strict level, which mounts no /proc.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _processes_allowed() -> int:
    """How many processes and threads the user may have: those there are, and some more."""
    threads = 0
    # RLIMIT_NPROC counts all threads of the user on the host, those of other jobs too: a fixed number would
    # refuse the first thread on a busy login node. For root it counts nothing.
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{process}").st_uid == os.getuid():
                threads += len(os.listdir(f"/proc/{process}/task"))
        except OSError:
            continue
    return threads + PROCESSES_MORE


def _end_survivors() -> None:
    """Kill what the program left behind: orphans come to this process. Only the level rlimits lets a program fork."""
    # A process in an uninterruptible wait cannot be killed; the runner is given up then, and the next one starts
    # clean.
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        # Read again each time: killing one may hand its children to us.
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
                # Blocks, not sizes: a sparse file of a terabyte uses no disk.
                total += entry.stat(follow_symlinks=False).st_blocks * 512
            # Counted while listing, so a directory of a million files costs no more than 256.
            if count >= SCRATCH_FILES or total > SCRATCH_BYTES:
                return True
    return False


def _clean(scratch: str) -> None:
    """Remove what a program left in its directory, which is flat: a program cannot make another one in it."""
    with os.scandir(scratch) as entries:
        # A list first: removing while the directory is read may skip entries on some file systems.
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
    # The first child ends at once, so that the janitor's parent is init, or a subreaper above the worker.
    between = os.fork()
    if between:
        os.close(ended)
        os.waitpid(between, 0)
        return
    try:
        os.setsid()
        if os.fork():
            return
        # The janitor's own copy: kept, its read below would wait for itself.
        os.close(held)
        os.close(CONTROL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(0, 2)  # whoever reads the errors of the runner must not wait for this process
        os.chdir("/")
        # Returns when the last holder of the other end has gone, by whatever signal: the kernel closes
        # descriptors for all.
        os.read(ended, 1)
        # More than once: a program that outlives the runner by a moment may write while its directory is removed.
        for _ in range(REMOVALS):
            shutil.rmtree(scratch, ignore_errors=True)
            if not os.path.lexists(scratch):
                break
            time.sleep(0.05)
    finally:
        os._exit(0)
