"""Reading test code (the data's, not the model's) for the functions that the program under test has to bring."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence

from analyzer.schema import GoldError

PRELUDE = "modules"
"""The prelude of test code; see grading/sandbox/inside/preludes.py."""


def called_names(sources: Sequence[str]) -> tuple[str, ...]:
    """The functions of the program that test code calls, by appearance.

    These are the undefined names; if there is none, the first function that is called, since a program may define
    a `sum` of its own. Raises GoldError where the code is no Python, calls nothing, or uses a class of the program.
    """
    # A test may call helpers of its own; what it does not define must be the program's.
    if names := only_functions(undefined_names(sources)):
        return names
    for source in sources:
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                return (node.func.id,)
    raise GoldError("the test calls no function of the program")


def only_functions(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, all of functions. Raises GoldError for one that is a class, whose objects cannot cross."""
    for name in names:
        if name[0].isupper() and name != "Solution":
            raise GoldError(
                f"the test makes objects of the program's class {name}, but only plain values cross the sandbox"
            )
    return names


def undefined_names(sources: Sequence[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that test code uses and that neither it, `known` nor Python defines. Raises GoldError if no Python."""
    from analyzer.grading.sandbox.inside.preludes import PRELUDES

    nodes = [node for source in sources for node in ast.walk(parsed(source))]
    defined = {*dir(builtins), *PRELUDES[PRELUDE], *known, *(name for node in nodes for name in _definitions(node))}
    # A dict, not a set: the first name is the main entry point, so the order counts.
    used = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return tuple(name for name in used if name not in defined)


def names_called(sources: Sequence[str]) -> set[str]:
    """The names of what test code calls. Raises GoldError where it is no Python."""
    nodes = (node for source in sources for node in ast.walk(parsed(source)))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def parsed(source: str) -> ast.Module:
    """The syntax tree of test code. Raises GoldError where it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GoldError(f"the test is not Python: {error}") from None


def functions_of(source: str) -> list[str]:
    """The functions that test code defines at its top level. Raises GoldError where it is no Python."""
    return [node.name for node in parsed(source).body if isinstance(node, ast.FunctionDef)]


def imports_of(source: str) -> str:
    """The imports at the top level of some code, as code. Raises GoldError where it is no Python."""
    return "\n".join(
        ast.unparse(node) for node in parsed(source).body if isinstance(node, (ast.Import, ast.ImportFrom))
    )


def names_defined(source: str) -> list[str]:
    """All names that some code defines anywhere. Raises GoldError where it is no Python."""
    return [name for node in ast.walk(parsed(source)) for name in _definitions(node)]


def _definitions(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.ExceptHandler) and node.name is not None:
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
