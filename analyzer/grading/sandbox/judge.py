"""Running a program and saying how it did, with the answers kept outside of its sandbox.

sandbox = Sandbox(Level.STRICT)
sandbox.run_script(["print(int(input()) + 1)"], b"1\\n", Budget())          # Outcome("", b"2\\n", "")
sandbox.call(["def f(x): return x"], "f", [3], Budget())                    # Outcome("", b"3", ""), packed
sandbox.check(["def f(x): return x"], ["", "assert f(1) == 1"], ["f"], Budget())  # Outcome("accepted", b"", "")
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from analyzer.grading.sandbox.box import Box, Broken, Budget, Ended, Running, read_told
from analyzer.grading.sandbox.inside import frames
from analyzer.grading.sandbox.inside.values import pack
from analyzer.grading.sandbox.launch import Unavailable
from analyzer.grading.sandbox.levels import Level, open_box


class Verdict(StrEnum):
    """What is said of a program."""

    ACCEPTED = "accepted"
    WRONG = "wrong"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"


class Outcome(NamedTuple):
    """How a program did: a verdict, or None with the output that is still to be compared."""

    verdict: Verdict | None
    output: bytes = b""  # what it printed, or what its function returned, packed
    detail: str = ""  # for a person


class FaultyTest(Exception):
    """Raised when test code fails by itself, whatever the program does."""


Result = TypeVar("Result")
MAX_REFUSALS = 3
"""Attempts to open a sandbox, one after another in vain, before this thread gives up."""


class Sandbox:
    """Runs programs at one level, for one thread. A box that breaks is replaced, and the program tried once more."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._boxes: dict[str, Box] = {}
        self._refusals = 0

    def run_script(self, sources: Sequence[str], given: bytes, budget: Budget, prelude: str = "none") -> Outcome:
        """Run a program with `given` as its input. Raises Unavailable when the sandbox fails."""
        job = {"mode": "script", "prelude": prelude, "sources": list(sources)}

        def act() -> Outcome:
            with self._started("program", job, budget, given) as running:
                ended = running.wait()
                output = running.output(budget.output_bytes + 1)
                verdict, detail = verdict_of(ended, running.told())
                if len(output) > budget.output_bytes:
                    verdict, detail = Verdict.OUTPUT_LIMIT, f"more than {budget.output_bytes} bytes of output"
                return Outcome(verdict, output, detail)

        return self._twice(act)

    def call(
        self, sources: Sequence[str], name: str, args: Sequence[Any], budget: Budget, prelude: str = "none"
    ) -> Outcome:
        """Execute a program, then call one of its functions (or a method of its class Solution).

        Raises Unavailable when the sandbox fails.
        """
        job = {"mode": "functions", "prelude": prelude, "sources": list(sources)}
        body = json.dumps({"name": name, "args": [pack(value) for value in args], "kwargs": {}}).encode()

        def act() -> Outcome:
            with self._started("program", job, budget) as running:
                failure = _load(running)
                if failure is not None:
                    return failure
                try:
                    frames.forward(running.dialog, frames.CALL, body)
                    tag, answer = frames.receive(running.dialog, budget.output_bytes)
                except frames.FrameError as error:
                    return _failed(running, error)
                return _verdict_of_answer(tag, answer) or Outcome(None, answer)

        return self._twice(act)

    def check(
        self,
        sources: Sequence[str],
        tests: Sequence[str],
        entry_points: Sequence[str],
        budget: Budget,
        prelude: str = "none",
    ) -> Outcome:
        """Execute a program, and test code in a second sandbox, where `entry_points` stand for the program's functions.

        `tests` starts with what the tests need (it may define stubs of these). Raises FaultyTest when the tests fail by
        themselves, Unavailable when the sandbox fails.
        """
        job = {"mode": "functions", "prelude": prelude, "sources": list(sources)}
        nonce = secrets.token_hex(16)
        test = {"mode": "check", "prelude": "modules", "sources": list(tests), "nonce": nonce}
        test["entry_points"] = list(entry_points)

        def act() -> Outcome:
            with self._started("program", job, budget) as program:
                failure = _load(program)
                if failure is not None:
                    return failure
                with self._started("check", test, budget._replace(may_wait=True)) as check:
                    return _relay(program, check, nonce, budget)

        return self._twice(act)

    def close(self) -> None:
        """End all processes of this sandbox."""
        for box in self._boxes.values():
            box.close()
        self._boxes.clear()

    @contextlib.contextmanager
    def _started(self, role: str, job: dict[str, Any], budget: Budget, given: bytes = b"") -> Iterator[Running]:
        """A running program, ended and let go of in the end. One box for each role: they never meet."""
        running = self._box(role).start(job, budget, given)
        try:
            yield running
        except Broken:
            raise  # its box will be closed, and the program with it
        except BaseException:
            running.stop()
            raise
        else:
            running.stop()
        finally:
            running.close()

    def _box(self, role: str) -> Box:
        if role not in self._boxes:
            if self._refusals >= MAX_REFUSALS:
                raise Unavailable(f"the sandbox level {self._level} is not to be had on this node")
            self._refusals += 1
            self._boxes[role] = open_box(self._level)
            self._refusals = 0
        return self._boxes[role]

    def _twice(self, act: Callable[[], Result]) -> Result:
        try:
            return act()
        except Broken:
            self.close()
        try:
            return act()
        except Broken as error:
            self.close()
            raise Unavailable(f"the sandbox failed twice: {error}") from None


