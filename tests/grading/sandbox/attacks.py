"""Hostile programs, and what becomes of them and of the machine at one level. Run as a script, it prints the result
as JSON, so that a test can run it as another user:

    python attacks.py LEVEL

Each program prints what it managed to do and was not to; the sandbox holds where it managed nothing. Everything a
program is aimed at (files, sockets, processes) is made here for the purpose, and fork bombs are bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analyzer.grading.sandbox import Budget, Level, Sandbox, find_level

BUDGET = Budget(cpu_seconds=0.5, memory_bytes=128 << 20)
SHORT = BUDGET._replace(cpu_seconds=0.05)  # for what uses up all that it gets
SECRET = "the-secret-of-the-canary"

PRELUDE = """
import ctypes, os, resource, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def done(what, result=True):
    print("DONE", what, result)
    sys.stdout.flush()

def attempt(what, act):
    try:
        result = act()
    except (OSError, ValueError, RuntimeError, LookupError, AttributeError, ImportError, StopIteration):
        return
    if isinstance(act, Raw) and result < 0:
        return
    done(what, result)

class Raw:
    "A call into libc, for what Python itself would not do."
    def __init__(self, name, *args):
        self.call = lambda: getattr(libc, name)(*args)
    def __call__(self):
        return self.call()
"""

# name -> program; {canary}, {directory}, {tcp}, {udp}, {unix}, {abstract}, {victim} are filled in
CONTAINED = {
    "fork_bomb": """
children = []
for _ in range(40):
    try:
        pid = os.fork()
    except OSError:
        continue
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    children.append(pid)
if children:
    done("forked", len(children))
""",
    "spawn": """
import subprocess
attempt("run a command", lambda: subprocess.run(["/bin/true"]))
libc.system(b"echo > ran")
attempt("os.system", lambda: open("ran").close())
attempt("exec", lambda: os.execv(sys.executable or "/usr/bin/python3", ["python3", "-c", "print('DONE exec')"]))
attempt("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {{}}))
attempt("vfork", Raw("vfork"))
""",
    "kill_everyone": """
attempt("signal all", lambda: os.kill(-1, 0))
attempt("signal the group", lambda: os.killpg(0, 0))
attempt("signal a victim", lambda: os.kill({victim}, signal.SIGKILL))
attempt("tkill", Raw("syscall", {tkill}, {victim}, 9))
""",
    "kill_parent": """
attempt("kill the parent", lambda: os.kill(os.getppid(), signal.SIGKILL))
attempt("stop the parent", lambda: os.kill(os.getppid(), signal.SIGSTOP))
attempt("limit the parent", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)))
attempt("renice the parent", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19))
attempt("pin the parent", lambda: os.sched_setaffinity(os.getppid(), [0]))
attempt("trace the parent", Raw("ptrace", 16, os.getppid(), 0, 0))
attempt("open its memory", lambda: open(f"/proc/{{os.getppid()}}/mem", "r+b"))
attempt("read its environment", lambda: open(f"/proc/{{os.getppid()}}/environ", "rb").read())
attempt("pidfd", lambda: signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9))
attempt("owner of a descriptor", Raw("fcntl", 1, 8, os.getppid()))
""",
    "network": """
def connect(family, kind, address):
    with socket.socket(family, kind) as s:
        s.settimeout(0.5)
        s.connect(address)
        s.send(b"hello")
