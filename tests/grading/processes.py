"""Which processes live that carry a mark in their environment."""

from __future__ import annotations

import os
import time
from pathlib import Path


def marked(mark: str) -> list[int]:
    """Live processes, but this one, whose environment at their start held `mark`; a forked process has its parent's."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environ.split(b"\0") and int(name) != os.getpid():
            found.append(int(name))
    return found


def gone(mark: str, seconds: float) -> bool:
    """Whether no such process is left, or none within that time."""
    end = time.monotonic() + seconds
    while marked(mark):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
