"""What the child is given in tests: methods that do what reward functions do at their worst.

Loaded by import path in the child; nothing here runs in the test's own process.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from analyzer.grading import Limits
from analyzer.grading import Target as Bounded
from analyzer.grading.supervisor import Supervisor
from analyzer.schema import GoldError, Score, Status, Unscored


class Target:
    """Each method is a case. `mark` is an option, to see that options arrive."""

    def __init__(self, mark: str = "") -> None:
        self.mark = mark
        self.loaded = False
        self.calls = 0

    def load(self) -> None:
        self.loaded = True
        self.collects = [gc.isenabled()]

    def about(self) -> Any:
        return [self.mark, self.loaded]

    def garbage(self) -> Any:
        """Whether garbage is collected while the reward is loaded, and when it is called; objects that are exempt."""
        return [*self.collects, gc.isenabled(), gc.get_freeze_count() > 0]

    def pid(self) -> int:
        return os.getpid()

    def zygote(self) -> int:
        return os.getppid()

    def echo(self, value: Any) -> Any:
        return value

    def score(self) -> Score:
        return Score(1.0, extra={"pred": "5"})

    def unscored(self) -> None:
        raise Unscored(Status.LIMIT, "too long")

    def gold_error(self) -> None:
        raise GoldError("no number")

    def fail(self, name: str) -> None:
        raise {
            "ValueError": ValueError("bad\nvalue"),
            "SystemExit": SystemExit(0),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "MemoryError": MemoryError(),
            "Mute": Mute(),
        }[name]

    def recurse(self) -> None:
        self.recurse()

    def unencodable(self) -> Any:
        return {1, 2}

    def spin(self) -> None:
        while True:
            try:
                sum(range(1000))
            except BaseException:  # noqa: BLE001 - what no signal handler gets through
                continue

    def spin_in_c(self) -> None:
        list(filter(None, iter(int, 1)))

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "awake"

    def sleep_long(self) -> None:
        time.sleep(1000)

    def burn(self, cpu_seconds: float) -> str:
        end = time.process_time() + cpu_seconds
        while time.process_time() < end:
            sum(range(1000))
        return "done"

    def burn_below(self, cpu_seconds: float) -> str:
        """As `burn`, in a process of its own."""
        code = f"import time\nwhile time.process_time() < {cpu_seconds}: sum(range(1000))"
        subprocess.run([sys.executable, "-c", code], check=True)
        return "done"

    def hoard(self) -> int:
        return len(b"x" * (1 << 40))

    def hoard_slowly(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(16 << 20))

    def exit(self, code: int) -> None:
        os._exit(code)

    def kill_itself(self, name: str) -> None:
        os.kill(os.getpid(), signal.Signals[name])

    def crash_once(self, path: str) -> str:
        if not os.path.exists(path):
            open(path, "w").close()
            os.abort()
        return "second time"

    def print_a_lot(self) -> str:
        for stream in (sys.stdout, sys.stderr):
            for _ in range(4):  # megabytes: no pipe that nobody reads holds one
                stream.write("x" * (1 << 20))
            stream.flush()
        os.write(1, b"raw" * 1000)
        return "printed"

    def close_streams(self) -> str:
        for fd in (0, 1, 2):
            os.close(fd)
        return "closed"

    def write_to_all(self, data: str) -> str:
        for fd in range(3, 1024):
            try:
                os.write(fd, data.encode("latin-1"))
            except OSError:
                continue
        return "written"

    def change(self, what: str) -> str:
        changes = {
            "cwd": lambda: os.chdir("/"),
            "environ": lambda: os.environ.update(CHANGED="1"),
            "recursion": lambda: sys.setrecursionlimit(3000),
            "umask": lambda: os.umask(0o777),
            "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 1000),
            "stdout": lambda: setattr(sys, "stdout", sys.stderr),
            "thread": lambda: threading.Thread(target=self.spin).start(),
            "process": self._fork_sleeper,
            "memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, resource.RLIM_INFINITY)),
            "nothing": lambda: None,
        }
        changes[what]()
        return what

    def draw(self) -> float:
        return random.random()

    def fork_and_return(self) -> int:
        return os.fork() and 1

    def fork_and_hang(self) -> None:
        self._fork_sleeper()
        self.spin()

    def fork_and_crash(self) -> None:
        self._fork_sleeper()
        os.abort()

    def _fork_sleeper(self) -> None:
        """A daemon that has left session, parent and group, and holds all descriptors open."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)

    def environment(self, names: list[str]) -> list[str | None]:
        return [os.environ.get(name) for name in names]


