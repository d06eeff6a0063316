"""The worker's side of one child: calls go out, replies come back in bounded time, whatever happens in there."""

from __future__ import annotations

import itertools
import secrets
import socket
from contextlib import suppress
from typing import Any

from analyzer import proc
from analyzer.errors import RewardError
from analyzer.grading import Limits, Reply, Target, nursery
from analyzer.grading.clock import Clock
from analyzer.grading.frames import Channel, Closed, GarbledFrame, pack
from analyzer.schema import Status

# Less than a frame may be: what comes back was made by code that nobody has read.
MAX_REPLY = 64 << 20  # bytes
HELD_FACTOR = 10.0  # a child may stay stopped for its wall-clock budget x this
_ATTEMPTS = 3  # at starting a child, when the zygote dies under it


class OverBudget(Exception):
    """Raised when a call has used up its CPU time, or its wall-clock backstop."""


class Supervisor:
    """One child for one thread. It is started at the first call, and replaced when it crashes, hangs or is soiled."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self._target = target
        self._limits = limits
        self._child: _Child | None = None

    def start(self) -> None:
        """Start the child if none runs. Raises RewardError when the reward cannot be loaded."""
        if self._child is None:
            self._child = _start(self._target, self._limits.memory_bytes)

    def call(self, method: str, *args: Any, items: int = 1, retry: bool = True) -> Reply:
        """Call a method of the target with JSON values; a call about n items has the time of n.

        Does not raise but RewardError, when no child can be started. A crash is tried once more in a fresh child
        where `retry` says so; a timeout is final.
        """
        reply = self._attempt(method, args, items)
        if reply.status is Status.CRASH and retry:
            # Once, not more: a text that crashed two fresh children is the cause, and would go on crashing
            # them forever.
            reply = self._attempt(method, args, items)
        return reply

    def close(self) -> None:
        """End the child. The zygote stays for other supervisors of this process."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _attempt(self, method: str, args: tuple[Any, ...], items: int) -> Reply:
        self.start()
        # Kept in a local name, since close() in a handler sets the attribute to None while the child is still to
        # be asked.
        child = self._child
        if child is None:
            raise RewardError(f"no child for {nursery.name_of(self._target)}")
        # A number per attempt, not per call, so that the answer of a first attempt cannot serve the second.
        number = next(_numbers)
        try:
            # Packed here, before the clock runs: a row that cannot be sent is the input's fault and costs the
            # child nothing.
            frame = pack({"id": number, "method": method, "args": args})
        except OverflowError as error:
            return Reply(Status.LIMIT, detail=str(error))
        except (TypeError, ValueError, RecursionError) as error:
            return Reply(Status.INPUT_ERROR, detail=f"the row cannot be passed to the reward: {error}")
        try:
            answer = child.exchange(frame, _Budget(child.pid, self._limits, items))
            reply = _reply(answer, number)
        except OverBudget as error:
            self.close()
            return Reply(Status.TIMEOUT, detail=str(error))
        # Out of sight first: end() may raise, and the next call must not find a dead child.
        except (Closed, GarbledFrame, ProcessLookupError) as error:
            self._child = None
            how = child.end()
            cause = f"it sent a malformed reply: {error}" if isinstance(error, GarbledFrame) else how
            return Reply(Status.CRASH, detail=f"the grading process crashed ({cause})")
        # Its answer would come in reply to the next request. The id would show that, as a crash of an innocent
        # rollout.
        except BaseException:  # an interrupt: the child is in the middle of a call, and so of no more use
            self.close()
            raise
        if answer["last"]:
            self.close()
        return reply


