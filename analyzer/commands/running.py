"""Running a command: an error becomes one line on stderr and the exit code that goes with it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import select
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyzer.errors import EXIT_BUG, EXIT_OK, EXIT_STORAGE, EXIT_USER, AnalyzerError, ConfigError, printable
from analyzer.files.storage import is_disk_error
from analyzer.progress import RED, YELLOW, coloured
from analyzer.workers.interrupts import interruptible


def run(command: Callable[[], int]) -> int:
    """Call a command; an error becomes one line on stderr and its exit code, a bug a traceback and exit 1."""
    _make_streams_safe()
    try:
        # Everything that may take time is inside, importing too; a signal before this ends Python its own way.
        with interruptible():
            code = command()
            sys.stdout.flush()
            return code
    except AnalyzerError as error:
        fail(printable(str(error)))
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, `| head` for instance
        return _closed_by_its_reader()
    except OSError as error:
        if is_disk_error(error) or "No usable temporary directory" in str(error):
            fail(_of_the_system(error))
            return EXIT_STORAGE
        # `cache --prune` in another terminal removes a run directory in use; nothing of the output was touched.
        if isinstance(error, FileNotFoundError) and "/runs/" in str(error.filename):
            fail(f"{error.filename}: the cache was removed during the run; run the command again")
            return EXIT_USER
        if error.filename is not None and error.errno in _OF_THE_PATH:
            fail(printable(f"{error.filename}: {error.strerror}; check this path and its permissions"))
            return EXIT_USER
        return _limit_or_bug(error)
    except ImportError as error:
        if _NO_ROOM in str(error):
            return _limit_or_bug(error)
        # A missing package is for the user to install; a missing module of ours or of Python is a bug.
        if (package := (error.name or "").partition(".")[0]) in ("", "analyzer", *sys.stdlib_module_names):
            return _bug()
        fail(printable(cannot_import(package, error)))
        return EXIT_USER
    except Exception as error:  # noqa: BLE001  # the last line of defence: what gets here is a bug of ours
        return _limit_or_bug(error)


def fail(reason: str) -> None:
    """Print one line that starts with `error:`."""
    with contextlib.suppress(OSError):  # stderr is a full disk, say: the exit code still tells
        print(coloured("error:", RED, sys.stderr), reason, file=sys.stderr)


# What a path of the user's may be wrong by; who opens it says more where there is more to say.
_OF_THE_PATH = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_TOO_FEW_FILES = "too many open files: allow 256 or more, `ulimit -n 1024`, and run the same command again"

_TOO_FEW_PROCESSES = (
    "the system allows no more processes or threads: allow more, `ulimit -u 1024` (in a container the limit of its "
    "cgroup, `--pids-limit`), and run the same command again"
)


_NO_ROOM = "failed to map segment"  # of the loader of shared libraries, where addresses are limited


LEAST_ADDRESSES, SAFE_ADDRESSES = 1 << 30, 2 << 30
"""Bytes of addresses below which an analysis never succeeded, and below which it sometimes crashed (on two cores)."""


def check_addresses() -> None:
    """Print a warning where a process may map so little that native libraries crash; refuse where they always do.

    Raises ConfigError. A crash of theirs (OpenBLAS, jemalloc) ends the process without a word of ours.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= SAFE_ADDRESSES:
        return
    if limit < LEAST_ADDRESSES:
        raise ConfigError(_too_little_memory())
    text = f"{_what_is_allowed(limit)}: libraries may crash without a message below {SAFE_ADDRESSES >> 20:,} MB"
    print(coloured(f"warning: {text}", YELLOW, sys.stderr), file=sys.stderr)


def _too_little_memory() -> str:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return (
            "the system has no more memory: free some, or use fewer workers (--n_jobs), and run the same command again"
        )
    remedy = "allow more, `ulimit -v unlimited` (a batch system sets it from the memory that the job asked for)"
    return f"not enough memory: {_what_is_allowed(limit)}; {remedy}, and run the same command again"


def _what_is_allowed(limit: int) -> str:
    return f"`ulimit -v` allows each process {limit >> 20:,} MB of addresses"


def _of_the_system(error: OSError) -> str:
    """An error of the disk that names no output of ours: a temporary file, or what stdout is redirected to."""
    if "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written to; name one that can with the environment variable TMPDIR"
    where = error.filename or "writing to stdout or to a temporary file"
    return f"{where}: {error.strerror or error}"


class _Notices(io.FileIO):
    """stderr, where nobody may read it or its disk be full: what cannot be said must not end a run half-way."""

    def write(self, data: Any, /) -> int:
        """Write, or lose it."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written  # None, too, where it does not block and has no room


def _closed_by_its_reader() -> int:
    polling = select.poll()
    polling.register(sys.stdout.fileno(), 0)  # errors are reported all the same
    if not polling.poll(0):  # it is a pipe of ours, to another process
        return _bug()
    # Python flushes stdout once more when it ends, and would fail again with a message of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK


def _make_streams_safe() -> None:
    """See that what is said ends no run, and open streams that are closed: the next file would take their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    elif isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        raw = io.BufferedWriter(_Notices(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, encoding=sys.stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or file that cannot show a character must not end the run
            stream.reconfigure(errors="backslashreplace")


def cannot_import(package: str, error: ImportError) -> str:
    """What to do where the Python that runs this lacks a package, or has one that does not work."""
    broken = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
    what = f"{sys.executable} cannot import {package}{broken}, which rollout-analyzer needs"
    # In a checkout the usual cause is the system's Python in place of .venv/bin/python.
    checkout = Path(__file__).parents[2]
    own = checkout / ".venv" / "bin" / "python"
    if not (checkout / "Makefile").is_file():
        name = {"yaml": "PyYAML", "sklearn": "scikit-learn"}.get(package, package)
        return f"{what}; install it there: {sys.executable} -m pip install {name}"
    if own.exists() and Path(sys.prefix) != checkout / ".venv":
        return f"{what}; use {own}, or activate it: `. {checkout}/.venv/bin/activate`"
    return f"{what}; `make demo` in {checkout} creates a Python that has it, .venv/bin/python"


def _limit_or_bug(error: Exception) -> int:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        fail(_TOO_FEW_FILES)
    elif number == errno.ENOMEM or isinstance(error, MemoryError) or _NO_ROOM in str(error):
        fail(_too_little_memory())
    elif number == errno.EAGAIN or (isinstance(error, RuntimeError) and "can't start new thread" in str(error)):
        # A fork that fails says EAGAIN; a thread needs addresses for its stack, too.
        few_addresses = resource.getrlimit(resource.RLIMIT_AS)[0] in range(SAFE_ADDRESSES)
        fail(_too_little_memory() if few_addresses else _TOO_FEW_PROCESSES)
    else:
        return _bug()
    return EXIT_USER


def _bug() -> int:
    traceback.print_exc()
    fail("this is a bug of rollout-analyzer; please report it with the lines above")
    return EXIT_BUG