class Settings:
    """What a process keeps for all calls, by name: how to look at it, and how to change it."""

    def load(self) -> None:
        import calendar  # noqa: F401
        import csv  # noqa: F401

    def look(self, name: str) -> str:
        return str(eval(_LOOKS[name], {"m": __import__}))

    def change(self, name: str) -> int:
        exec(_CHANGES[name], {"m": __import__})
        return os.getpid()


_LOOKS = {
    "decimal": "(m('decimal').getcontext(), 1 / m('decimal').Decimal(3))",
    "digits": "m('sys').get_int_max_str_digits()",
    "warnings": "m('warnings').filters",
    "csv": "m('csv').field_size_limit()",
    "socket": "m('socket').getdefaulttimeout()",
    "calendar": "m('calendar').firstweekday()",
    "numpy": "(m('numpy').geterr(), m('numpy').getbufsize(), m('numpy').array([1 / 3]))",
    "mpmath": "(m('mpmath').mpf(1) / 3, m('mpmath').mp.prec, m('mpmath').mp.trap_complex, m('mpmath').iv.prec)",
    "sympy": "m('sympy').Symbol('x') + m('sympy').Symbol('x')",
    "variable": "len(m('contextvars').copy_context())",
}
_CHANGES = {
    "decimal": "d = m('decimal'); d.getcontext().prec = 5; d.getcontext().traps[d.Inexact] = True",
    "digits": "m('sys').set_int_max_str_digits(0)",
    "warnings": "m('warnings').simplefilter('error')",
    "csv": "m('csv').field_size_limit(7)",
    "socket": "m('socket').setdefaulttimeout(7)",
    "calendar": "m('calendar').setfirstweekday(6)",
    "numpy": "n = m('numpy'); n.seterr(all='raise'); n.setbufsize(16384); n.set_printoptions(precision=2)",
    "mpmath": "p = m('mpmath'); p.mp.dps = 50; p.mp.trap_complex = True; p.iv.dps = 99",
    "sympy": "m('sympy.core.parameters'); m('sympy').core.parameters.global_parameters.evaluate = False",
    "variable": "m('contextvars').ContextVar('x').set(1)",
}


class SettingsOfLoaded(Settings):
    """As Settings, with the libraries imported before the first call."""

    def load(self) -> None:
        super().load()
        import mpmath  # noqa: F401
        import numpy  # noqa: F401
        import sympy  # noqa: F401


class FailsToLoad:
    def load(self) -> None:
        raise ImportError("libgrade.so is missing")


class ExitsOnLoad:
    def load(self) -> None:
        os._exit(7)


class HangsOnLoad:
    def load(self) -> None:
        Target().spin()


class CrashesOnLoad:
    def load(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class StartsThread(Target):
    """Needs a thread that its loading starts, which no fork keeps."""

    def load(self) -> None:
        self.thread = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
        self.thread.start()

    def works(self) -> bool:
        return self.thread.is_alive()


def outcomes() -> list[str]:
    """What some calls come to in whatever worker this runs in."""
    supervisor = Supervisor(Bounded("tests.grading.targets:Target"), Limits(0.05, 16, 200 << 20))
    calls: list[tuple[Any, ...]] = [("echo", 1), ("spin",), ("exit", 3), ("hoard",), ("echo", "after")]
    replies = [supervisor.call(*call) for call in calls]
    supervisor.close()
    return [f"{reply.status} {reply.value}" for reply in replies]


class Mute(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError
