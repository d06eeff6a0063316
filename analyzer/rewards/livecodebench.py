"""LiveCodeBench: tests of standard input and of functions, one by one, as DeepCoder and PrimeIntellect write them too.

    ground_truth: '[{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]'
                  '[{"input": "1\n2", "output": "3", "testtype": "functional", "metadata": {"func_name": "add"}}]'
                  '{"test_cases": [{"type": "function_call", "fn_name": "add", "input": [1, 2], "output": 3}]}'
    response: "... ```python\nprint(sum(map(int, input().split())))\n```"       the last fenced block

Private tests as the dataset ships them, base64 of zlib of a pickled JSON text, are read without unpickling anything.

1.0 when all tests pass, else 0.0 at the first that fails. `rule: livecodebench` (the default) compares what is printed
as LiveCodeBench does (lcb_runner/evaluation/testing_util.py): line by line without the white space around it, a line
that differs as decimal numbers, exactly. `rule: verl` compares as prime_code. What a function returns must equal the
output, a tuple counting as a list.
"""

from __future__ import annotations

import base64
import functools
import json
import pickletools
import zlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, NamedTuple

from analyzer.errors import ConfigError
from analyzer.grading.sandbox import Outcome, Sandbox, Verdict
from analyzer.grading.sandbox.inside.values import equals
from analyzer.rewards import register
from analyzer.rewards._common.gold import shown
from analyzer.rewards.code.contest import same_output
from analyzer.rewards.code.programs import NO_PROGRAM, CodeReward, by_heart, no_known_program, scored
from analyzer.schema import GoldError, Score

PRELUDE = "contest"
LISTS = ("tests", "test_cases", "public_test_cases", "private_test_cases")
"""Where a struct holds tests; all that are there count."""


class Test(NamedTuple):
    """One test: what is given, text or arguments, and what is expected, text or JSON data."""

    function: str | None
    given: Any
    expected: Any


@register
class LiveCodeBench(CodeReward):
    """Whether the program in the last fenced block passes all tests. Option `rule`: livecodebench or verl."""

    name: ClassVar[str] = "livecodebench"
    data_sources: ClassVar[tuple[str, ...]] = (
        "livecodebench",
        "livecodebench/*",
        "lcbv5",
        "deepcoder",
        "agentica-org/DeepCoder-Preview-Dataset",
        "primeintellect",
    )

    def __init__(self, rule: str = "livecodebench", **options: Any) -> None:
        super().__init__(**options)
        if rule not in RULES:
            raise ConfigError(f"livecodebench has no rule {rule!r}; there are: {', '.join(RULES)}")
        self._same = RULES[rule]

    def extract(self, response: str) -> str | None:
        """The lines between the last two that hold a fence, as LiveCodeBench takes them."""
        lines = response.split("\n")
        # Lines that hold a fence anywhere, as the benchmark's own extraction has it.
        fences = [number for number, line in enumerate(lines) if "```" in line]
        program = "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else ""
        return program if program.strip() else None

    def check_gold(self, ground_truth: Any) -> None:
        self.remembered(ground_truth, parse)

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        tests = self.remembered(ground_truth, parse)
        if answer is None:
            return scored(0.0, NO_PROGRAM, passed=0, tests=len(tests))
        # One fork per test: a program that breaks its process in one of them breaks no other.
        for passed, test in enumerate(tests):
            outcome = self.in_sandbox(functools.partial(self._run, program=answer, test=test))
            if outcome.verdict is not Verdict.ACCEPTED:
                return scored(0.0, outcome, passed=passed, tests=len(tests))
        return scored(1.0, Outcome(Verdict.ACCEPTED), passed=len(tests), tests=len(tests))

    def present(self, ground_truth: Any) -> str:
        """A program that knows the outputs by heart. Raises Unscored where a problem has tests of both kinds."""
        tests = self.remembered(ground_truth, parse)
        names = {test.function for test in tests}
        if len(names) > 1:
            raise no_known_program()
        return by_heart(names.pop(), ((test.given, test.expected) for test in tests))

    def _run(self, sandbox: Sandbox, program: str, test: Test) -> Outcome:
        budget = self.budget_for(test.expected if test.function is None else json.dumps(test.expected))
        if test.function is None:
            outcome = sandbox.run_script([program], test.given.encode(errors="replace"), budget, PRELUDE)
            same = outcome.verdict is None and self._same(outcome.output.decode(errors="replace"), test.expected)
        else:
            outcome = sandbox.call([program], test.function, test.given, budget, prelude=PRELUDE)
            same = outcome.verdict is None and same_return(outcome.output, test.expected)
        if outcome.verdict is not None:
            return outcome
        return Outcome(Verdict.ACCEPTED) if same else Outcome(Verdict.WRONG, detail="another output than expected")


