"""KodCode: a module must pass the tests that come with the problem, written for pytest.

    ground_truth: '{"test": "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"}'
    response: "```python\ndef add(a, b):\n    return a + b\n```"

1.0 when every test passes, else 0.0 (KodCode/KodCode-V1: column `test`). What the tests take from the module `solution`
stands for the function in the program's sandbox. Of pytest they find what code/pytest_names.py has: functions and
classes of tests, coroutines, fixtures, `parametrize`, `raises`, `approx` and more. What it lacks is a gold_error.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from analyzer.rewards import register
from analyzer.rewards.code import pytest_names
from analyzer.rewards.code.tests import (
    imports_of,
    names_called,
    only_functions,
    parsed,
    refuse_one_sided,
    undefined_names,
)
from analyzer.rewards.humaneval import FunctionReward, Tests
from analyzer.schema import GoldError

MODULE = "solution"
PYTEST = f"""
import sys, types
sys.modules["pytest"] = types.ModuleType("pytest")
exec({inspect.getsource(pytest_names)!r}, sys.modules["pytest"].__dict__)
"""
_AROUND = ("setup_module", "teardown_module", "setup_function", "teardown_function")
RUNNER = "__import__('pytest')"


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
        names = _take_from_solution(tree)
        tests = _tests_of(tree)
        if not tests:
            raise GoldError("the test has no function test_*")
        _refuse_what_is_missing(tree)
        text = ast.unparse(ast.fix_missing_locations(tree))
        refuse_one_sided([text])
        missing = undefined_names([text], names)
        functions_of_program = dict.fromkeys([*names, *(name for name in missing if name in names_called([text]))])
        called = only_functions(tuple(functions_of_program), [text])
        if not called:
            raise GoldError(f"the test imports nothing from `{MODULE}`")
        # What cannot run is found before the first call, so that no program's answer decides whether it is.
        calls = [f"{RUNNER}.refuse([{', '.join(tests)}])", *(f"{RUNNER}.run({name})" for name in tests)]
        imports = [line for line in imports_of(text).split("\n") if "pytest" not in line]
        return Tests(called, [PYTEST, text, *calls], "", ("", "\n".join(imports)))


def _take_from_solution(tree: ast.Module) -> list[str]:
    """The names that tests take from the program's module, whose imports are replaced. Raises GoldError."""
    names: list[str] = []
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ =="):
            continue  # pytest does not run it
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            names += [alias.name for alias in node.names]
            body += [ast.parse(f"{alias.asname} = {alias.name}").body[0] for alias in node.names if alias.asname]
        elif isinstance(node, ast.Import) and (ours := [alias for alias in node.names if alias.name == MODULE]):
            name = ours[0].asname or MODULE
            used = dict.fromkeys(attribute for owner, attribute in _attributes(tree) if owner == name)
            names += used
            members = ", ".join(f"{attribute}={attribute}" for attribute in used)
            body += ast.parse(f"{name} = __import__('types').SimpleNamespace({members})").body
            node.names = [alias for alias in node.names if alias.name != MODULE]
            body += [node] if node.names else []
        else:
            body.append(node)
    if "*" in names:
        raise GoldError(f"the test must import its functions from `{MODULE}` by their names")
    tree.body = body
    return list(dict.fromkeys(names))


def _tests_of(tree: ast.Module) -> list[str]:
    """The functions and classes of tests, in their order. Raises GoldError."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name in _AROUND:
                raise GoldError(f"the test has {node.name}, which is not supported")
            names += [node.name] if node.name.startswith("test") else []
        elif isinstance(node, ast.ClassDef):
            of_unittest = any(ast.unparse(base).endswith("TestCase") for base in node.bases)
            if not of_unittest and node.name.startswith("Test") and node.bases:
                raise GoldError(f"the class of tests {node.name} has a base class, which is not supported")
            if of_unittest or node.name.startswith("Test"):
                names.append(node.name)
                if any(isinstance(inner, ast.ClassDef) and inner.name.startswith("Test") for inner in node.body):
                    raise GoldError(f"the class of tests {node.name} holds another one, which is not supported")
    return names


def _attributes(tree: ast.Module) -> list[tuple[str, str]]:
    """Each `name.attribute` in it."""
    return [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]


def _refuse_what_is_missing(tree: ast.Module) -> None:
    """Raises GoldError for what of pytest the tests use and pytest_names.py has not. Fixtures are looked at there."""
    used = _attributes(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pytest":
            used += [("pytest", alias.name) for alias in node.names]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("mark"):
            used.append(("mark", node.attr))
    for name, attribute in used:
        if attribute not in pytest_names.SUPPORTED.get(name, (attribute,)) or (name, attribute) in pytest_names.MISSING:
            raise GoldError(f"the test uses {name}.{attribute}, which is not supported")
