"""reasoning_gym: procedural tasks, each with a score of its own (the package reasoning-gym, the extra of that name).

    data_source: "reasoning_gym/countdown"
    ground_truth: '{"question": "...", "answer": "3*8", "metadata": {"source_dataset": "countdown", "target": 24, ...}}'
                  or the answer alone, with the rest of the entry, or its metadata, in extra_info
    response: "<think>...</think><answer>8*3</answer>"

The reward is what the task's score_answer says of the last <answer>, partial credit included. Some tasks evaluate an
answer as Python or with sympy's parser, which is Python too; here nothing reaches them but literals and arithmetic,
and formulas in single letters and the common functions. All else is to a task what a broken formula is.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import operator
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from analyzer.errors import RewardError, to_install
from analyzer.rewards import WholeReward, register
from analyzer.rewards._common.tags import last_tagged
from analyzer.schema import GoldError, Problem, Score

Judge = Callable[[str | None, Mapping[str, Any]], float]
PREFIXES = ("reasoning_gym/", "reasoning-gym/")


@register
class ReasoningGym(WholeReward):
    """What the task itself says of the answer. Option `tag`: the answer stands in <tag>...</tag>."""

    name: ClassVar[str] = "reasoning_gym"
    data_sources: ClassVar[tuple[str, ...]] = ("reasoning_gym", *(f"{prefix}*" for prefix in PREFIXES))
    libraries: ClassVar[tuple[str, ...]] = ("reasoning_gym", "sympy", "numpy")
    expects = "<answer>...</answer>"

    def __init__(self, tag: str = "answer") -> None:
        if importlib.util.find_spec("reasoning_gym") is None:
            raise RewardError(
                f"the reward reasoning_gym needs an extra that is not installed: {to_install('reasoning-gym')}"
            )
        self._tag = tag

    def load(self) -> None:
        _package()

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        name, entry = entry_of(problem)
        judge = _judge(name)
        # Once per problem: an entry that its own task cannot judge would give every response 0.
        own, entry = _check(judge, entry)
        answers = [last_tagged(response, self._tag) for response in responses]
        return [Score(_earned(judge, answer, entry, own), found=answer is not None) for answer in answers]


def _check(judge: Judge, entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The entry's own answer, "" for a task that gives none, and the entry as the task can judge it. Raises GoldError.

    JSON has made lists of the tuples in an entry; where its own answer is not right with lists, it may be with tuples.
    """
    own = entry["answer"] if isinstance(entry["answer"], str) else ""
    with_tuples = {**entry, "metadata": {key: _tuples(value) for key, value in entry["metadata"].items()}}
    earned = []
    # Some tasks compare with tuples, or use them as keys, where JSON has left lists.
    for form in (entry, with_tuples):
        try:
            earned.append(judge(own, form))
        except Exception as error:  # noqa: BLE001 - a task may fail on an entry in any way
            earned.append(-1.0)
            failure = error
    if max(earned) < 0:
        raise GoldError(f"the task cannot judge this entry: {type(failure).__name__}: {failure}")
    return own, with_tuples if earned[1] > earned[0] else entry


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _earned(judge: Judge, answer: str | None, entry: dict[str, Any], own: str) -> float:
    """What an answer earns. A task that fails on it judges its own answer well: so the answer is malformed, and 0."""
    try:
        return float(judge(answer, entry))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above
        # If this raises too, the task is broken and not the answer: the exception becomes a status.
        judge(own, entry)
        return 0.0


def entry_of(problem: Problem) -> tuple[str, dict[str, Any]]:
    """The name of the task and its entry with `answer` and `metadata`. Raises GoldError."""
    entry = _object(problem.ground_truth)
    extra = _object(problem.extra_info) or {}
    if entry is None or "answer" not in entry:
        beside = extra if isinstance(extra.get("metadata"), Mapping) else {"metadata": extra}
        entry = {**beside, "answer": problem.ground_truth}
    metadata = entry.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    of_source = next((problem.data_source.removeprefix(p) for p in PREFIXES if problem.data_source.startswith(p)), "")
    name = metadata.get("source_dataset") or extra.get("source_dataset") or of_source
    if not isinstance(name, str) or name not in _package().factory.DATASETS:
        raise GoldError(f"no such task of reasoning_gym: {name!r}; it is taken from metadata.source_dataset")
    return name, {**entry, "metadata": {**metadata, "source_dataset": name}}


