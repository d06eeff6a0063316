"""The time that a process has had, for limits that must not depend on what else the machine does.

    clock = Clock(pid, tick=0.1)
    while not done(wait=0.1):
        clock.look()
        if clock.had > 25: ...

Wall-clock time charges a process for every other process on the node. So time is counted by what the process is seen to
do, looking every `tick` seconds: time that it runs, by its CPU clock; time that it sleeps, where no thread of it or
below it is ready to run. Time queued for a core counts for nothing, nor does time in which nobody looked (the watcher
itself was queued or stopped, or the machine suspended). Time stopped by a signal, or waiting for a disk, is kept apart.
"""

from __future__ import annotations

import time

from analyzer import proc

_STOPPED = frozenset("TtD")


class Clock:
    """Seconds that a process and all below it have had since the first look. Costs nothing until then."""

    def __init__(self, pid: int, tick: float) -> None:
        self.ran = 0.0  # of several processes at once, not more than the time that passed
        self.slept = 0.0
        self.held = 0.0  # stopped, or waiting for a disk: nothing that the process can help
        self.threads = 0  # at the last look
        self.visible = True  # at the last look; what is hidden or gone counts as asleep
        self._pid = pid
        self._tick = tick
        self._looked: float | None = None
        self._cpu = 0.0

    @property
    def had(self) -> float:
        """Seconds that it ran or slept."""
        return self.ran + self.slept

    def look(self) -> None:
        """Count the time since the last look."""
        now = time.monotonic()
        try:
            seen, self.visible = proc.activity(self._pid), True
        except ProcessLookupError:
            # Gone, or hidden by a PID namespace or hidepid. No states: what passes counts as asleep, so a limit
            # still comes near.
            seen, self.visible = proc.Activity(frozenset(), 0, 0.0), False
        first = self._looked is None
        # The sum over a tree can go back: between the end of a child and its parent's wait() its time is in
        # nobody's clock. So the highest sum seen so far is kept, and no difference is negative.
        gap, ran = now - (self._looked or now), max(0.0, seen.cpu_seconds - self._cpu)
        self._looked, self._cpu, self.threads = now, max(self._cpu, seen.cpu_seconds), seen.threads
        if first:
            return
        # Four threads at work have four seconds of CPU in one second of time; a limit on waiting is about the
        # latter.
        self.ran += min(ran, gap)
        # R is running or queued, and the kernel does not tell which: queued time must be free, so R adds what the
        # CPU clock says and nothing else.
        if "R" not in seen.states:
            # A look that comes late says nothing of the time before: the watcher had no core, or was stopped.
            idle = max(0.0, min(gap, 2 * self._tick) - ran)
            # One stopped thread is enough: SIGSTOP stops all of a process, and a thread in D blocks those that
            # wait for it.
            if seen.states & _STOPPED:
                self.held += idle
            else:
                self.slept += idle
