"""What a reward function may have changed in the child, so that a soiled child is replaced and rewards keep no order.

Compared after each call: working directory, environment, locale, recursion limit, umask, alarm timer, the standard
streams, the functions of os and builtins, threads and processes that still run. Random generators are seeded before
each call instead. Not seen: variables of the function's own modules, patched functions of other modules, files.

The functions used are bound here, before any reward is loaded: some rewards set `os.getcwd = None` and the like.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
from locale import LC_ALL, setlocale
from os import P_ALL, WEXITED, WNOHANG, WNOWAIT, fstat, getcwd, umask, waitid
from signal import ITIMER_REAL, getitimer
from sys import getrecursionlimit
from threading import active_count
from typing import Any, NamedTuple

SEED = 0


class State(NamedTuple):
    """What a reward function must leave as it was."""

    cwd: str
    environ: dict[Any, Any]
    locale: str
    recursion_limit: int
    umask: int
    alarm: float
    streams: tuple[Any, ...]  # sys.stdin, stdout, stderr
    devices: tuple[int, ...]  # what the descriptors 0, 1, 2 are open on
    threads: int
    functions: tuple[dict[str, Any], ...]  # of os and builtins, which "reliability guards" take away


def state() -> State:
    """The state now, in some 15 microseconds."""
    mask = umask(0o022)
    umask(mask)
    return State(
        cwd=_cwd(),
        environ=dict(_environ),
        locale=setlocale(LC_ALL),
        recursion_limit=getrecursionlimit(),
        umask=mask,
        alarm=getitimer(ITIMER_REAL)[0],
        streams=(sys.stdin, sys.stdout, sys.stderr),
        devices=tuple(map(_device, (0, 1, 2))),
        threads=active_count(),
        functions=(dict(_OS), dict(_BUILTINS)),
    )


def has_processes() -> bool:
    """Whether this process has children, running or ended; none is reaped."""
    try:
        waitid(P_ALL, 0, WEXITED | WNOHANG | WNOWAIT)
    except ChildProcessError:
        return False
    return True


def seed() -> None:
    """Put the random generators that are loaded to the same start."""
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed sees to all GPUs as well: 0.4 ms


def _cwd() -> str:
    try:
        return getcwd()
    except FileNotFoundError:  # it has been deleted
        return ""


def _device(fd: int) -> int:
    try:
        return fstat(fd).st_rdev
    except OSError:
        return -1


_OS = vars(os)
_BUILTINS = vars(builtins)
# The mapping behind os.environ: comparing os.environ itself decodes every variable, 16 microseconds.
_environ: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]
