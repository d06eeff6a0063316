"""What tests written for pytest find of it: in their sandbox, where no pytest is, this file is the module `pytest`.

    @pytest.fixture                                  def test_add(pair, capsys): ...        run(test_add)
    @pytest.mark.parametrize("a, b", [(1, 2)])       def test_add(a, b): ...
    pytest.raises, approx, param, fail, skip         class TestAdd: ...                     run_class(TestAdd)

What of pytest is not here makes a ground truth that cannot be graded: see SUPPORTED and MISSING.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import inspect
import io
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SUPPORTED = {
    "pytest": ("raises", "approx", "param", "fail", "skip", "fixture", "mark"),
    "capsys": ("readouterr",),
    "monkeypatch": ("setattr",),
}
"""What tests may use of pytest, and of its own fixtures."""

MISSING = (("mark", "xfail"), ("mark", "usefixtures"), ("unittest", "expectedFailure"))
"""What would change which tests pass; other marks say nothing of that."""


class Raises:
    """The context of `pytest.raises`."""

    def __init__(self, expected: Any, match: str | None) -> None:
        self.expected, self.match = expected, match

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        assert kind is not None, "did not raise"
        self.type, self.value = kind, value
        return issubclass(kind, self.expected) and (self.match is None or bool(re.search(self.match, str(value))))


def near(expected: Any, value: Any, limit: Callable[[Any], Any], nan_ok: bool) -> bool:
    """Whether a value is close to the expected one, each number in a list or dict by itself."""
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and expected.keys() == value.keys()
            and all(near(expected[key], value[key], limit, nan_ok) for key in expected)
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(expected) == len(value)
            and all(near(e, v, limit, nan_ok) for e, v in zip(expected, value, strict=True))
        )
    if hasattr(expected, "tolist"):  # an array of numpy's
        return near(expected.tolist(), value.tolist() if hasattr(value, "tolist") else value, limit, nan_ok)
    if value == expected:
        return True
    numbers = (int, float, complex)
    if not isinstance(expected, numbers) or not isinstance(value, numbers):
        return False
    if math.isnan(abs(expected)):
        return nan_ok and math.isnan(abs(value))
    return not math.isinf(abs(expected)) and bool(abs(value - expected) <= limit(expected))


class approx:  # noqa: N801 - the name of pytest
    """`pytest.approx` of numbers, lists, dicts and arrays."""

    __array_ufunc__ = None  # an array on the left leaves the comparison to this class

    def __init__(self, expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> None:
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def _limit(self, expected: Any) -> Any:
        absolute = 1e-12 if self.abs is None else self.abs
        if self.rel is None and self.abs is not None:
            return absolute
        return max((1e-6 if self.rel is None else self.rel) * abs(expected), absolute)

    def __eq__(self, value: object) -> bool:
        return near(self.expected, value, self._limit, self.nan_ok)

    __hash__ = None  # type: ignore[assignment]


class Failed(BaseException):
    """Raised by `pytest.fail`; as there, `except Exception` does not catch it."""


class Skipped(BaseException):
    """Raised by `pytest.skip`."""


fixtures: dict[str, Any] = {}  # name -> function
always: list[str] = []  # names of fixtures for every test
lasting: dict[str, Any] = {}  # values of fixtures that are made once
FUNCTION = "function"


class Marks(type):
    """Any mark but these is a decorator that changes nothing, with or without arguments."""

    def __getattr__(cls, name: str) -> Any:
        return lambda *args, **kwargs: args[0] if args and callable(args[0]) else lambda test: test


class Mark(metaclass=Marks):
    """`pytest.mark`."""

    @staticmethod
    def parametrize(names: Any, rows: Any, ids: Any = None) -> Any:
        """The rows of arguments that a test runs with: those of several such marks in all combinations."""
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        new = [dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in rows]

        def decorate(test: Any) -> Any:
            test.rows = [{**row, **given} for row in getattr(test, "rows", [{}]) for given in new]
            return test

        return decorate

    @staticmethod
    def skip(test: Any = None, reason: str = "") -> Any:
        """A test that is not run."""
        return without_rows(test) if callable(test) else without_rows

    @staticmethod
    def skipif(condition: Any, reason: str = "") -> Any:
        """A test that is not run where this holds."""
        return without_rows if condition else lambda test: test


def without_rows(test: Any) -> Any:
    """The test, to be run with nothing."""
    test.rows = []
    return test


mark = Mark


def raises(expected: Any, *call: Any, match: str | None = None, **kwargs: Any) -> Raises:
    """That the block, or the call, raises this."""
    context = Raises(expected, match)
    if call:
        with context:
            call[0](*call[1:], **kwargs)
    return context


def param(*values: Any, id: Any = None) -> Any:
    """A row of `parametrize`."""
    return values if len(values) > 1 else values[0]


def fail(reason: str = "", pytrace: bool = True) -> None:
    """The test fails."""
    raise Failed(reason)


def skip(reason: str = "") -> None:
    """The test ends here."""
    raise Skipped(reason)


def fixture(function: Any = None, *, scope: str = FUNCTION, autouse: bool = False, name: str = "") -> Any:
    """An argument of tests: made anew for each of them, or, of a wider scope, once."""

    def register(function: Any) -> Any:
        fixtures[name or function.__name__] = function
        function.lasts = scope != FUNCTION
        if autouse:
            always.append(name or function.__name__)
        return function

    return register(function) if function else register


class Monkeypatch:
    """The fixture: what a test replaces until its end. `raising` is of pytest's, where it says what may be missing."""

    def __init__(self, undone: contextlib.ExitStack) -> None:
        self._undone = undone

    def setattr(self, target: Any, name: Any, *value: Any, raising: bool = True) -> None:
        """As builtin `setattr`, or with "module.name" and a value."""
        if isinstance(target, str):
            module, _, attribute = target.rpartition(".")
            target, name, value = __import__(module), attribute, (name,)
        self._undone.callback(setattr, target, name, getattr(target, name))
        setattr(target, name, value[0])


