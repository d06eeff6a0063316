"""rlimits: limits of CPU, memory, file size and processes, and nothing else. It is NOT a sandbox: a program may read
and delete what the user may, and use the network. For programs that are trusted anyway, or a machine that is thrown
away afterwards.
"""

from __future__ import annotations

from analyzer.grading.sandbox.launch import Settings, Started, start_on_host
from analyzer.grading.sandbox.levels import Level, register


class Rlimits(Level):
    """Resource limits alone."""

    name = "rlimits"
    rank = 2
    remedy = "it needs Linux"
    contains = False
    warning = (
        "--sandbox rlimits is not a sandbox: programs written by a model can read and delete your files and use the "
        "network"
    )

    def start_runner(self, control: int) -> Started:
        """Start the runner."""
        return start_on_host(control, Settings(control, "", count_processes=True))


register(Rlimits())
