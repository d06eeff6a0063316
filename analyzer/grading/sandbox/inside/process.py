"""What a forked child lacks of a process of its own, for programs that count on it.

Streams by name, which lead to /proc; locks of multiprocessing, which need shared memory; a number of cores that does
not depend on the machine; and the end of an interpreter, which os._exit leaves out.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # of C, without a stub
import atexit
import builtins
import contextlib
import ctypes
import functools
import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar

from .preludes import PRELUDES

CORES = 4  # as a program sees them: a pool of a thread per core stays below the limit of threads on any node


def fit_out() -> None:
    """Make this process fit for a program."""
    for name in ("cpu_count", "process_cpu_count"):
        if hasattr(os, name):
            setattr(os, name, lambda: CORES)
    _multiprocessing.SemLock = SemLock


def fit_out_for_a_script(prelude: str) -> None:
    """Let a script import what it writes to its directory, and `open` and `stat` know the standard streams by name.

    These names lead to /proc, which a sandbox has not. `prelude`: the names that the script finds ready-made.
    """
    sys.path.insert(0, os.getcwd())
    numbers = {
        name: number
        for number, stream in enumerate(("stdin", "stdout", "stderr"))
        for name in (f"/dev/{stream}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
    }

    def knowing(known: Callable[..., Any], by_number: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(known)
        def found(file: Any, *args: Any, **kwargs: Any) -> Any:
            path = file.__fspath__() if isinstance(file, os.PathLike) else file
            number = numbers.get(path) if isinstance(path, str) else None
            return known(file, *args, **kwargs) if number is None else by_number(number, *args, **kwargs)

        return found

    of_files = io.open
    known_open = knowing(of_files, lambda number, *args, **kwargs: of_files(os.dup(number), *args, **kwargs))
    # numpy.loadtxt and the like ask first whether there is such a file.
    os.stat = knowing(os.stat, lambda number, *_, **__: os.fstat(number))
    os.open = knowing(os.open, lambda number, *_, **__: os.dup(number))
    builtins.open = io.open = known_open
    names = PRELUDES[prelude]
    names.update({name: io.open for name, value in names.items() if value is of_files})


class SemLock:
    """A lock of multiprocessing's for the threads of one process, where the kernel's, in shared memory, is refused.

    There are no other processes then. multiprocessing.dummy and ThreadPool make such locks, too.
    """

    _kernels: ClassVar[Any] = _multiprocessing.SemLock
    SEM_VALUE_MAX: ClassVar[int] = _kernels.SEM_VALUE_MAX
    _rebuild: ClassVar[Any] = _kernels._rebuild
    handle, name = 0, None

    def __new__(cls, *args: Any) -> Any:
        """The kernel's where it gives one: the level rlimits allows processes."""
        try:
            return cls._kernels(*args)
        except OSError:
            return super().__new__(cls)

    def __init__(self, kind: int, value: int, maxvalue: int, *_: Any) -> None:
        self.kind, self.maxvalue = kind, maxvalue
        self._recursive = kind == 0
        self._semaphore = threading.Semaphore(value)
        self._owner, self._held = 0, 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self._recursive and self._is_mine():
            self._held += 1
            return True
        taken = self._semaphore.acquire(block, max(timeout, 0.0) if block and timeout is not None else None)
        if taken:
            self._owner = threading.get_ident()
            self._held += 1
        return taken

    def release(self) -> None:
        if self._recursive and not self._is_mine():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        if not self._recursive and self._get_value() >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        self._held -= 1
        if not self._recursive or self._held == 0:
            self._semaphore.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._semaphore._value

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _after_fork(self) -> None:
        """No process comes of this one."""


def end(*, script: bool) -> None:
    """Do what the end of an interpreter does for its program, since os._exit does not; `script`: its output is judged.

    Wait for threads that are not daemons, run atexit, let go of a script's objects (finalisers may print, files left
    open are written), flush.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _flush_stdout()
    if not script:
        return
    # In the order of the interpreter: what a program put in the place of a stream goes first, then its module.
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    sys.modules.pop("__main__", None)
    gc.collect()  # the runner's own objects are frozen
    _flush_files()
    ctypes.CDLL(None).fflush(None)  # C's own buffers


def _flush_stdout() -> None:
    out = sys.stdout
    if out is not None and not getattr(out, "closed", False):  # of a class of the program's own, perhaps
        out.flush()


def _flush_files() -> None:
    """Flush what is left: sys.stdout, and files that are still held somewhere."""
    # Builtin classes only, text before the buffer below it: a flush() of the program's own is not called here.
    for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        for file in (sys.__stdout__, *gc.get_objects()):
            if type(file) is kind:
                with contextlib.suppress(OSError, ValueError):  # closed, detached, or its descriptor is
                    file.flush()
