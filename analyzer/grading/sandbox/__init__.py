"""Running programs that a model wrote, so that nothing in them can touch the machine. docs/sandbox.md says how well.

    level = choose_level(None)            # the strictest that works here; SandboxError where none does
    sandbox = sandbox_here(level)         # one for each thread, warm from the second program on
    sandbox.run_script(["print(input())"], b"5", Budget())  # Outcome(None, b"5\\n")

`levels/` holds the levels, one file each, and probes them; `box` is one warm sandbox, `judge` runs a program against
its tests, and `inside/` is what runs within. Only `judge` and `choose_level` concern a reward.
"""

from __future__ import annotations

import threading

from analyzer.grading.sandbox.box import Budget
from analyzer.grading.sandbox.judge import FaultyTest, Held, Outcome, Sandbox, Verdict
from analyzer.grading.sandbox.launch import Unavailable
from analyzer.grading.sandbox.levels import AUTO, LEVELS, Level, choose_level, find_level

__all__ = [
    "AUTO",
    "LEVELS",
    "Budget",
    "FaultyTest",
    "Held",
    "Level",
    "Outcome",
    "Sandbox",
    "Unavailable",
    "Verdict",
    "choose_level",
    "find_level",
    "sandbox_here",
]

_own = threading.local()


def sandbox_here(level: Level) -> Sandbox:
    """The sandbox of this thread at this level; it ends with the thread."""
    # Thread-local storage instead of a lock: a warm runner answers one program at a time, and a thread's end frees its
    # own.
    sandboxes: dict[Level, Sandbox] = _own.__dict__.setdefault("sandboxes", {})
    if level not in sandboxes:
        sandboxes[level] = Sandbox(level)
    return sandboxes[level]
