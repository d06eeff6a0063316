"""landlock: Landlock, the system call filter and rlimits. Needs no privilege and no program: Linux 5.13 or later.

A program reads the system and Python, writes to one directory of its own, and has neither network nor other processes.
"""

from __future__ import annotations

from analyzer.grading.sandbox.launch import Settings, Started, start_on_host
from analyzer.grading.sandbox.levels import Level, register


class Landlock(Level):
    """Landlock and the system call filter."""

    name = "landlock"
    rank = 1
    remedy = "it needs Linux 5.13 or later with Landlock enabled at boot (lsm=landlock,...); docs/sandbox.md says more"

    def start_runner(self, control: int) -> Started:
        """Start the runner; it finds out itself whether the kernel has what it needs."""
        return start_on_host(control, Settings(control, "", landlock=True, filter=True))


register(Landlock())
