"""Reading test code (the data's, not the model's) for the functions that the program under test has to bring."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

from analyzer.schema import GoldError

PRELUDE = "modules"
"""The prelude of test code; see grading/sandbox/inside/preludes.py."""


def called_names(sources: Sequence[str]) -> tuple[str, ...]:
    """The functions of the program that test code calls, by appearance.

    These are the undefined names; if there is none, all that is called, since a program may define a `sum` of its own:
    `names_of_program` says which of them it does. Raises GoldError where the code is not Python, calls nothing, or uses
    a class of the program.
    """
    # A test may call helpers of its own; what it does not define must be the program's.
    if names := only_functions(undefined_names(sources), sources):
        return names
    own = {name for source in sources for name in names_defined(source)}
    called = [name for name in names_called(sources) if name not in own]
    if not called:
        raise GoldError("the test calls no function of the program")
    return tuple(called)


def names_of_program(program: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that stand for functions of the program: Python's own only where it defines them, and never none."""
    known = _known()
    kept = (name for name in names if name not in known or re.search(_definition(r"\s*", name), program, re.MULTILINE))
    return tuple(kept) or tuple(names[:1])


def defines(program: str, name: str) -> bool:
    """Whether a program, as text, defines this function at its top level: an alias or a class Solution counts."""
    return bool(re.search(rf"{_definition('', name)}|^class\s+Solution\b", program, re.MULTILINE))


def _definition(indent: str, name: str) -> str:
    # Of text, not of a syntax tree: a model's program could make Python's parser take gigabytes.
    name = re.escape(name)
    return rf"^{indent}(?:async\s+)?def\s+{name}\b|^{name}\s*="


def only_functions(names: tuple[str, ...], sources: Sequence[str]) -> tuple[str, ...]:
    """The names, all of functions. Raises GoldError for one that is a class, whose objects cannot cross.

    A capital letter makes a class, unless test code compares what it gives (`assert Find_Max([1, 2]) == 2`).
    """
    for name in names:
        if name[0].isupper() and name != "Solution" and not _is_compared(name, sources):
            raise GoldError(
                f"the test makes objects of the program's class {name}, but only plain values cross the sandbox"
            )
    return names


def _is_compared(name: str, sources: Sequence[str]) -> bool:
    """Whether each use of a name is a call whose result is compared, or given to a function of Python's first."""
    return all(_uses_are_compared(name, parsed(source)) for source in sources)


def _uses_are_compared(name: str, tree: ast.Module) -> bool:
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    known = _known()
    for use in [node for node in parents if isinstance(node, ast.Name) and node.id == name]:
        call = node = parents[use]
        if not isinstance(call, ast.Call) or call.func is not use:
            return False
        while isinstance(outer := parents[node], (ast.Call, ast.UnaryOp, ast.BoolOp)):
            if isinstance(outer, ast.Call):
                function = outer.func.value if isinstance(outer.func, ast.Attribute) else outer.func
                if node is outer.func or not isinstance(function, ast.Name) or function.id not in known:
                    return False
            node = outer
        if isinstance(outer, ast.Compare):  # of two objects of a class the one is compared with the other
            if sum(isinstance(part, ast.Name) and part.id == name for part in ast.walk(outer)) > 1:
                return False
        elif not isinstance(outer, ast.Assert) or not call.args:  # `assert Stack()` is of an object
            return False
    return True


