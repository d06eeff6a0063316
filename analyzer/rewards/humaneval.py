"""HumanEval and MBPP: a function must pass the test code that comes with the problem.

    ground_truth: '{"entry_point": "add", "prompt": "def add(a, b):\n    \\"\\"\\"Sum.\\"\\"\\"\n",
                    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n"}'
                  '{"test_list": ["assert add(1, 2) == 3"], "test_setup_code": ""}'       as MBPP has it
    response: "```python\ndef add(a, b):\n    return a + b\n```"    a program, or the body of the prompt's function

1.0 when the test passes, else 0.0. The test runs in a sandbox of its own: there the entry point stands for the function
in the program's sandbox, and plain values cross. So it finds the helpers of the prompt, and no trick of the program's.
Other functions that the test calls and neither it nor the prompt defines are the program's too.

As in the benchmarks' own runners a program that forgets an import fails; what the prompt and the test import is there.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from analyzer.rewards import register
from analyzer.rewards._common.gold import struct_gold
from analyzer.rewards.code.programs import NO_PROGRAM, CodeReward, no_known_program, scored
from analyzer.rewards.code.tests import (
    PRELUDE,
    called_names,
    defines,
    functions_of,
    imports_of,
    names_called,
    names_defined,
    names_of_program,
    only_functions,
    refuse_one_sided,
    undefined_names,
)
from analyzer.schema import GoldError, Score

_BLOCK = re.compile(r"```(?:python|py|Python)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


class Tests(NamedTuple):
    """The test of a problem: `sources` are executed one after another where `entry_points` stand for the program's."""

    entry_points: tuple[str, ...]
    sources: list[str]  # the first is the prompt, or what else the tests need
    prompt: str
    imports: tuple[str, str]  # of the prompt and of the tests, which a program finds before and after its own code


class FunctionReward(CodeReward):
    """Whether the program in a response passes the test code. Option `imports`: common modules need no import."""

    def __init__(self, imports: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._prelude = PRELUDE if imports else "none"

    def extract(self, response: str) -> tuple[str, ...] | None:
        """All fenced blocks, or the whole response where there are none."""
        # All blocks, not the last: models often show a usage example after the solution.
        blocks = tuple(block for block in _BLOCK.findall(response) if block.strip())
        return blocks or ((response,) if response.strip() else None)

    def answer_text(self, answer: tuple[str, ...] | None) -> str | None:
        return None if answer is None else "\n".join(answer)

    def read(self, table: Mapping[str, Any]) -> Tests:
        """The tests in a ground truth. Raises GoldError."""
        return parse(table)

    def _tests(self, ground_truth: Any) -> Tests:
        return self.remembered(ground_truth, lambda gold: self.read(struct_gold(gold)))

    def check_gold(self, ground_truth: Any) -> None:
        self._tests(ground_truth)

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        if answer is None:
            return scored(0.0, NO_PROGRAM)
        tests = self._tests(ground_truth)
        before, after = tests.imports
        program = compose(answer, tests)
        sources, names = [before, program, after], names_of_program(program, tests.entry_points)
        outcome = self.in_sandbox(
            lambda sandbox: sandbox.check(sources, tests.sources, names, self.budget, self._prelude)
        )
        return scored(float(outcome.verdict == "accepted"), outcome)

    def present(self, ground_truth: Any) -> str:
        """The data's own solution. Raises Unscored where it has none."""
        table = struct_gold(ground_truth)
        solution = table.get("canonical_solution") or table.get("code")
        if not isinstance(solution, str):
            raise no_known_program()
        return f"```python\n{solution.rstrip()}\n```"


@register
class HumanEval(FunctionReward):
    """HumanEval's test: `check(candidate)`."""

    name: ClassVar[str] = "humaneval"
    data_sources: ClassVar[tuple[str, ...]] = ("humaneval", "openai/openai_humaneval", "openai_humaneval")


@register
class Mbpp(FunctionReward):
    """MBPP's test: a list of assertions."""

    name: ClassVar[str] = "mbpp"
    data_sources: ClassVar[tuple[str, ...]] = ("mbpp", "google-research-datasets/mbpp")


def compose(blocks: tuple[str, ...], tests: Tests) -> str:
    """The program to run: the last block that defines the entry point, else the last one as the body of the prompt."""
    for name in tests.entry_points:
        for block in reversed(blocks):
            if defines(block, name):
                return block
    body = blocks[-1]
    if not tests.prompt:
        return body
    # A completion in the benchmark's own form: the body alone, as it goes on after the prompt.
    starts_indented = re.match(r"\s*\n[ \t]|[ \t]", body)
    return tests.prompt.rstrip() + "\n" + (body if starts_indented else textwrap.indent(body, "    "))


def parse(table: Mapping[str, Any]) -> Tests:
    """The tests in a ground truth. Raises GoldError."""
    test = table.get("test") or table.get("test_list")
    tests = [test] if isinstance(test, str) else test
    prompt, setup = table.get("prompt") or "", table.get("test_setup_code") or ""
    if not isinstance(tests, list) or not tests or not all(isinstance(text, str) for text in (*tests, prompt, setup)):
        raise GoldError("the ground truth needs `test` (text) or `test_list` (texts), and `prompt` as text if any")
    entry_point = table.get("entry_point")
    if not isinstance(entry_point, str | None):
        raise GoldError("`entry_point` must be text")
    refuse_one_sided([setup, *tests])
    stub = _stub(prompt, entry_point)
    entry_points = _entry_points([setup, *tests], entry_point, stub)
    checks = [f"check({entry_points[0]})"] if any("check" in functions_of(text) for text in tests) else []
    imports = imports_of(stub), "\n".join(imports_of(text) for text in (setup, *tests))
    return Tests(entry_points, [stub, setup, *tests, *checks], prompt if stub else "", imports)


def _stub(prompt: str, entry_point: str | None) -> str:
    """The prompt as code that defines its helpers and a stub of the function; "" for a prompt in plain words."""
    # A prompt that ends in a docstring is a whole function; one that ends in a comment needs a body.
    for code in (prompt, prompt.rstrip() + "\n    pass\n"):
        try:
            if entry_point in functions_of(code):
                return code
        except GoldError:
            continue
    return ""


def _entry_points(sources: list[str], entry_point: str | None, stub: str) -> tuple[str, ...]:
    """The program's functions, the entry point first. Raises GoldError for another name that nobody defines."""
    if entry_point is None:
        return called_names(sources)
    missing = undefined_names(sources, [*names_defined(stub), entry_point, "candidate"])
    # A name that is only read, not called, cannot be a function of the program's by reference: values alone
    # cross.
    if unknown := sorted({*missing} - names_called(sources).keys()):
        raise GoldError(f"the test uses {', '.join(unknown)}, defined neither by it nor by the prompt")
    return (entry_point, *only_functions(missing, sources))
