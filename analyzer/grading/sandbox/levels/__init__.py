"""The levels of isolation, from the strictest down, and which of them this machine has: found by running a probe.

strict     a bubblewrap container with the system call filter and rlimits inside: strict.py
landlock   Landlock, the system call filter and rlimits: landlock.py
rlimits    rlimits alone, no sandbox: rlimits.py
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from enum import StrEnum
from typing import Any

from analyzer.errors import SandboxError
from analyzer.grading.sandbox.box import Box, Broken, Budget
from analyzer.grading.sandbox.launch import Unavailable

AUTO = "auto"


class Level(StrEnum):
    """How well model-written programs are kept in; the strictest first."""

    STRICT = "strict"
    LANDLOCK = "landlock"
    RLIMITS = "rlimits"

    @property
    def warning(self) -> str:
        """What the user must be told of this level; "" where there is nothing to say."""
        if self is Level.RLIMITS:
            return (
                "--sandbox rlimits is no sandbox: programs written by a model can read and delete your files and use "
                "the network"
            )
        return ""


def choose_level(asked: str | None = None) -> Level:
    """The level to use: the one asked for, or the strictest that works here but never rlimits (None or "auto").

    It is not taken on trust: a program tries to get out. Raises SandboxError saying what to install or enable.
    """
    if asked in (None, AUTO):
        # Never down to rlimits: a machine without a sandbox is to be told of, not to be trusted.
        reasons = []
        for level in (Level.STRICT, Level.LANDLOCK):
            try:
                open_box(level).close()
            except Unavailable as error:
                reasons.append(f"{level}: {error} ({_module(level).REMEDY})")
            else:
                return level
        raise SandboxError("no sandbox works here, so no program is run. " + "; ".join(reasons))
    if asked not in list(Level):
        raise SandboxError(f"no sandbox level is named {asked!r} (there are: {', '.join((AUTO, *Level))})")
    level = Level(asked)
    try:
        open_box(level).close()
    except Unavailable as error:
        raise SandboxError(
            f"the sandbox level {level} is not to be had here: {error} ({_module(level).REMEDY})"
        ) from None
    return level


def open_box(level: Level) -> Box:
    """A new sandbox of this level that has withstood the probe. Raises Unavailable."""
    # Looked up by a probe, not by version: containers, sysctls and LSM lists differ, and a level that starts
    # may leak.
    box = Box(_module(level).start_runner)
    try:
        leaks = _probe(box)
        # rlimits leaks by definition and is taken by those who ask for it by name.
        if leaks and level is not Level.RLIMITS:
            raise Unavailable(f"a program in it can {' and '.join(leaks)}")
    except BaseException:
        box.close()
        raise
    return box


def _module(level: Level) -> Any:
    return importlib.import_module(f"analyzer.grading.sandbox.{level}")


def _probe(box: Box) -> list[str]:
    """What a program in this sandbox can do that it must not."""
    with tempfile.NamedTemporaryFile() as canary:
        # Readable and writable to all, so that what keeps the program out is the sandbox and not the file's own
        # mode.
        os.chmod(canary.name, 0o666)
        # The canary is made by this process, outside of what the sandbox mounts or grants.
        job = {"mode": "script", "prelude": "none", "sources": [f"CANARY = {canary.name!r}\n{_PROBE}"]}
        try:
            running = box.start(job, Budget())
            try:
                ended, told, output = running.wait(), running.told(), running.output(1 << 16)
            finally:
                running.close()
            # No output is a failed probe (ValueError), not a clean one: silence proves nothing.
            return list(json.loads(output))
        except Broken as error:
            raise Unavailable(str(error)) from None
        except ValueError:
            raise Unavailable(f"the probe failed: {ended}, {told}") from None


_PROBE = """
import json, os, socket

def fork():
    if os.fork() == 0:
        os._exit(0)

attempts = {
    "open a socket": socket.socket,
    "start a process": fork,
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "read a file": lambda: open(CANARY).close(),
    "write to a file": lambda: open(CANARY, "a").close(),
    "change a file's times": lambda: os.utime(CANARY),
    "read /etc/passwd": lambda: open("/etc/passwd").close(),
}
done = []
for what, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    done.append(what)
print(json.dumps(done))
"""