def parse(ground_truth: Any) -> list[Test]:
    """The tests in a ground truth: a list, a struct that holds lists, or the JSON of one. Raises GoldError."""
    tests = _tests(ground_truth) if isinstance(ground_truth, str) else ground_truth
    name = None
    if isinstance(tests, Mapping):
        name = tests.get("fn_name") or _func_name(tests)
        parts = [_tests(part) if isinstance(part, str) else part for part in map(tests.get, LISTS) if part]
        if not all(isinstance(part, list) for part in parts):
            raise GoldError(f"tests must be lists: {shown(ground_truth)}")
        tests = [test for part in parts for test in part]
    if not isinstance(tests, list) or not tests or not all(isinstance(test, Mapping) for test in tests):
        raise GoldError(
            f"the ground truth must be a list of tests with `input` and `output`, not {shown(ground_truth)}"
        )
    return [_test(test, name) for test in tests]


def _test(test: Mapping[str, Any], name: Any) -> Test:
    if "input" not in test or "output" not in test:
        raise GoldError(f"a test needs `input` and `output`: {shown(dict(test))}")
    given, expected = test["input"], test["output"]
    kind = test.get("testtype") or test.get("type") or ("functional" if name else "stdin")
    if kind not in ("functional", "function_call"):
        texts = ("\n".join(map(str, part)) if isinstance(part, list) else str(part) for part in (given, expected))
        return Test(None, *texts)
    function = test.get("fn_name") or _func_name(test) or name
    if not isinstance(function, str):
        raise GoldError("a test of a function needs its name: metadata.func_name or fn_name")
    if isinstance(given, str):
        return Test(function, [_json(line) for line in given.split("\n")], _json(expected))
    return Test(function, given if isinstance(given, list) else [given], expected)


def _func_name(table: Mapping[str, Any]) -> Any:
    metadata = table.get("metadata")
    metadata = _json(metadata) if isinstance(metadata, str) and metadata else metadata
    return metadata.get("func_name") if isinstance(metadata, Mapping) else None


def _tests(text: str) -> Any:
    """The JSON value of a text, which may be compressed as the dataset's private_test_cases are. Raises GoldError."""
    packed = text.strip()
    if packed[:1] in ("[", "{", '"') or not packed:
        return _json(text)
    try:
        data = base64.b64decode(packed, validate=True)
        unpacker = zlib.decompressobj()
        held = unpacker.decompress(data, MOST_BYTES)
    except (ValueError, zlib.error):
        return _json(text)  # which says what is wrong with it
    if unpacker.unconsumed_tail:
        raise GoldError(f"the compressed tests are larger than {MOST_BYTES >> 20} MB")
    return _json(pickled_text(held))


def pickled_text(data: bytes) -> str:
    """The one text that a pickle holds. Raises GoldError for any other pickle.

    Nothing is unpickled: that would run what the file says. Of the pickle's instructions only those that a single
    string needs are followed, and all others refused.
    """
    texts = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _STRINGS:
                texts.append(argument)
            elif opcode.name not in _AROUND:
                raise GoldError(
                    f"the compressed tests are a pickle of more than a text ({opcode.name}): it is not loaded"
                )
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise GoldError(f"the compressed tests are not a pickle of a text: {error}") from None
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise GoldError("the compressed tests are not a pickle of one text")
    return texts[0]


MOST_BYTES = 256 << 20  # of decompressed tests: the largest of the dataset's problems hold some 100 MB
_STRINGS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"})
_AROUND = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"})


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise GoldError(f"tests, arguments (one a line) and outputs must be JSON, not {shown(text)}") from None


def same_lines(output: str, expected: str) -> bool:
    """Whether printed text counts as the expected text, by LiveCodeBench's rule."""
    lines, wanted = ([line.strip() for line in text.strip().split("\n")] for text in (output, expected))
    return len(lines) == len(wanted) and all(map(_same_line, lines, wanted))


def _same_line(line: str, wanted: str) -> bool:
    if line == wanted:
        return True
    try:
        # Decimal, as there: 1.0 is 1, and 0.1 is not 0.1000001.
        return [*map(Decimal, line.split())] == [*map(Decimal, wanted.split())]
    except InvalidOperation:
        return False


def same_return(packed: bytes, expected: Any) -> bool:
    """Whether what a function returned, packed, is the expected JSON data; a tuple counts as a list."""
    value = json.loads(packed)
    # Packed form: ["t", ...] is a tuple and ["l", ...] a list; only the outermost is forgiven.
    if isinstance(value, list) and value[:1] == ["t"]:
        value[0] = "l"
    return equals(value, expected)


RULES = {"livecodebench": same_lines, "verl": same_output}