attempt("tcp", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", {tcp})))
attempt("udp", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", {udp})))
attempt("tcp6", lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", {tcp})))
attempt("unix", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, {unix!r}))
attempt("abstract", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, {abstract!r}))
attempt("dns", lambda: socket.getaddrinfo("localhost.localdomain.invalid", 80))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
""",
    "canary": """
attempt("read", lambda: open({canary!r}).read())
attempt("write", lambda: open({canary!r}, "w").write("gone"))
attempt("append", lambda: open({canary!r}, "a").write("more"))
attempt("truncate", lambda: os.truncate({canary!r}, 0))
attempt("truncate by open", lambda: os.open({canary!r}, os.O_RDONLY | os.O_TRUNC))
attempt("delete", lambda: os.unlink({canary!r}))
attempt("rename", lambda: os.rename({canary!r}, {canary!r} + ".moved"))
attempt("chmod", lambda: os.chmod({canary!r}, 0o777))
attempt("utime", lambda: os.utime({canary!r}, (0, 0)))
attempt("setxattr", lambda: os.setxattr({canary!r}, "user.x", b"1"))
attempt("link", lambda: os.link({canary!r}, "linked"))
attempt("symlink", lambda: os.symlink({canary!r}, "symlinked"))
attempt("new file", lambda: open({directory!r} + "/new", "w").write("x"))
attempt("new directory", lambda: os.mkdir({directory!r} + "/newdir"))
attempt("list", lambda: os.listdir({directory!r}))
attempt("variable", lambda: os.environ["CANARY"])
for path in ("/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/environ"):
    attempt(path, lambda: open(path).read())
for path in ("/root", "/home", "/var/log", "/sys"):
    attempt(path, lambda: next(name for name in os.listdir(path) if not sys.prefix.startswith(f"{{path}}/{{name}}")))
""",
    "powers": """
attempt("mount", Raw("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("unshare user", Raw("unshare", 0x10000000))
attempt("chroot", lambda: os.chroot("/"))
attempt("become root", lambda: os.setuid(0))
attempt("more memory", lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)))
attempt("more files", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40)))
attempt("outlive the parent", Raw("prctl", 1, 0, 0, 0, 0))
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shared memory", Raw("shmget", 0, 1 << 20, 0o1600))
attempt("new session", lambda: os.setsid())
attempt("io_uring", Raw("syscall", 425, 8, ctypes.create_string_buffer(120)))
attempt("keyring", Raw("syscall", {keyctl}, 0, -3, 1))
attempt("bpf", Raw("syscall", {bpf}, 0, 0, 0))
attempt("a later call", Raw("syscall", 463, 0, 0, 0, 0, 0))
attempt("device", lambda: os.mknod("sda", 0o60600, os.makedev(8, 0)))
attempt("directory", lambda: os.mkdir("deep"))
attempt("host name", lambda: socket.sethostname("x"))
attempt("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
""",
    "uncounted": """
import fcntl, struct
a, b = socket.socketpair()
attempt("larger buffers", lambda: a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24))
attempt("aio", Raw("syscall", {io_setup}, 1, ctypes.byref(ctypes.c_ulong(0))))
attempt("space at once", lambda: os.posix_fallocate(os.open("big", os.O_RDWR | os.O_CREAT), 0, 1 << 20))
attempt("flush of a file system", Raw("syncfs", os.open(".", os.O_RDONLY)))
attempt("timer", Raw("syscall", {timer_create}, 0, None, ctypes.byref(ctypes.c_int(0))))
attempt("locks", lambda: fcntl.lockf(open("locked", "wb"), fcntl.LOCK_EX | fcntl.LOCK_NB))
attempt("landlock rules", Raw("syscall", 444, struct.pack("QQQ", 0, 3, 0), 24, 0))
attempt("filters", Raw("syscall", {seccomp}, 2, 0, None))
attempt("stop itself", lambda: os.kill(os.getpid(), signal.SIGSTOP))
attempt("stop its thread", lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGTSTP))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
for sent in range(100_000):
    try:
        os.kill(os.getpid(), signal.SIGRTMIN)
    except BlockingIOError:
        break
pairs, total = [(a, b)], 0
try:
    while True:
        pairs.append(socket.socketpair())
except OSError:
    pass
for one in sum(pairs, ()):
    one.setblocking(False)
    try:
        while True:
            total += one.send(bytes(1 << 16))
    except BlockingIOError:
        pass
if total > 32 << 20:
    done("megabytes of sockets", total >> 20)
""",
    "write_elsewhere": """
for path in ("/", "/tmp", "/dev", "/dev/shm", "/usr", "/var/tmp", os.path.dirname(os.__file__), sys.prefix):
    attempt(path, lambda: open(os.path.join(path, "written"), "w"))
""",
}

# name -> (program, verdict that it must get); the same at every level
LIMITED = {
    "endless_output": ("while True: print('x' * 1000)", "output_limit"),
    "big_file": ("with open('big', 'wb') as f:\n    f.write(b'x' * 50_000_000)", "output_limit"),
    "much_memory": ("x = bytearray(1 << 30)", "memory_limit"),
    "memory_by_steps": ("x = []\nwhile True: x.append(' ' * 1_000_000)", "memory_limit"),
    "endless_loop": ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "time_limit"),
    "sleep": ("import time; time.sleep(1000)", "time_limit"),
    "ignores_signals": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        "time_limit",
    ),
    "big_power": ("print(len(str(9 ** 9 ** 9)))", "time_limit"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "runtime_error"),
    "kills_itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "runtime_error"),
    "deep_source": ("(" * 100_000, "compile_error"),
    "nul_source": ("print(1)\x00", "compile_error"),
    "surrogate_source": ("print('\ud800')", "compile_error"),
}

ORPHANS = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
print("left them")
"""

