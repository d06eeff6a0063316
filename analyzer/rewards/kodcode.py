"""KodCode: a module must pass the tests that come with the problem, written for pytest.

    ground_truth: '{"test": "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"}'
    response: "```python\ndef add(a, b):\n    return a + b\n```"

1.0 when every function `test_*` passes, else 0.0 (KodCode/KodCode-V1: column `test`). What the tests import from the
module `solution` stands for the function in the program's sandbox; plain values cross. Of pytest there are `raises`,
`approx` of numbers, lists and dicts, and `mark.parametrize`; fixtures are a gold_error.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, ClassVar

from analyzer.rewards import register
from analyzer.rewards.code.tests import imports_of, names_called, only_functions, parsed, undefined_names
from analyzer.rewards.humaneval import FunctionReward, Tests
from analyzer.schema import GoldError

MODULE = "solution"
PYTEST = """
import math as _math
import re as _re

class _Raises:
    def __init__(self, expected, match):
        self.expected, self.match = expected, match
    def __enter__(self):
        return self
    def __exit__(self, kind, value, trace):
        assert kind is not None, "did not raise"
        self.type, self.value = kind, value
        return issubclass(kind, self.expected) and (self.match is None or _re.search(self.match, str(value)))

def _near(expected, value, limit, nan_ok):
    if isinstance(expected, dict):
        return (isinstance(value, dict) and expected.keys() == value.keys()
                and all(_near(expected[key], value[key], limit, nan_ok) for key in expected))
    if isinstance(expected, (list, tuple)):
        return (isinstance(value, (list, tuple)) and len(expected) == len(value)
                and all(_near(e, v, limit, nan_ok) for e, v in zip(expected, value)))
    if value == expected:
        return True
    numbers = (int, float, complex)
    if not isinstance(expected, numbers) or not isinstance(value, numbers):
        return False
    if _math.isnan(abs(expected)):
        return nan_ok and _math.isnan(abs(value))
    return not _math.isinf(abs(expected)) and abs(value - expected) <= limit(expected)

class pytest:
    @staticmethod
    def raises(expected, *call, match=None, **kwargs):
        context = _Raises(expected, match)
        if not call:
            return context
        with context:
            call[0](*call[1:], **kwargs)
        return context
    class approx:
        def __init__(self, expected, rel=None, abs=None, nan_ok=False):
            self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok
        def _limit(self, expected):
            absolute = 1e-12 if self.abs is None else self.abs
            if self.rel is None and self.abs is not None:
                return absolute
            return max((1e-6 if self.rel is None else self.rel) * abs(expected), absolute)
        def __eq__(self, value):
            return _near(self.expected, value, self._limit, self.nan_ok)
    @staticmethod
    def param(*values, **kwargs):
        return values if len(values) > 1 else values[0]
    class mark:
        @staticmethod
        def parametrize(names, rows, ids=None):
            names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
            def decorate(test):
                def run(**given):
                    for row in rows:
                        test(**given, **dict(zip(names, row if len(names) > 1 else [row])))
                return run
            return decorate
"""
"""What of pytest tests may use: none of it is in the sandbox."""


def _of_the_stub(node: ast.stmt) -> ast.stmt:
    """`from pytest import raises` as `raises = pytest.raises`; any other statement as it is."""
    if not isinstance(node, ast.ImportFrom) or node.module != "pytest":
        return node
    taken = ", ".join(f"pytest.{alias.name}" for alias in node.names)
    return ast.parse(f"{', '.join(alias.asname or alias.name for alias in node.names)} = {taken}").body[0]


@register
class KodCode(FunctionReward):
    """Whether the program in a response passes the tests. Options as humaneval."""

    name: ClassVar[str] = "kodcode"
    data_sources: ClassVar[tuple[str, ...]] = ("kodcode", "KodCode/*")

    def read(self, table: Mapping[str, Any]) -> Tests:
        """The tests in a ground truth. Raises GoldError."""
        test = table.get("test")
        if not isinstance(test, str):
            raise GoldError("the ground truth needs `test`, the text of a file of tests")
        tree = parsed(test)
        ours = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == MODULE]
        names = [alias.asname or alias.name for node in ours for alias in node.names]
        if "*" in names or any(alias.asname for node in ours for alias in node.names):
            raise GoldError(f"the test must import its functions from `{MODULE}` by their own names")
        # What the tests import from `solution` is not there to be imported; the names are put in as remote
        # functions.
        stubbed = [
            node
            for node in tree.body
            if isinstance(node, ast.Import) and [alias.name for alias in node.names] == ["pytest"]
        ]
        tree.body = [_of_the_stub(node) for node in tree.body if node not in ours and node not in stubbed]
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
        if not functions:
            raise GoldError("the test has no function test_*")
        for function in functions:
            # parametrize fills arguments; without a decorator they are fixtures, which only pytest can make.
            if len(function.args.args) > 0 and not function.decorator_list:
                raise GoldError(f"{function.name} takes a fixture; fixtures are not supported")
        text = ast.unparse(tree)
        missing = undefined_names([text], [*names, "pytest"])
        functions_of_program = dict.fromkeys([*names, *(name for name in missing if name in names_called([text]))])
        called = only_functions(tuple(functions_of_program), [text])
        if not called:
            raise GoldError(f"the test imports nothing from `{MODULE}`")
        calls = [f"{function.name}()" for function in functions]
        return Tests(called, [PYTEST, text, *calls], "", ("", imports_of(text)))
