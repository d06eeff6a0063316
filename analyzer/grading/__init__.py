"""Grading what may hang or crash: calls into a bounded child process.

A `Call` names a class by import path, its options, a method and JSON-able arguments; the child builds the object
once, calls the method and answers with a `Reply`. Whatever happens in there, the caller gets a Reply in bounded
time and memory, and no process is left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from analyzer.schema import NOTHING, Status


class Limits(NamedTuple):
    """What one call may use."""

    cpu_seconds: float = 5.0  # CPU time of one call
    wall_factor: float = 5.0  # wall-clock backstop = cpu_seconds x this
    memory_bytes: int = 2 << 30  # address space above what the loaded child maps


class Call(NamedTuple):
    """One method call for the child."""

    target: str  # "package.module:Class"
    method: str
    args: tuple[Any, ...]  # JSON-able
    options: Mapping[str, Any] = NOTHING  # keyword arguments of the constructor


class Reply(NamedTuple):
    """How a call ended: with a value (status OK) or with the status that says why not."""

    status: Status
    value: Any = None  # JSON-able; Score and other tuples arrive as lists
    detail: str = ""
