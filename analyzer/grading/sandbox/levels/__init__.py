"""The levels of isolation, and which of them this machine has: found by running a probe.

    choose_level().name           # "strict": the strictest that works here
    LEVELS.find("landlock")       # one by name

strict     a bubblewrap container with the system call filter and rlimits inside
landlock   Landlock, the system call filter and rlimits
rlimits    rlimits alone, no sandbox

To add one, add one file to this folder that registers a `Level`, and its name to the choices of --sandbox.
"""

from __future__ import annotations

import json
import os
import tempfile
from abc import ABC, abstractmethod
from typing import ClassVar

from analyzer.errors import SandboxError
from analyzer.grading.sandbox.box import Box, Broken, Budget
from analyzer.grading.sandbox.launch import Started, Unavailable
from analyzer.registry import Registry, unknown

AUTO = "auto"


class Level(ABC):
    """How well model-written programs are contained, and how the runner that contains them is started."""

    name: ClassVar[str]
    rank: ClassVar[int]  # 0 is the strictest
    remedy: ClassVar[str]  # what to install or enable where the level is missing
    contains: ClassVar[bool] = True  # else it leaks by design, and is used by those alone who ask for it by name
    warning: ClassVar[str] = ""  # for the summary of a run that used it

    @abstractmethod
    def start_runner(self, control: int) -> Started:
        """Start a runner that has `control` as an open descriptor. Raises Unavailable where this machine cannot."""

    def __str__(self) -> str:
        return self.name


LEVELS: Registry[Level] = Registry("sandbox level", __name__)
register = LEVELS.register


def find_level(name: str) -> Level:
    """The level of that name. Raises ConfigError that lists the names, "auto" among them, and the nearest."""
    found = LEVELS.get(name)
    if found is None:
        raise unknown("sandbox level", name, [AUTO, *LEVELS.names()])
    return found


def choose_level(asked: str | None = None) -> Level:
    """The level to use: the one asked for by name, or (None, "auto") the strictest that works here, never rlimits.

    It is not taken on trust: a program tries to get out. Raises SandboxError saying what to install or enable, and
    ConfigError for an unknown name.
    """
    if asked not in (None, AUTO):
        level = find_level(asked)
        try:
            open_box(level).close()
        except Unavailable as error:
            raise SandboxError(f"the sandbox level {level} is not available here: {error} ({level.remedy})") from None
        return level
    # Never down to rlimits: a machine without a sandbox is an error to report, not a machine to trust.
    reasons = []
    for level in sorted((level for level in LEVELS if level.contains), key=lambda level: level.rank):
        try:
            open_box(level).close()
        except Unavailable as error:
            reasons.append(f"{level}: {error} ({level.remedy})")
        else:
            return level
    raise SandboxError("no sandbox works here, so no program runs. " + "; ".join(reasons))


def open_box(level: Level) -> Box:
    """A new sandbox of this level that has withstood the probe. Raises Unavailable."""
    # Looked up by a probe, not by version: containers, sysctls and LSM lists differ, and a level that starts
    # may leak.
    box = Box(level.start_runner)
    try:
        leaks = _probe(box)
        if leaks and level.contains:
            raise Unavailable(f"a program in it can {' and '.join(leaks)}")
    except BaseException:
        box.close()
        raise
    return box


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
                ended, failure, output = running.wait(), running.failure(), running.output(1 << 16)
            finally:
                running.close()
            # No output is a failed probe (ValueError), not a clean one: silence proves nothing.
            return list(json.loads(output))
        except Broken as error:
            raise Unavailable(str(error)) from None
        except ValueError:
            raise Unavailable(f"the probe failed: {ended}, {failure}") from None


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