def undefined_names(sources: Sequence[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that test code uses and that neither it, `known` nor Python defines. Raises GoldError if no Python."""
    nodes = [node for source in sources for node in ast.walk(parsed(source))]
    defined = {*_known(), *known, *(name for node in nodes for name in _definitions(node))}
    # A dict, not a set: the first name is the main entry point, so the order counts.
    used = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return tuple(name for name in used if name not in defined)


def _known() -> set[str]:
    """The names that test code finds defined."""
    from analyzer.grading.sandbox.inside.preludes import PRELUDES

    return {*dir(builtins), *PRELUDES[PRELUDE]}


def names_called(sources: Sequence[str]) -> dict[str, None]:
    """The names of what test code calls, by appearance. Raises GoldError where it is not Python."""
    nodes = (node for source in sources for node in ast.walk(parsed(source)))
    return dict.fromkeys(
        node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )


def parsed(source: str) -> ast.Module:
    """The syntax tree of test code. Raises GoldError where it is not Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GoldError(f"the test is not Python: {error}") from None


def functions_of(source: str) -> list[str]:
    """The functions that test code defines at its top level. Raises GoldError where it is not Python."""
    return [node.name for node in parsed(source).body if isinstance(node, ast.FunctionDef)]


def imports_of(source: str) -> str:
    """The imports at the top level of some code, as code. Raises GoldError where it is not Python."""
    return "\n".join(
        ast.unparse(node) for node in parsed(source).body if isinstance(node, (ast.Import, ast.ImportFrom))
    )


def names_defined(source: str) -> list[str]:
    """All names that some code defines anywhere. Raises GoldError where it is not Python."""
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


_FILES = frozenset({"write_text", "write_bytes", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"})
_FILES_IF_IMPORTED = frozenset({"open", "mkdir", "makedirs", "touch"})
"""Of a module or a class of one: `account.open()` may be what the test is about."""

_SHARED = frozenset({"builtins.print", "builtins.input", "sys.stdin", "sys.stdout", "sys.stderr"})
"""What a test may replace for its program; see grading/sandbox/inside/calls.py."""


def refuse_one_sided(sources: Sequence[str]) -> None:
    """Raises GoldError where test code makes files, or replaces what is not in `_SHARED`: its program would not see it.

    Found in the source, so that the problem has no reward at all; tried, a right program would be wrong.
    """
    nodes = [node for source in sources for node in ast.walk(parsed(source))]
    modules = {name for node in nodes if isinstance(node, ast.Import) for name in _definitions(node)}
    imported = modules | {name for node in nodes if isinstance(node, ast.ImportFrom) for name in _definitions(node)}
    for node in nodes:
        if isinstance(node, ast.Call) and (called := _file_call(node.func, imported)):
            raise GoldError(f"the test uses files ({called}), and its program, in another sandbox, does not see them")
        for place in _replaced_by(node, modules):
            if place not in _SHARED:
                raise GoldError(f"the test replaces {place}, and its program, in another sandbox, does not see that")


def _file_call(function: ast.expr, imported: set[str]) -> str:
    """The name of a function that makes or opens files, "" for any other. imported: names of modules, and from them."""
    if isinstance(function, ast.Name):
        return function.id if function.id == "open" or function.id in imported & (_FILES | _FILES_IF_IMPORTED) else ""
    if not isinstance(function, ast.Attribute):
        return ""
    of_import = any(isinstance(node, ast.Name) and node.id in imported for node in ast.walk(function.value))
    return function.attr if function.attr in _FILES or (of_import and function.attr in _FILES_IF_IMPORTED) else ""


def _replaced_by(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """What of a module, "time.sleep", a piece of test code replaces."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            place = target.value if isinstance(target, ast.Subscript) else target  # os.environ["HOME"]
            if isinstance(place, ast.Attribute) and isinstance(place.value, ast.Name) and place.value.id in modules:
                yield ast.unparse(place)
    elif isinstance(node, ast.Call) and node.args:
        function = ast.unparse(node.func)
        if not function.endswith(("patch", "patch.object", "patch.dict", "monkeypatch.setattr")):
            return
        target, name = node.args[0], node.args[1] if len(node.args) > 1 else None
        if isinstance(target, ast.Constant):
            yield str(target.value)
        elif ast.unparse(target).partition(".")[0] in modules:
            member = f".{name.value!s}" if isinstance(name, ast.Constant) else ""
            yield ast.unparse(target) + member
