"""Contest problems: a program is run on inputs and must give the outputs (verl 0.9.1, utils/reward_score/prime_code).

    ground_truth: '{"inputs": ["1 2\\n"], "outputs": ["3\\n"]}'                       standard input and output
                  '{"fn_name": "add", "inputs": ["1\\n2"], "outputs": ["3"]}'         a function; an argument a line
                  '{"assert_case": ["assert add(1, 2) == 3"]}'                        assertions
    response: "... ```python\\nprint(sum(map(int, input().split())))\\n```"           the last such block

1.0 when all tests pass. Else, when `continuous` (as verl's default route), the share of the first 10 that pass: so it
is these 10 alone that are run. Not `continuous`: 0.0 at the first test that fails.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from analyzer.grading.sandbox import Budget, Outcome, Sandbox, Verdict
from analyzer.rewards import register
from analyzer.rewards._common.gold import struct_gold
from analyzer.rewards.code.contest import same_output, same_value, with_int_keys
from analyzer.rewards.code.programs import NO_PROGRAM, CodeReward, no_known_program, scored
from analyzer.rewards.code.tests import called_names
from analyzer.schema import GoldError, Score

CONTINUOUS_TESTS = 10
PRELUDE = "contest"


class Case(NamedTuple):
    """One test: an input and the output to compare with, or an assertion."""

    given: Any = None  # text for standard input; a list of arguments for a function
    expected: Any = None  # text; JSON data for a function
    assertion: str = ""
    calls: tuple[str, ...] = ()  # the program's names that the assertion uses


class Tests(NamedTuple):
    """The tests of a problem."""

    function: str | None  # to be called; None for programs that read standard input, and for assertions
    cases: list[Case]


@register
class PrimeCode(CodeReward):
    """The share of tests passed by the program in the last ```python block. Option `continuous`: see above."""

    name: ClassVar[str] = "prime_code"
    data_sources: ClassVar[tuple[str, ...]] = ("codecontests", "apps", "codeforces", "taco")

    def __init__(self, continuous: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.continuous = continuous
        self._last: tuple[Any, Tests] | None = None

    def extract(self, response: str) -> str | None:
        """The text of the last ```python block, or the whole response."""
        program = response.rpartition("```python")[2].partition("```")[0]
        return program if program.strip() else None

    def check_gold(self, ground_truth: Any) -> None:
        self._tests(ground_truth)

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        function, cases = self._tests(ground_truth)
        if answer is None:
            return scored(0.0, NO_PROGRAM, passed=0, tests=len(cases))
        passed, failure = 0, None
        for case in cases:
            run = functools.partial(self._run, program=answer, function=function, case=case)
            outcome = self.in_sandbox(run)
            if outcome.verdict is Verdict.ACCEPTED:
                passed += 1
                continue
            failure = failure or outcome
            if not self.continuous or outcome.verdict is Verdict.COMPILE_ERROR:
                break  # settled
        if failure is None:
            return scored(1.0, Outcome(Verdict.ACCEPTED), passed=passed, tests=len(cases))
        reward = passed / len(cases) if self.continuous else 0.0
        return scored(reward, failure, passed=passed, tests=len(cases))

    def present(self, ground_truth: Any) -> str:
        """A program that knows the outputs by heart. Raises Unscored for assertions."""
        function, cases = self._tests(ground_truth)
        if cases[0].assertion:
            raise no_known_program()
        if function is None:
            known = {case.given: case.expected for case in cases}
            return f"```python\nprint({known!r}[sys.stdin.read()])\n```"
        known = {json.dumps(case.given): case.expected for case in cases}
        return f"```python\ndef {function}(*args):\n    return {known!r}[json.dumps(list(args))]\n```"

    def _tests(self, ground_truth: Any) -> Tests:
        """The tests to run. Raises GoldError. Those of the last ground truth are remembered."""
        last = self._last
        if last is None or last[0] is not ground_truth:
            tests = parse(struct_gold(ground_truth))
            if self.continuous:
                tests = tests._replace(cases=tests.cases[:CONTINUOUS_TESTS])
            last = self._last = (ground_truth, tests)
        return last[1]

    def _run(self, sandbox: Sandbox, program: str, function: str | None, case: Case) -> Outcome:
        """The outcome of one test, with the output compared."""
        if case.assertion:
            return sandbox.check([program], ["", case.assertion], case.calls, self.budget, PRELUDE)
        if function is None:
            budget = _with_room_for(case.expected, self.budget)
            outcome = sandbox.run_script([program], case.given.encode(errors="replace"), budget, PRELUDE)
            right = outcome.verdict is None and same_output(outcome.output.decode(errors="replace"), case.expected)
        else:
            budget = _with_room_for(json.dumps(case.expected), self.budget)
            outcome = sandbox.call([program], function, case.given, budget, PRELUDE)
            right = outcome.verdict is None and same_value(outcome.output, case.expected)
        if outcome.verdict is not None:
            return outcome
        return Outcome(Verdict.ACCEPTED) if right else Outcome(Verdict.WRONG, detail="another output than expected")


def parse(table: Mapping[str, Any]) -> Tests:
    """The tests in a ground truth. Raises GoldError."""
    assertions = table.get("assert_case")
    if isinstance(assertions, list) and assertions:
        return Tests(None, [Case(assertion=text, calls=called_names([text])) for text in assertions])
    inputs, outputs = table.get("inputs"), table.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        raise GoldError("the ground truth needs `inputs` and `outputs`, two lists of one length, or `assert_case`")
    function = table.get("fn_name")
    make = _script_case if function is None else _function_case
    return Tests(function, [make(given, expected) for given, expected in zip(inputs, outputs, strict=True)])


def _script_case(given: Any, expected: Any) -> Case:
    given, expected = ("\n".join(map(str, part)) if isinstance(part, list) else str(part) for part in (given, expected))
    return Case(given, expected)


def _function_case(given: Any, expected: Any) -> Case:
    try:
        args = [json.loads(line) for line in given.split("\n")] if isinstance(given, str) else list(given)
        value = json.loads(expected) if isinstance(expected, str) else expected
    except (ValueError, TypeError, RecursionError) as error:
        raise GoldError(f"the arguments of a test, one a line, and its output must be JSON: {error}") from None
    return Case(with_int_keys(args), with_int_keys(value))


def _with_room_for(expected: str, budget: Budget) -> Budget:
    """A budget in which the expected output fits twice."""
    return budget._replace(output_bytes=max(budget.output_bytes, 2 * len(expected.encode(errors="replace"))))