class _Budget:
    """What is left of one call's time: the child's CPU time, then all time that it and those below it have had.

    Neither grows while they are queued for a core or stopped, so a busy or suspended node changes no reply. A child
    that stays stopped is given up in the end.
    """

    def __init__(self, pid: int, limits: Limits, items: int) -> None:
        self._pid = pid
        self._cpu_seconds = limits.cpu_seconds * items
        self._wall_seconds = self._cpu_seconds * limits.wall_factor
        # The CPU clock of a process never starts again; it has already spent the calls before this one.
        self._cpu_before = proc.cpu_seconds(pid)
        # A tenth of the budget, so that no call runs more than 10 % over it before anybody looks.
        self.tick = min(0.1, limits.cpu_seconds / 10)  # seconds between two looks
        self._clock = Clock(pid, self.tick)

    def check(self) -> None:
        """Raise OverBudget, or Closed where the process is dead though its socket is still held open by another."""
        # A process that the reward forked may hold the socket open: recv() then never sees the end of the stream.
        if proc.is_dead(self._pid):
            raise Closed("dead")
        # The kernel's own clock, to the nanosecond and whatever the load: asked before Clock, which only
        # estimates.
        if proc.cpu_seconds(self._pid) - self._cpu_before > self._cpu_seconds:
            raise OverBudget(f"over {self._cpu_seconds:g} s of CPU time")
        self._clock.look()
        if self._clock.had > self._wall_seconds:
            raise OverBudget(f"not done after {self._wall_seconds:g} s")
        if self._clock.held > HELD_FACTOR * self._wall_seconds:
            raise OverBudget(f"stopped, or waiting for a disk, for {self._clock.held:.0f} s")


class _Child:
    """A child process and the way to talk to it."""

    def __init__(self, zygote: nursery.ZygoteClient, memory_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        # The zygote has its own copy of the descriptor once spawn() returns; ours must go, or EOF would never
        # come.
        with theirs:
            self.pid = zygote.spawn(theirs, memory_bytes)
        self._zygote = zygote
        self._sock = ours
        self._channel = Channel(ours)

    def exchange(self, frame: bytes, budget: _Budget) -> Any:
        """Send a request and wait for the answer. Raises OverBudget, Closed or GarbledFrame."""
        self._sock.settimeout(budget.tick)
        # Sending counts as well: a child that does not read would block us once 200 kB are in the socket.
        self._channel.send(frame, budget.check)
        return self._channel.receive(budget.check, MAX_REPLY)

    def wait_until_loaded(self) -> dict[str, Any]:
        """Its first message: {"ready": true} or {"failed": reason}. Raises Closed, GarbledFrame or TimeoutError."""
        self._sock.settimeout(nursery.TICK)
        message: dict[str, Any] = self._channel.receive(nursery.patience(self.pid, nursery.BOOT_SECONDS))
        return message

    def end(self) -> str:
        """Kill it with all it started; how it had ended, where it had."""
        self._channel.close()
        try:
            return self._zygote.end(self.pid)
        except nursery.ZygoteGone:
            return "with its zygote"


# itertools.count is safe between threads under the GIL: next() on it is one call in C.
_numbers = itertools.count(secrets.randbits(48))  # ids that a stale or made-up reply does not hit


def _start(target: Target, memory_bytes: int) -> _Child:
    for _ in range(_ATTEMPTS):
        # Asked for again in each attempt: where it died, this starts the next one.
        zygote = nursery.zygote_for(target)
        try:
            child = _Child(zygote, memory_bytes)
        except nursery.ZygoteGone:
            continue
        try:
            message = child.wait_until_loaded()
        except (Closed, GarbledFrame, TimeoutError):
            child.end()
            continue
        if "failed" in message:
            child.end()
            raise RewardError(f"the reward {nursery.name_of(target)} cannot be loaded: {message['failed']}")
        return child
    raise RewardError(f"the grading process of {nursery.name_of(target)} ended {_ATTEMPTS} times before its first call")


def _reply(answer: Any, number: int) -> Reply:
    """The answer as a Reply. Raises GarbledFrame when it is not one to this request."""
    # All that a wrong shape can raise here: a list, a missing key, an unknown status, a number where a dict
    # belongs.
    with suppress(TypeError, KeyError, ValueError, AttributeError):
        if answer["id"] == number and answer["last"] in (True, False):
            return Reply(Status(answer["status"]), answer.get("value"), str(answer.get("detail", "")))
    raise GarbledFrame("a reply to another request, or none")
