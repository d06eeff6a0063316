"""Running a program and saying how it did, with the answers kept outside of its sandbox.

    sandbox = Sandbox(find_level("strict"))
    sandbox.run_script(["print(int(input()) + 1)"], b"1\\n", Budget())          # Outcome(None, b"2\\n")
    sandbox.call(["def f(x): return x"], "f", [3], Budget())                    # Outcome(None, b"3")
    sandbox.check(["def f(x): return x"], ["", "assert f(1) == 1"], ["f"], Budget())  # Outcome(Verdict.ACCEPTED)
    sandbox.close()

An outcome without a verdict is what is still to be compared: what was printed, or what was returned, packed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from analyzer.grading.sandbox.box import (
    ASLEEP,
    HELD,
    MAX_THREADS,
    PROCESS_LIMIT,
    Box,
    Broken,
    Budget,
    Ended,
    Running,
    read_failure,
)
from analyzer.grading.sandbox.inside import frames
from analyzer.grading.sandbox.inside.calls import ARGUMENT
from analyzer.grading.sandbox.inside.values import Uncrossable, is_packed_json, pack
from analyzer.grading.sandbox.launch import Unavailable
from analyzer.grading.sandbox.levels import Level, open_box


class Verdict(StrEnum):
    """The verdict on a program."""

    ACCEPTED = "accepted"
    WRONG = "wrong"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"
    REFUSED = "refused"  # it raised the error by which the sandbox refuses a new process, a directory or a socket
    UNCROSSABLE = "uncrossable"  # its test got an object, which cannot cross from one sandbox to the other


class Outcome(NamedTuple):
    """How a program did: a verdict, or None with the output that is still to be compared."""

    verdict: Verdict | None
    output: bytes = b""  # what it printed, or what its function returned, packed
    detail: str = ""  # for a person
    sure: bool = True  # False where something outside of the program may be to blame: it is run once more


class FaultyTest(Exception):
    """Raised when test code fails by itself, whatever the program does."""


class Held(Exception):
    """Raised when a program was kept from running, stopped by a signal or waiting for a disk: it has no verdict."""


MAX_REFUSALS = 3
"""Attempts to open a sandbox, one after another in vain, before this thread gives up."""


class Sandbox:
    """Runs programs at one level, for one thread. A box that breaks is replaced, and the program tried once more."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._boxes: dict[str, Box] = {}
        self._refusals = 0

    def run_script(self, sources: Sequence[str], given: bytes, budget: Budget, prelude: str = "none") -> Outcome:
        """Run a program with `given` as its input. Raises Unavailable when the sandbox fails, Held."""
        job = {"mode": "script", "prelude": prelude, "sources": list(sources)}

        def act() -> Outcome:
            with self._started("program", job, budget, given) as running:
                ended = running.wait()
                # One byte more than is allowed tells "just enough" from "too much" without reading all of it.
                output = running.output(budget.output_bytes + 1)
                if len(output) > budget.output_bytes:
                    return Outcome(Verdict.OUTPUT_LIMIT, output, f"more than {budget.output_bytes} bytes of output")
                return outcome_of(ended, running.failure())._replace(output=output)

        return self._judged(act)

    def call(
        self,
        sources: Sequence[str],
        name: str,
        args: Sequence[Any],
        budget: Budget,
        *,
        prelude: str = "none",
        as_json: bool = False,
    ) -> Outcome:
        """Execute a program, then call one of its functions (or a method of its class Solution).

        `as_json`: a value that json.dumps refuses, a numpy integer for instance, is wrong. Raises FaultyTest when the
        arguments are nested too deeply, Unavailable when the sandbox fails, Held.
        """
        job = {"mode": "functions", "prelude": prelude, "sources": list(sources), "as_json": as_json}
        # Arguments are packed here, not in the sandbox: tuples, sets and int keys of dicts would not survive
        # plain JSON.
        try:
            body = json.dumps(["call", name, pack(list(args)), ["d"], ["d"]]).encode()
        except Uncrossable as error:
            raise FaultyTest(f"its arguments are {error}") from None

        def act() -> Outcome:
            with self._started("program", job, budget) as running:
                failure = _load(running)
                if failure is not None:
                    return failure
                try:
                    running.send(frames.CALL, body)
                    # An answer is bounded as output is, so a returned value cannot take more of the worker's
                    # memory than a printed one.
                    answer = read_answer(*running.receive(budget.output_bytes))
                except frames.FrameError as error:
                    return _failed(running, error)
                failed = answer.outcome
                # Expected is JSON data, so that an object would be wrong in any case.
                if failed and failed.verdict is Verdict.UNCROSSABLE:
                    failed = failed._replace(verdict=Verdict.WRONG)
                return failed or Outcome(None, answer.body)

        return self._judged(act)

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
        themselves, Unavailable when the sandbox fails, Held.
        """
        job = {"mode": "functions", "prelude": prelude, "sources": list(sources), "by_reference": True}
        # Drawn per check and sent to the test's sandbox alone: exit code 0 proves nothing, as the program under
        # test could make the test's process exit (sys.exit(0) in an answer, a patched assert); nobody can guess
        # 128 bits.
        nonce = secrets.token_hex(16)
        test = {"mode": "check", "prelude": "modules", "sources": list(tests), "nonce": nonce}
        test["entry_points"] = list(entry_points)

        def act() -> Outcome:
            with self._started("program", job, budget) as program:
                failure = _load(program)
                if failure is not None:
                    return failure
                # The test sleeps while the program works, so its sleep is not a sign of a hang. Its own sandbox:
                # whoever broke into the program's finds no expected value there.
                with self._started("check", test, budget._replace(may_wait=True)) as check:
                    return _relay(program, check, nonce, budget)

        return self._judged(act)

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
        # An interrupt or Held: the program is stopped, or it would keep the runner busy when the next one is
        # sent.
        except BaseException:
            running.stop()
            raise
        else:
            running.stop()
        finally:
            running.close()

    def _box(self, role: str) -> Box:
        if role not in self._boxes:
            # A node where sandboxes stop working would otherwise pay a container's start for each of a million
            # rollouts.
            if self._refusals >= MAX_REFUSALS:
                raise Unavailable(f"the sandbox level {self._level} is not available on this node")
            self._refusals += 1
            # Probed each time, not once per run: a node of a cluster may lack what the driver's has.
            self._boxes[role] = open_box(self._level)
            self._refusals = 0
        return self._boxes[role]

    def _judged(self, act: Callable[[], Outcome]) -> Outcome:
        """The outcome of a program. Raises Unavailable where the node, and not the sandbox, refused it a thread."""
        outcome = self._retried(act)
        # Seen from here: a program may say so of itself, but what this process cannot start, it cannot either.
        if _NO_THREAD in outcome.detail and not _can_start(MAX_THREADS):
            raise Unavailable("the system allows no more threads")
        return outcome

    def _retried(self, act: Callable[[], Outcome]) -> Outcome:
        """What `act` gives; once more where the sandbox broke or somebody else may have stopped the program."""
        try:
            outcome = act()
            # A verdict that may have come from outside (SIGKILL of the kernel's out-of-memory killer) is checked
            # by a second run; where both agree, it counts as the program's own.
            if outcome.sure:
                return outcome
        except Broken:
            self.close()
        try:
            return act()
        except Broken as error:
            self.close()
            raise Unavailable(f"the sandbox failed twice: {error}") from None


_NO_THREAD = "can't start new thread"  # Python's own words


def _can_start(count: int) -> bool:
    """Whether this process can have so many threads more."""
    end, threads = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return True


def outcome_of(ended: Ended, failure: dict[str, Any]) -> Outcome:
    """What the end of a program implies: no verdict where it ended well. Raises Held."""
    # The order matters: what was done to the program outranks what it said, and what it said outranks its exit
    # code.
    if ended.stopped == HELD:
        raise Held("the program was stopped by a signal, or waited for a disk, for too long")
    if ended.stopped == ASLEEP:
        return Outcome(Verdict.TIME_LIMIT, detail="it slept for too long", sure=False)
    if ended.stopped in (Verdict.TIME_LIMIT, Verdict.OUTPUT_LIMIT):
        return Outcome(Verdict(ended.stopped), detail=f"stopped after {ended.cpu_seconds:.2f} s of CPU time")
    if ended.stopped == PROCESS_LIMIT:
        return Outcome(Verdict.RUNTIME_ERROR, detail="too many threads")
    # Trusted only as far as to be a failure: a program has nothing to win from claiming one.
    if failure:
        return Outcome(_verdict_of_error(failure), detail=str(failure.get("text")))
    if ended.code < 0:
        # signal.Signals(n) raises ValueError for real-time signals, which a program may send itself.
        name = next((one.name for one in signal.Signals if one == -ended.code), f"signal {-ended.code}")
        return Outcome(Verdict.RUNTIME_ERROR, detail=f"killed by {name}", sure=-ended.code not in _FROM_OUTSIDE)
    if ended.code != 0:
        return Outcome(Verdict.RUNTIME_ERROR, detail=f"exit code {ended.code}")
    return Outcome(None)


_FROM_OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
"""Signals that a program may send itself, and that the kernel (out of memory) or a scheduler may send it."""


def _verdict_of_error(failure: dict[str, Any]) -> Verdict:
    """A program reports its own failure: it may lie about which one, but not about having failed."""
    if failure.get("phase") == "compile":
        return Verdict.COMPILE_ERROR
    if failure.get("type") == "MemoryError":
        return Verdict.MEMORY_LIMIT
    # SIGXFSZ is ignored by CPython, so RLIMIT_FSIZE shows as EFBIG; ENOSPC is the 64 MB tmpfs of the strict
    # level.
    if failure.get("errno") in (errno.EFBIG, errno.ENOSPC):
        return Verdict.OUTPUT_LIMIT
    if failure.get("errno") in (errno.EPERM, errno.EACCES, errno.EROFS):
        return Verdict.REFUSED
    return Verdict.RUNTIME_ERROR


class Answer(NamedTuple):
    """What a program answered to a call, after a look at it: the worker and the test are safe with it."""

    tag: bytes
    body: bytes
    outcome: Outcome | None  # what it means for the program; None for a value


def read_answer(tag: bytes, body: bytes) -> Answer:
    """An answer as the program sent it, which may be anything: what is not of the form is the program's failure."""
    failure = read_failure(tag, body)
    # Only looked at, never unpacked: what the judge forwards to the test is bytes that are known to be harmless
    # there.
    if tag in (frames.VALUE, frames.CALL, frames.PRINTED) and is_packed_json(body):
        return Answer(tag, body, None)
    if tag in (frames.RAISED, frames.FAILED) and failure:
        outcome = Outcome(_verdict_of_error({**failure, "phase": "run"}), detail=str(failure["text"]))
    elif tag == frames.UNCROSSABLE and failure:
        outcome = Outcome(Verdict.UNCROSSABLE, detail=f"returned {failure['text']}")
    else:
        # A garbled answer becomes an exception in the test, as a returned object of the program's own would.
        tag, failure = frames.UNCROSSABLE, {"type": "TypeError", "errno": None, "text": "a malformed answer"}
        outcome = Outcome(Verdict.WRONG, detail="its answer is malformed")
    return Answer(tag, json.dumps(failure).encode(), outcome)