def _object(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


@functools.cache
def _judge(name: str) -> Judge:
    judge: Judge = _package().get_score_answer_fn(name)
    _disarm()  # a task may import a module of its own only now
    return judge


@functools.cache
def _package() -> Any:
    with warnings.catch_warnings():  # of its dependencies, when they are compiled
        warnings.simplefilter("ignore")
        import reasoning_gym

    _disarm()
    return reasoning_gym


# ---------------------------------------------------------------- nothing of a model's is evaluated


def _disarm() -> None:
    """Put bounded evaluators in the place of eval and sympy's parse_expr wherever the package would call them."""
    import sympy
    from sympy.parsing import sympy_parser

    # Disarmed twice, the guard must not guard itself.
    original = getattr(sympy_parser.parse_expr, "original", sympy_parser.parse_expr)

    @functools.wraps(original)
    def parse(text: str, *args: Any, **kwargs: Any) -> Any:
        return original(checked_formula(text), *args, **kwargs)

    parse.original = original  # type: ignore[attr-defined]
    sympy.parse_expr = sympy_parser.parse_expr = parse
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "reasoning_gym":
            # A global of the module hides the builtin: the package's code stays as it is.
            vars(module)["eval"] = arithmetic
            # `from sympy.parsing... import parse_expr` copied the function into the module before we came.
            if getattr(vars(module).get("parse_expr"), "__module__", None) == sympy_parser.__name__:
                vars(module)["parse_expr"] = parse


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow},
    **{ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor},
    **{ast.LShift: operator.lshift, ast.RShift: operator.rshift},
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    **{ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert, ast.Not: operator.not_},
}
_SEQUENCES: dict[type[ast.expr], Callable[[Iterable[Any]], Any]] = {ast.List: list, ast.Tuple: tuple, ast.Set: set}


def arithmetic(text: str) -> Any:
    """The value of a Python expression of literals and operators, worked out here. Raises ValueError for any other."""
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant():
            # Any literal: text and bytes, too, since some tasks compare them.
            return node.value
        case ast.BinOp() if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](_value(node.left), _value(node.right))
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_value(node.operand))
        case ast.List() | ast.Tuple() | ast.Set():
            return _SEQUENCES[type(node)](map(_value, node.elts))
        case ast.Dict():
            return dict(zip(map(_value, node.keys), map(_value, node.values), strict=True))
    raise ValueError(f"{type(node).__name__} is not evaluated")


FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln"}
    | {"sqrt", "cbrt", "Abs", "abs", "pi", "oo", "erf"}
)
_WORD = re.compile(r"[^\W\d]\w*")
_FORMULA = re.compile(r"[\w\s.,+\-*/^()!%|]*")
_ATTRIBUTE = re.compile(r"(?<!\d)\.\s*[^\W\d]")
_VARIABLE = re.compile(r"[A-Za-z]\d*")


def checked_formula(text: str) -> str:
    """A formula of numbers, operators, single letters and common functions, as it is. Raises ValueError else."""
    # No quotes, brackets of lists, "=" or ":": no call with keywords, no lambda, no comprehension can be written.
    if not _FORMULA.fullmatch(text) or _ATTRIBUTE.search(text):
        raise ValueError("not a plain formula")
    for word in _WORD.findall(text):
        # Letters with digits, x1, are variables. A longer word could be any name in sympy's namespace.
        if word not in FUNCTIONS and not _VARIABLE.fullmatch(word):
            raise ValueError(f"{word[:40]!r} is not evaluated")
    return text
