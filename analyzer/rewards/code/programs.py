"""What the rewards that run programs share: their options, the sandbox, and the words of a verdict."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

from analyzer.errors import SandboxError
from analyzer.grading import sandbox as boxes
from analyzer.rewards import Reward, Where
from analyzer.schema import GoldError, Score, Status, Unscored

HOW_TO_ALLOW = (
    "rewards for code run programs that a model wrote: allow it with --allow_code_execution "
    "(allow_code_execution: true in a configuration); docs/sandbox.md says what they can and cannot do"
)


_Tests = TypeVar("_Tests")


class CodeReward(Reward):
    """A reward that runs the program in a response. Options, beside what a subclass adds:

    allow_code_execution  must be true, else SandboxError
    sandbox               auto, strict, landlock or rlimits
    code_timeout          CPU seconds of one test
    memory_mb             address space of one program
    output_mb             what it may print or return
    """

    where: ClassVar[Where] = Where.SANDBOX
    expects = "a Python program"

    def __init__(
        self,
        allow_code_execution: bool = False,
        sandbox: str = boxes.AUTO,
        code_timeout: float = 6.0,
        memory_mb: int = 1024,
        output_mb: float = 1.0,
    ) -> None:
        if not allow_code_execution:
            raise SandboxError(HOW_TO_ALLOW)
        self._level = None if sandbox == boxes.AUTO else boxes.find_level(sandbox)
        self.budget = boxes.Budget(code_timeout, memory_mb << 20, int(output_mb * (1 << 20)))
        self._last: tuple[Any, Any] | None = None

    def load(self) -> None:
        """Find the sandbox level and prove it. Raises SandboxError where it, or the memory, is not available."""
        self._check_memory()
        self._level = boxes.choose_level(self._level.name if self._level else None)

    def remembered(self, ground_truth: Any, read: Callable[[Any], _Tests]) -> _Tests:
        """The tests that `read` finds in a ground truth; the last ones are remembered. Raises what it raises."""
        # The tests of a problem may be megabytes, and are asked for once per distinct answer. By identity: to compare
        # two ground truths costs as much as to read one.
        last = self._last
        if last is None or last[0] is not ground_truth:
            last = self._last = (ground_truth, read(ground_truth))
        tests: _Tests = last[1]
        return tests

    def budget_for(self, expected: str) -> boxes.Budget:
        """The budget of a test, with room for twice the expected output, however long that is."""
        room = 2 * len(expected.encode(errors="replace"))
        return self.budget._replace(output_bytes=max(self.budget.output_bytes, room))

    def _check_memory(self) -> None:
        # A limit of the job's own cannot be raised for a program, and a lower one makes right programs fail.
        limit = resource.getrlimit(resource.RLIMIT_AS)[1]
        if limit != resource.RLIM_INFINITY and limit < self.budget.memory_bytes:
            raise SandboxError(
                f"programs may take {self.budget.memory_bytes >> 20:,} MB (memory_mb), and `ulimit -v` allows "
                f"{limit >> 20:,} MB; allow more, `ulimit -v unlimited`, or lower memory_mb"
            )

    def in_sandbox(self, act: Callable[[boxes.Sandbox], boxes.Outcome]) -> boxes.Outcome:
        """What `act` makes of this thread's sandbox. Raises Unscored when that fails, GoldError when a test does."""
        try:
            # In a worker load() was not called: it chooses here, once.
            self._check_memory()
            level = self._level or boxes.choose_level()
            self._level = level
            return act(boxes.sandbox_here(level))
        except (boxes.Unavailable, SandboxError) as error:
            raise Unscored(Status.SANDBOX_UNAVAILABLE, str(error)) from None
        except boxes.Held as error:
            raise Unscored(Status.TIMEOUT, str(error)) from None
        except boxes.FaultyTest as error:
            raise GoldError(f"the test itself fails: {error}") from None


def scored(reward: float, outcome: boxes.Outcome, **extra: Any) -> Score:
    """The Score of a program, with its verdict as a further column."""
    verdict = outcome.verdict or boxes.Verdict.ACCEPTED
    found = verdict is not boxes.Verdict.COMPILE_ERROR
    return Score(reward, found=found, extra={"verdict": str(verdict), **extra}, detail=outcome.detail)


NO_PROGRAM = boxes.Outcome(boxes.Verdict.COMPILE_ERROR, detail="no program in the response")


def by_heart(function: str | None, tests: Iterable[tuple[Any, Any]]) -> str:
    """A response whose program knows the outputs of tests, (input, output) each, by heart; for `present`.

    function: what is called with the input as its arguments; None for a program that reads and prints text.
    """
    if function is None:
        return f"```python\nprint({dict(tests)!r}[sys.stdin.read()])\n```"
    known = {json.dumps(given): expected for given, expected in tests}
    return f"```python\ndef {function}(*args):\n    return {known!r}[json.dumps(list(args))]\n```"


def no_known_program() -> Unscored:
    """What `present` raises where the ground truth holds tests and no program that passes them."""
    return Unscored(Status.ABSTAIN, "the ground truth has tests, but no program that passes them")
