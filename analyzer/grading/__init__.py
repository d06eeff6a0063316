"""Grading what may hang or crash: calls into a bounded child process.

    supervisor = Supervisor(Target("analyzer.rewards.math_prime:MathPrime"), Limits())   # of supervisor.py
    supervisor.call("grade", "1/2", "0.5")      # Reply(Status.OK, [1.0, "ok", True, {}, "", None, None, {}], "")
    supervisor.close()

Whatever happens in there, the caller gets a `Reply` in bounded time and memory, and no process is left behind.

    worker thread ── control socket ── zygote   exec'ed, single-threaded; has loaded the reward; forks, kills, reaps
          └───────── frames of JSON ── child    forked by the zygote; one call at a time; killed at the deadline

    clock        the time that a process has had, whatever else the node does
    supervisor   the worker's side: one child, its budget, what becomes of a call
    nursery      the worker's side of the zygotes, one for each reward and process, shared by its threads
    zygote       the zygote's program
    child        the child's program
    hygiene      what a reward function may have left behind in the child
    frames       messages on a socket

What /proc and prctl know of a process is in analyzer/proc.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from analyzer.schema import NOTHING, Status

__all__ = [
    "Limits",
    "Reply",
    "Target",
]


class Limits(NamedTuple):
    """What one call may use."""

    # CPU time comes first because it is the same on an idle and on an oversubscribed node: a deadline on the wall
    # clock alone would make rewards depend on what else the node does.
    cpu_seconds: float = 5.0  # CPU time of one call
    wall_factor: float = 5.0  # what it may run and sleep in all = cpu_seconds x this; not counted: queued, stopped
    # Address space, not resident memory, since that is what RLIMIT_AS bounds. sympy with math-verify maps some
    # 60 MB, so 2 GB leave room for every honest answer.
    memory_bytes: int = 2 << 30  # address space above what the loaded child maps


class Target(NamedTuple):
    """What the child builds, once, and calls the methods of."""

    path: str  # "package.module:Class"
    options: Mapping[str, Any] = NOTHING  # keyword arguments of the constructor, plain JSON values
    name: str = ""  # what to call it in messages


class Reply(NamedTuple):
    """How a call ended: with a value (status OK) or with the status that says why not."""

    # A failure is a status and never a value: nothing that goes wrong in the child can become a
    # reward.
    status: Status
    value: Any = None  # plain JSON; a Score and other tuples arrive as lists
    detail: str = ""
