"""Where the process of a command starts: `scripts/x_y.py`, `x-y` and `python -m analyzer x_y`.

A signal that comes before `running.run` listens for it, while modules are imported, or after that, while Python ends,
would be a traceback or end the process in Python's own way. Here it is one line and the exit code of an interruption.
Only for these processes: to import the package changes no handler.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import signal
import sys
from types import FrameType

# As in errors.py and workers/interrupts.py, which are imported only when the handlers are there.
EXIT_INTERRUPTED = 75
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def _run(name: str, module: str = "") -> int:
    """Import a command and run it with the words of the process; returns its exit code."""
    # Called last of all, as it comes first. From there on Python takes its modules apart and calls no handler any more.
    atexit.register(_handle, signal.SIG_IGN)
    _handle(_stop)
    code = EXIT_INTERRUPTED
    try:
        code = getattr(importlib.import_module(f"analyzer.commands.{module or name}"), name)()
    except SystemExit as end:  # --help, --version and --print_config
        code = end.code if isinstance(end.code, int) else 0
        _flush()
    finally:
        # All is done and said; what is still to come, such as the end of threads, may be cut short.
        _handle(functools.partial(_leave, code))
    return code


def _handle(handler: object) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)  # type: ignore[arg-type]


def _stop(number: int, frame: FrameType | None) -> None:
    # Not by raising: what is being imported may catch it, or be left half loaded.
    os.write(2, f"error: stopped by {signal.Signals(number).name} before it began\n".encode())
    os._exit(EXIT_INTERRUPTED)


def _leave(code: int, number: int, frame: FrameType | None) -> None:
    os._exit(code)


def _flush() -> None:
    with contextlib.suppress(AttributeError):  # stdout is closed
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


analyze_rollouts = functools.partial(_run, "analyze_rollouts")
select_problems = functools.partial(_run, "select_problems")
filter_difficulty = functools.partial(_run, "filter_difficulty")
generate_rollouts = functools.partial(_run, "generate_rollouts")
compare_analyses = functools.partial(_run, "compare_analyses")
view_analysis = functools.partial(_run, "view_analysis")
main = functools.partial(_run, "main", "all")