def verdict_of(ended: Ended, told: dict[str, Any]) -> tuple[Verdict | None, str]:
    """The verdict that the end of a program implies, None where it ended well, and a text for a person."""
    if ended.stopped in (Verdict.TIME_LIMIT, Verdict.OUTPUT_LIMIT):
        return Verdict(ended.stopped), f"stopped after {ended.cpu_seconds:.2f} s of CPU time"
    if ended.stopped == "process_limit":
        return Verdict.RUNTIME_ERROR, "too many threads"
    if told:
        return _verdict_of_error(told), str(told.get("text"))
    if ended.code < 0:
        with contextlib.suppress(ValueError):
            return Verdict.RUNTIME_ERROR, f"killed by {signal.Signals(-ended.code).name}"
    if ended.code != 0:
        return Verdict.RUNTIME_ERROR, f"exit code {ended.code}"
    return None, ""


def _verdict_of_error(told: dict[str, Any]) -> Verdict:
    """A program tells its own failure: it may lie about which, but not about having failed."""
    if told.get("phase") == "compile":
        return Verdict.COMPILE_ERROR
    if told.get("type") == "MemoryError":
        return Verdict.MEMORY_LIMIT
    if told.get("errno") in (errno.EFBIG, errno.ENOSPC):
        return Verdict.OUTPUT_LIMIT
    return Verdict.RUNTIME_ERROR


def _verdict_of_answer(tag: bytes, body: bytes) -> Outcome | None:
    """What an answer other than a value means; None for a value."""
    if tag == frames.VALUE:
        return None
    told = read_told(tag, body)
    text = str(told.get("text"))
    if tag == frames.RAISED:
        return Outcome(_verdict_of_error({**told, "phase": "run"}), detail=text)
    return Outcome(Verdict.WRONG, detail=f"returned {text}")


def _load(program: Running) -> Outcome | None:
    """Wait until the program has been executed; its outcome where it failed in that."""
    try:
        tag, body = frames.receive(program.dialog, frames.SHORT)
    except frames.FrameError as error:
        return _failed(program, error)
    if tag == frames.LOADED:
        return None
    verdict, detail = verdict_of(program.wait(), read_told(tag, body))
    return Outcome(verdict or Verdict.RUNTIME_ERROR, detail=detail)


def _failed(program: Running, error: frames.FrameError) -> Outcome:
    """The outcome of a program that ended, or sent too much, where an answer was due."""
    if isinstance(error, frames.TooLong):
        return Outcome(Verdict.OUTPUT_LIMIT, detail=str(error))
    verdict, detail = verdict_of(program.wait(), program.told())
    return Outcome(verdict or Verdict.RUNTIME_ERROR, detail=detail or str(error))


def _relay(program: Running, check: Running, nonce: str, budget: Budget) -> Outcome:
    """Carry calls from the test to the program and answers back, until the test ends. Nothing is unpacked here."""
    last: Outcome | None = None  # what the last answer means, where it was not a value
    calls = 0
    while True:
        try:
            tag, body = frames.receive(check.dialog, frames.LONG)
        except frames.FrameError as error:
            return _check_ended(check, error)
        if tag == frames.CALL:
            calls += 1
            try:
                frames.forward(program.dialog, frames.CALL, body)
                answer, body = frames.receive(program.dialog, budget.output_bytes)
            except frames.FrameError as error:
                return _failed(program, error)
            last = _verdict_of_answer(answer, body)
            with contextlib.suppress(frames.FrameError):  # a test that is gone shows at the next turn
                frames.forward(check.dialog, answer, body)
        elif tag == frames.DONE and json.loads(body) == nonce:
            return Outcome(Verdict.ACCEPTED)
        else:
            return _test_failed(dict(json.loads(body)), calls, last)


def _check_ended(check: Running, error: frames.FrameError) -> Outcome:
    ended = check.wait()
    if ended.stopped == Verdict.TIME_LIMIT:
        return Outcome(Verdict.TIME_LIMIT, detail="the test took too long")
    raise Broken(f"the test ended without a word: {error}, {ended}")


def _test_failed(told: dict[str, Any], calls: int, last: Outcome | None) -> Outcome:
    """The outcome after a failed test. Raises FaultyTest where no program could have passed it."""
    if calls == 0:
        raise FaultyTest(str(told["text"]))
    return last or Outcome(Verdict.WRONG, detail=str(told["text"]))
