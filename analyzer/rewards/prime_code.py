"""Contest problems: a program is run on inputs and must give the outputs (verl 0.9.1, utils/reward_score/prime_code).

    ground_truth: '{"inputs": ["1 2\\n"], "outputs": ["3\\n"]}'                       standard input and output
                  '{"fn_name": "add", "inputs": ["1\\n2"], "outputs": ["3"]}'         a function; an argument a line
                  '{"assert_case": ["assert add(1, 2) == 3"]}'                        assertions
    response: "... ```python\\nprint(sum(map(int, input().split())))\\n```"           the last such block

1.0 when all tests pass. Else, when `continuous` (as verl's default route), the share of the first 10 that pass: so it
is these 10 alone that are run. Not `continuous`: 0.0 at the first test that fails.

By default all is as in verl, whatever its authors may have meant: every program fails a test whose input or output is
no text, or whose function returns a number of numpy's; outputs beyond the inputs are not looked at, with fewer nothing
passes; and for the share, the program of a function is run as a script. With the option `lenient` a list of arguments
is one, lists of lines and numbers are their text, numpy's numbers are numbers, and the share is that of the calls.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from analyzer.grading.sandbox import Outcome, Sandbox, Verdict
from analyzer.rewards import register
from analyzer.rewards._common.gold import struct_gold
from analyzer.rewards.code.contest import same_output, same_value, verls_int_keys, with_int_keys
from analyzer.rewards.code.programs import NO_PROGRAM, CodeReward, by_heart, no_known_program, scored
from analyzer.rewards.code.tests import called_names, names_of_program, refuse_one_sided
from analyzer.schema import GoldError, Score

CONTINUOUS_TESTS = 10
PRELUDE = "contest"


class Case(NamedTuple):
    """One test: an input and the output to compare with, or an assertion."""

    given: Any = None  # text for standard input; a list of arguments for a function
    expected: Any = None  # text; JSON data for a function
    assertion: str = ""
    hopeless: bool = False  # every program fails it
    calls: tuple[str, ...] = ()  # the program's names that the assertion uses


class Tests(NamedTuple):
    """The tests of a problem."""

    function: str | None  # to be called; None for programs that read standard input, and for assertions
    cases: list[Case]
    scripts: Sequence[Case] = ()  # what verl's share is of, where a function fails a case


@register
class PrimeCode(CodeReward):
    """The share of tests passed by the program in the last ```python block. Options `continuous`, `lenient`: above."""

    name: ClassVar[str] = "prime_code"
    data_sources: ClassVar[tuple[str, ...]] = ("codecontests", "apps", "codeforces", "taco")

    def __init__(self, continuous: bool = True, lenient: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.continuous = continuous
        self.lenient = lenient

    def extract(self, response: str) -> str | None:
        """The text of the last ```python block, or the whole response."""
        program = response.rpartition("```python")[2].partition("```")[0]
        return program if program.strip() else None

    def check_gold(self, ground_truth: Any) -> None:
        self._tests(ground_truth)

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        function, cases, scripts = self._tests(ground_truth)
        if answer is None:
            return scored(0.0, NO_PROGRAM, passed=0, tests=len(cases))
        share = self.continuous and not scripts
        passed, failure = self._count(answer, function, cases, to_the_end=share)
        if failure is None:
            return scored(1.0, Outcome(Verdict.ACCEPTED), passed=passed, tests=len(cases))
        reward = passed / len(cases) if share else 0.0
        if scripts and self.continuous and failure.verdict is not Verdict.COMPILE_ERROR:
            reward = self._count(answer, None, scripts, to_the_end=True)[0] / len(scripts)
        return scored(reward, failure, passed=passed, tests=len(cases))

    def _count(
        self, program: str, function: str | None, cases: Sequence[Case], to_the_end: bool
    ) -> tuple[int, Outcome | None]:
        """How many tests it passes, and the first failure; `to_the_end`: also after that one."""
        passed, failure = 0, None
        for case in cases:
            outcome = self.in_sandbox(functools.partial(self._run, program=program, function=function, case=case))
            if outcome.verdict is Verdict.ACCEPTED:
                passed += 1
                continue
            failure = failure or outcome
            if not to_the_end or outcome.verdict is Verdict.COMPILE_ERROR:
                break  # settled
        return passed, failure

    def present(self, ground_truth: Any) -> str:
        """A program that knows the outputs by heart. Raises Unscored for assertions."""
        function, cases, _ = self._tests(ground_truth)
        if cases[0].assertion or any(case.hopeless for case in cases):
            raise no_known_program()
        return by_heart(function, ((case.given, case.expected) for case in cases))

    def _tests(self, ground_truth: Any) -> Tests:
        """The tests to run. Raises GoldError."""
        return self.remembered(ground_truth, self._read)

    def _read(self, ground_truth: Any) -> Tests:
        try:
            tests = parse(struct_gold(ground_truth), self.lenient)
        except GoldError as error:
            if isinstance(ground_truth, list) or str(ground_truth).lstrip().startswith("["):
                raise GoldError(f"{error}; a list of tests is what the reward livecodebench reads") from None
            raise
        return tests._replace(cases=tests.cases[:CONTINUOUS_TESTS]) if self.continuous and not tests.scripts else tests

    def _run(self, sandbox: Sandbox, program: str, function: str | None, case: Case) -> Outcome:
        """The outcome of one test, with the output compared."""
        if case.hopeless:
            return Outcome(Verdict.WRONG, detail="no program passes this test in verl (option `lenient`)")
        if case.assertion:
            names = names_of_program(program, case.calls)
            return sandbox.check([program], ["", case.assertion], names, self.budget, PRELUDE)
        if function is None:
            budget = self.budget_for(case.expected)
            outcome = sandbox.run_script([program], case.given.encode(errors="replace"), budget, PRELUDE)
            right = outcome.verdict is None and same_output(outcome.output.decode(errors="replace"), case.expected)
        else:
            budget = self.budget_for(json.dumps(case.expected))
            outcome = sandbox.call([program], function, case.given, budget, prelude=PRELUDE, as_json=not self.lenient)
            right = outcome.verdict is None and same_value(outcome.output, case.expected)
        if outcome.verdict is not None:
            return outcome
        return Outcome(Verdict.ACCEPTED) if right else Outcome(Verdict.WRONG, detail="another output than expected")


def parse(table: Mapping[str, Any], lenient: bool = False) -> Tests:
    """The tests in a ground truth. Raises GoldError."""
    assertions = table.get("assert_case")
    if isinstance(assertions, list) and assertions:
        if not all(isinstance(text, str) for text in assertions):
            raise GoldError("`assert_case` must be a list of texts")
        refuse_one_sided(assertions)
        return Tests(None, [Case(assertion=text, calls=called_names([text])) for text in assertions])
    inputs, outputs, function = table.get("inputs"), table.get("outputs"), table.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs:
        raise GoldError("the ground truth needs `inputs` and `outputs`, two lists, or `assert_case`")
    if lenient:
        if len(inputs) != len(outputs):
            raise GoldError(f"the ground truth has {len(inputs)} `inputs` and {len(outputs)} `outputs`")
        make = _lenient_script_case if function is None else _lenient_function_case
        return Tests(function, [make(given, expected) for given, expected in zip(inputs, outputs, strict=True)])
    if len(outputs) < len(inputs):
        return Tests(function, [Case(hopeless=True)] * len(inputs))
    pairs = list(zip(inputs, outputs, strict=False))
    scripts = [_script_case(*pair) for pair in pairs]
    if function is None:
        return Tests(None, scripts)
    return Tests(function, [_function_case(*pair) for pair in pairs], scripts[:CONTINUOUS_TESTS])


def _script_case(given: Any, expected: Any) -> Case:
    if not isinstance(given, str) or not isinstance(expected, str):
        return Case(hopeless=True)
    return Case(given, expected)


def _lenient_script_case(given: Any, expected: Any) -> Case:
    given, expected = ("\n".join(map(str, part)) if isinstance(part, list) else str(part) for part in (given, expected))
    return Case(given, expected)


def _function_case(given: Any, expected: Any) -> Case:
    if not isinstance(given, str) or not isinstance(expected, str):
        return Case(hopeless=True)
    args, value = _read([*given.split("\n")]), _read([expected])[0]
    return Case(verls_int_keys(args), verls_int_keys(value))


def _lenient_function_case(given: Any, expected: Any) -> Case:
    args = _read(given.split("\n")) if isinstance(given, str) else given if isinstance(given, list) else [given]
    value = _read([expected])[0] if isinstance(expected, str) else expected
    return Case(with_int_keys(args), with_int_keys(value))


def _read(lines: list[str]) -> list[Any]:
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise GoldError(f"the arguments of a test, one a line, and its output must be JSON: {error}") from None