THREADS = """
import threading, time
threading.stack_size(65536)
for _ in range(3000):
    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    time.sleep(0.0005)
print("all started")
"""


class Machine:
    """What the programs are aimed at, and what happened to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.canary = directory / "canary"
        self.canary.write_text(SECRET)
        self.canary.chmod(0o666)
        directory.chmod(0o777)
        os.environ["CANARY"] = SECRET
        self.connections = 0
        self.listeners = [
            self._listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            self._listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            self._listen(socket.AF_UNIX, socket.SOCK_STREAM, str(directory / "socket")),
            self._listen(socket.AF_UNIX, socket.SOCK_STREAM, f"\0attack-{os.getpid()}"),
        ]

    def _listen(self, family: int, kind: int, address: Any) -> socket.socket:
        listener = socket.socket(family, kind)
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        threading.Thread(target=self._count, args=(listener, kind), daemon=True).start()
        return listener

    def _count(self, listener: socket.socket, kind: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept() if kind == socket.SOCK_STREAM else listener.recvfrom(10)
                self.connections += 1

    def names(self) -> dict[str, Any]:
        x86 = os.uname().machine == "x86_64"
        return {
            "canary": str(self.canary),
            "directory": str(self.directory),
            "tcp": self.listeners[0].getsockname()[1],
            "udp": self.listeners[1].getsockname()[1],
            "unix": str(self.directory / "socket"),
            "abstract": f"\0attack-{os.getpid()}",
            "victim": os.getpid(),
            "tkill": 200 if x86 else 130,
            "io_setup": 206 if x86 else 0,
            "timer_create": 222 if x86 else 107,
            "seccomp": 317 if x86 else 277,
            "keyctl": 250 if x86 else 219,
            "bpf": 321 if x86 else 280,
        }

    def intact(self) -> bool:
        names = {"canary", "socket"}
        return self.canary.read_text() == SECRET and {path.name for path in self.directory.iterdir()} == names


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as directory:
        aimed_at = Machine(Path(directory))
        try:
            yield aimed_at
        finally:
            for listener in aimed_at.listeners:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()


def descendants(pid: int) -> set[int]:
    """All processes below one, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{name}/stat").read_text()
                children.setdefault(int(status.rpartition(")")[2].split()[1]), []).append(int(name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def descendants_but(before: set[int]) -> set[int]:
    """Processes below this one that are neither of `before` nor below these: servers fork for other tests, too."""
    return descendants(os.getpid()).difference(before, *map(descendants, before))


@contextlib.contextmanager
def own_temporary_directory() -> Iterator[Path]:
    """A place for temporary files that is nobody else's: what is in it at the end was left behind."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o1777)  # as /tmp
        tempfile.tempdir = directory
        try:
            yield Path(directory)
        finally:
            tempfile.tempdir = usual


def run(level: Level) -> dict[str, Any]:
    """Run all programs that this level may be given. What they did, by name, and the state of the machine after."""
    results: dict[str, Any] = {}
    before = descendants(os.getpid())
    with machine() as aimed_at, own_temporary_directory() as temporary:
        sandbox = Sandbox(level)
        contained = CONTAINED if level.contains else {}
        for name, program in contained.items():
            outcome = sandbox.run_script([PRELUDE + program.format(**aimed_at.names())], b"", BUDGET)
            results[name] = [outcome.verdict, outcome.output.decode(errors="replace"), outcome.detail]
        for name, (program, verdict) in LIMITED.items():
            outcome = sandbox.run_script([program], b"", SHORT if verdict == "time_limit" else BUDGET)
            results[name] = [outcome.verdict, len(outcome.output), outcome.detail]
        if contained:
            outcome = sandbox.run_script([THREADS], b"", BUDGET)
            results["threads"] = [outcome.verdict, outcome.output.decode(), outcome.detail]
        else:
            outcome = sandbox.run_script([ORPHANS], b"", BUDGET)
            results["orphans"] = [outcome.verdict, outcome.output.decode(), outcome.detail]
        outcome = sandbox.run_script(["import os\nprint(os.listdir('.'), open('left', 'w').write('x'))"], b"", BUDGET)
        results["after"] = [outcome.verdict, outcome.output.decode(), outcome.detail]
        ours = descendants_but(before)
        sandbox.close()
        results["machine"] = {
            "intact": aimed_at.intact(),
            "connections": aimed_at.connections,
            "uid": os.getuid(),
            "runners": len(ours),
            "left": [pid for pid in ours if os.path.exists(f"/proc/{pid}")],
            "scratch": [path.name for path in temporary.iterdir()],
        }
    return results


if __name__ == "__main__":
    print(json.dumps(run(find_level(sys.argv[1]))))