def _load(program: Running) -> Outcome | None:
    """Wait until the program has been executed; its outcome where it failed in that."""
    try:
        tag, body = program.receive(frames.SHORT)
    except frames.FrameError as error:
        return _failed(program, error)
    # LOADED may be forged by the program, which gains nothing: it only means that calls follow.
    if tag == frames.LOADED:
        return None
    return _failure(outcome_of(program.wait(), read_failure(tag, body)), "it did not start")


def _failed(program: Running, error: frames.FrameError) -> Outcome:
    """The outcome of a program that ended, or sent too much, where an answer was due."""
    if isinstance(error, frames.TooLong):
        return Outcome(Verdict.OUTPUT_LIMIT, detail=str(error))
    return _failure(outcome_of(program.wait(), program.failure()), str(error))


def _failure(outcome: Outcome, otherwise: str) -> Outcome:
    """The outcome, as a failure too where the program ended well: it was to answer."""
    if outcome.verdict is not None:
        return outcome
    return outcome._replace(verdict=Verdict.RUNTIME_ERROR, detail=outcome.detail or otherwise)


def _relay(program: Running, check: Running, nonce: str, budget: Budget) -> Outcome:
    """Carry calls from the test to the program and answers back, until the test ends. Nothing is unpacked here."""
    # A failing call explains a failing test better than the test's AssertionError does: "TypeError in f" against
    # "assert".
    last: Outcome | None = None  # what the last answer means, where it was not a value
    calls = printed = 0
    while True:
        try:
            tag, body = check.receive(frames.LONG)
        except frames.FrameError as error:
            return _check_ended(check, error, calls, last)
        # One of the two has the turn: what the test sends is a call, or its answer to one of the program's.
        if tag in (frames.CALL, frames.VALUE, frames.RAISED, frames.UNCROSSABLE):
            calls += tag == frames.CALL
            try:
                program.send(tag, body)
                while True:
                    answer = read_answer(*program.receive(budget.output_bytes))
                    if answer.tag == frames.FAILED and answer.outcome:
                        return answer.outcome
                    # The other direction has no such guard: a program that is gone is the program's verdict.
                    with contextlib.suppress(frames.FrameError):  # a test that is gone shows at the next turn
                        check.send(answer.tag, answer.body)
                    if answer.tag != frames.PRINTED:
                        break
                    printed += len(answer.body)
                    if printed > budget.output_bytes:
                        return Outcome(Verdict.OUTPUT_LIMIT, detail=f"more than {budget.output_bytes} bytes of output")
            except frames.FrameError as error:
                return _failed(program, error)
            last = answer.outcome
        # Compared as bytes: parsing what a test sends, after a program's values have been in there, would be one
        # risk more.
        elif tag == frames.DONE and body == json.dumps(nonce).encode():
            if calls == 0:
                raise FaultyTest("it calls no function of the program, so every program would pass")
            return Outcome(Verdict.ACCEPTED)
        else:
            failure = read_failure(tag, body)
            if failure.get("phase") == ARGUMENT:
                raise FaultyTest(f"it gives the program what cannot cross the sandbox: {failure['text']}")
            return _test_failed(str(failure.get("text")), calls, last)


def _check_ended(check: Running, error: frames.FrameError, calls: int, last: Outcome | None) -> Outcome:
    """The outcome where the test ended without a word: it crashed on what the program gave it, or was stopped."""
    outcome = outcome_of(check.wait(), check.failure())
    # A test computes with the program's answers, so one that takes too long is the program's failure.
    if outcome.verdict is Verdict.TIME_LIMIT:
        outcome = outcome._replace(detail="the test took too long")
        return outcome if calls else _test_failed(outcome.detail, calls, last)
    if not outcome.sure:
        raise Broken(f"the test was ended: {outcome.detail}")
    return _test_failed(outcome.detail or str(error), calls, last)


def _test_failed(text: str, calls: int, last: Outcome | None) -> Outcome:
    """The outcome after a failed test. Raises FaultyTest where no program could have passed it."""
    # It failed before it called the program at all (a syntax error, a missing import): no program could pass.
    if calls == 0:
        raise FaultyTest(text)
    return last or Outcome(Verdict.WRONG, detail=text)
