"""The examples in docstrings are true: each is executed as it stands.

    call(...)  ->  value, and what a person may want to know        evaluated among the names of its module
    "a response"   with ground truth "x"   ->   1.0                  scored by the reward of its module
    name = call(...)                                                 the lines of an indented block, in order;
    call(...)      # value                                           a comment that is a value must be the result

In the first two forms a backslash stands for itself unless another one or an n follows (but \\neq), so that LaTeX can
be written as it is read.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer import rewards
from analyzer.errors import SandboxError
from analyzer.grading import Limits
from analyzer.grading.sandbox import choose_level
from analyzer.grading.sandbox.inside import program
from analyzer.grading.sandbox.inside.preludes import PRELUDES
from analyzer.rewards import BaseReward
from analyzer.schema import Problem
from analyzer.scoring import Scorer

CALL = re.compile(r"^ {4,}(?P<call>[A-Za-z_][\w.]*[(\[].*?[)\]])\s+->\s+(?P<value>\S.*)$", re.MULTILINE)
SCORED = re.compile(
    r'^ {4}(?P<response>".*")\s+with (?:ground truth )?(?P<golds>["{].*?)\s+->\s+(?P<value>-?\d.*)$', re.MULTILINE
)
BLOCKS = (
    "analyzer.grading",
    "analyzer.grading.sandbox",
    "analyzer.grading.sandbox.box",
    "analyzer.grading.sandbox.judge",
    "analyzer.grading.sandbox.inside.values",
    "analyzer.scoring",
)
NAMES = {
    "analyzer.grading": "from analyzer.grading.supervisor import Supervisor; from analyzer.schema import Status",
    "analyzer.grading.sandbox.box": "from analyzer.grading.sandbox.levels import find_level, open_box",
    "analyzer.grading.sandbox.judge": "from analyzer.grading.sandbox.levels import find_level",
    "analyzer.rewards.math_verify.evaluation": "from sympy import Integer, Symbol; x = Symbol('x')",
    "analyzer.scoring": "from analyzer.rewards.gsm8k import Gsm8k; from contextlib import closing; reward = Gsm8k()\n"
    "from analyzer.grading import Limits; from analyzer.schema import Problem",
}
"""What an example takes for granted beside the names of its own module."""


@functools.cache
def documented() -> list[tuple[str, str]]:
    """(module, docstring) of every docstring in analyzer/; the sources are parsed, nothing is imported."""
    found = []
    root = Path(analyzer.__file__).parent
    for module in pkgutil.walk_packages([str(root)], "analyzer."):
        path = root.parent / module.name.replace(".", "/")
        source = (path / "__init__.py" if module.ispkg else path.with_suffix(".py")).read_text("utf-8")
        if CALL.search(source) or SCORED.search(source):  # to parse all takes a tenth of the time of the collection
            found += [(module.name, text) for text in docstrings(ast.parse(source))]
    return found


def docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """Those of a module, class or function and of what is defined in it, but for what stands below an `if`."""
    if text := ast.get_docstring(node, False):
        yield text
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef):
            yield from docstrings(inner)


def unescaped(text: str) -> str:
    """Python source in which a lone backslash stands for itself."""
    return re.sub(r"\\\\|\\n(?![a-z])|\\", lambda slash: slash[0] if len(slash[0]) > 1 else "\\\\", text)


def names_of(module: str) -> dict[str, Any]:
    names = dict(vars(importlib.import_module(module)))
    exec(NAMES.get(module, ""), names)
    return names


def value_in(text: str, names: dict[str, Any]) -> Any:
    """The value that a text begins with: the longest beginning, up to a comma or two spaces, that can be evaluated."""
    ends = [len(text), *(found.start() for found in re.finditer(r",|\s{2,}|;", text))]
    for end in sorted(ends, reverse=True):
        try:
            return eval(text[:end], names)
        except (SyntaxError, NameError):
            continue
    raise AssertionError(f"no value: {text}")


CALLS = [(module, found["call"], found["value"]) for module, text in documented() for found in CALL.finditer(text)]
RESPONSES = [
    (module, found["response"], found["golds"], found["value"])
    for module, text in documented()
    for found in SCORED.finditer(text)
]


@pytest.mark.parametrize(("module", "call", "value"), CALLS)
def test_a_call_returns_what_the_docstring_says(module: str, call: str, value: str) -> None:
    names = names_of(module)
    assert eval(unescaped(call), names) == value_in(unescaped(value), names)


def reward_of(module: str) -> BaseReward:
    importlib.import_module(module)
    name = next(name for name in rewards.names() if rewards.find(name).__module__ == module)
    return rewards.build(name)


def golds_in(text: str) -> list[Any]:
    """The ground truths of an example: "a", ["a", "b"], {"target": ...}, or several with "or" between them."""
    return [json.loads(unescaped(part)) for part in re.split(r"(?<=[\"\]}]) or (?=[\"\[{])", text)]


@pytest.mark.parametrize(("module", "response", "golds", "value"), RESPONSES)
def test_a_response_earns_what_the_docstring_says(
    module: str, response: str, golds: str, value: str, warm_zygotes: None
) -> None:
    with closing(Scorer(reward_of(module), Limits())) as scorer:
        for gold in golds_in(golds):
            (score,) = scorer.score(Problem("", gold), [ast.literal_eval(unescaped(response))])
            assert score.reward == pytest.approx(value_in(value, {}), abs=5e-4), score
            if predicted := re.search(r'pred "(.*)"', value):
                assert score.extra["pred"] == predicted[1]


@pytest.mark.parametrize("module", BLOCKS)
def test_the_lines_of_an_example_do_what_they_say(module: str) -> None:
    text = importlib.import_module(module).__doc__ or ""
    block = re.search(r"^(?: {4}.*\n|\n(?= {4}))+", text[text.index("\n\n") + 2 :] + "\n", re.MULTILINE)
    assert block is not None
    source, names = textwrap.dedent(block[0]), names_of(module)
    if "_level(" in source:
        try:
            level = choose_level()
        except SandboxError as error:
            pytest.skip(str(error))
        source = source.replace('"strict"', repr(level.name))
    checked: list[tuple[Any, Any]] = []
    names["_checked"] = checked
    lines = []
    for line in source.splitlines():
        code, _, said = line.partition("  #")
        try:
            expected = ast.unparse(ast.parse(said.strip(), mode="eval").body)
            ast.parse(code.strip(), mode="eval")
        except SyntaxError:
            lines.append(line)
            continue
        indent = code[: len(code) - len(code.lstrip())]
        lines.append(f"{indent}_checked.append(({code.strip()}, {expected}))")
    exec("\n".join(lines), names)
    assert checked
    assert [result for result, _ in checked] == [expected for _, expected in checked]


def test_the_job_in_the_docstring_is_one_that_programs_are_given() -> None:
    found = re.search(r"A job: (\{.*?), \.\.\.", program.__doc__ or "")
    assert found is not None
    job = json.loads(found[1] + "}")
    assert job["prelude"] in PRELUDES
    assert set(job) == {"mode", "prelude", "sources"}


def test_examples_are_found() -> None:
    """A pattern that finds nothing would prove everything."""
    assert len(CALLS) >= 20
    assert len({module for module, *_ in RESPONSES}) >= 13