@fixture
def monkeypatch() -> Iterator[Monkeypatch]:
    with contextlib.ExitStack() as undone:
        yield Monkeypatch(undone)


class Capsys:
    """The fixture: what was printed."""

    Result = collections.namedtuple("Result", "out err")

    def readouterr(self) -> Any:
        """What was printed since the last time."""
        taken = [stream.getvalue() if isinstance(stream, io.StringIO) else "" for stream in (sys.stdout, sys.stderr)]
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return self.Result(*taken)


@fixture
def capsys() -> Iterator[Capsys]:
    kept = sys.stdout, sys.stderr
    captured = Capsys()
    captured.readouterr()
    yield captured
    sys.stdout, sys.stderr = kept


def value_of(name: str, ended: contextlib.ExitStack, made: dict[str, Any]) -> Any:
    """The value of a fixture, and of those that it takes; what it does after its `yield` comes with the end."""
    if name not in made and name not in lasting:
        function = fixtures[name]
        value = function(**{other: value_of(other, ended, made) for other in inspect.signature(function).parameters})
        if inspect.isgenerator(value):
            generator, value = value, next(value)
            # One that lasts is kept in mid-course: what comes after its `yield` is for the end of all tests.
            lasting.setdefault("", []).append(generator) if function.lasts else ended.callback(next, generator, None)
        (lasting if function.lasts else made)[name] = value
    return made[name] if name in made else lasting[name]


async def result_of(awaitable: Any) -> Any:
    """What it gives."""
    return await awaitable


def arguments_of(test: Any) -> list[str]:
    """The names of its parameters, but for those that `unittest.mock.patch` fills, or that have a default."""
    filled = [one for one in getattr(test, "patchings", ()) if one.new is sys.modules["unittest.mock"].DEFAULT]
    parameters = list(inspect.signature(test).parameters.values())[len(filled) :]
    return [one.name for one in parameters if one.default is one.empty]


def methods_of(cls: type) -> list[str]:
    """The tests in a class."""
    return [name for name in vars(cls) if name.startswith("test")]


def refuse(tests: Iterable[Any]) -> None:
    """Raises LookupError where one of the tests, or a fixture, takes a fixture that is not there."""
    for function in fixtures.values():
        if missing := [name for name in inspect.signature(function).parameters if name not in fixtures]:
            raise LookupError(f"the fixture {missing[0]}, which is not supported")
    for test in tests:
        if hasattr(test, "debug"):  # of unittest
            continue
        for one in [getattr(test(), name) for name in methods_of(test)] if isinstance(test, type) else [test]:
            known = {*fixtures, *(name for row in getattr(one, "rows", ()) for name in row)}
            if missing := [name for name in arguments_of(one) if name not in known and getattr(one, "rows", True)]:
                raise LookupError(f"the fixture {missing[0]}, which is not supported")


def run(test: Any) -> None:
    """Run a test, once for each row of its parameters; a class of pytest's or unittest's method by method."""
    if isinstance(test, type):
        run_class(test)
        return
    for row in getattr(test, "rows", [{}]):
        with contextlib.suppress(Skipped), contextlib.ExitStack() as ended:
            made = dict(row)
            for name in always:
                value_of(name, ended, made)
            result = test(**{name: value_of(name, ended, made) for name in arguments_of(test)})
            if inspect.isawaitable(result):
                asyncio.run(result_of(result))


def run_class(cls: Any) -> None:
    """Run each method of a class on an object of its own."""
    if getattr(cls, "rows", None) == []:  # skipped as a whole
        return
    getattr(cls, "setup_class" if hasattr(cls, "setup_class") else "setUpClass", lambda: None)()
    for name in methods_of(cls):
        if hasattr(cls, "debug"):  # a unittest.TestCase: setUp, the test, tearDown
            with contextlib.suppress(sys.modules["unittest"].SkipTest):
                cls(name).debug()
            continue
        tested = cls()
        for step in ("setup_method", name, "teardown_method"):
            method = getattr(tested, step, None)
            if step == name:
                run(method)
            elif method is not None:
                method(*[method] * len(inspect.signature(method).parameters))
