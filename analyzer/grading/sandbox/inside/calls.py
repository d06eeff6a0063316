"""Calls across the border between a test and a program, each of which runs in a sandbox of its own.

Both call functions of the other: the test those of the program and what these return, the program those that it was
given (a key, a callback, a function to decorate). One of the two runs at a time: a side that has called serves calls of
the other until its answer is there.

    call      ["call", "add", ["l", 1, 2], ["d"], ["d"]]      function, arguments, keywords, what the test has replaced
    value     3
    printed   ["stdout", "3\\n"]                              before a call or answer, where the test captures output

A function crosses as a number of its owner, an awaitable as a function that waits for it.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import io
import json
import os
import random
import socket
import sys
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from . import frames
from .values import MAX_DEPTH, Uncrossable, array, change, changed, pack, unpack

TEXT_LIMIT = 300  # characters of an error that are reported
MESSAGE_LIMIT = 10_000  # characters of its message: escaped they fit into a message of frames.SHORT

CHANGED = "changed"
"""In place of a value's tag: the function gave None, and these of its arguments are other ones now."""

REPLACED = {"print": builtins.print, "input": builtins.input}
"""Functions of Python's that a test may replace for a program (unittest.mock.patch), as they are without that."""


class Link:
    """One end of the border. `find` gives a function of this side by its name; `values_alone`: no function crosses."""

    def __init__(
        self, dialog: socket.socket, find: Callable[[str], Callable[..., Any]], values_alone: bool = False
    ) -> None:
        self._dialog = dialog
        self._find = find
        self._values_alone = values_alone
        self._given: list[Callable[..., Any]] = []  # what the other side may call, by number
        self._numbers: dict[int, int] = {}  # id() of a function -> its number: the same one twice is one
        self._raised: list[BaseException] = []  # what such functions raised, to be known when it comes back
        # A thread may call only while this side has the turn: from an answer on until the next call it has not.
        self._turn = threading.RLock()
        self._loop: Any = None

    # --- calling ---

    def call(self, function: str | int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a function of the other side returns. Raises what it raises, Uncrossable, FrameError."""
        with self._turn:
            self._hand_over_output()
            parts = (list(args), dict(kwargs), self.surroundings())
            frames.send(self._dialog, frames.CALL, ["call", function, *map(self.pack, parts)])
            while True:
                tag, body = frames.receive(self._dialog, frames.LONG)
                if tag == frames.CALL:
                    frames.send(self._dialog, *self._perform(body))
                elif tag == frames.PRINTED:
                    stream, text = json.loads(body)
                    {"stdout": sys.stdout, "stderr": sys.stderr}[stream].write(text)
                elif tag == frames.VALUE:
                    return self._value(json.loads(body), args, kwargs)
                else:
                    # As if the call had been one of this side's own: published tests look at what is raised.
                    raise self._exception(json.loads(body))

    def surroundings(self) -> dict[str, Any]:
        """What a called function has to find replaced."""
        return {}

    def _value(self, packed: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if not isinstance(packed, list) or packed[0] != CHANGED:
            return self.unpack(packed)
        for key, after in zip(packed[1::2], packed[2::2], strict=True):
            change(kwargs[key] if isinstance(key, str) else args[key], self.unpack(after))
        return None

    def _exception(self, answer: dict[str, Any]) -> BaseException:
        yours = answer.get("yours")
        if type(yours) is int and 0 <= yours < len(self._raised):
            return self._raised[yours]
        kind = getattr(builtins, str(answer["type"]), None)
        error: BaseException = RuntimeError(answer["text"])
        # Exception, not BaseException: a program that raises SystemExit must not end its test. StopIteration would
        # end a for loop or generator of the test without a trace.
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not StopIteration:
            with contextlib.suppress(TypeError):  # UnicodeDecodeError and its like take more
                error = kind(answer.get("message", answer["text"]))
        if type(answer.get("number")) is int:
            error.__dict__["_analyzer_number"] = answer["number"]
        return error

    # --- being called ---

    def serve(self) -> None:
        """Say that this side is ready, then answer calls until the other one says something else, or is gone."""
        answer: tuple[bytes, Any] = (frames.LOADED, None)
        with contextlib.suppress(frames.FrameError):
            while True:
                with self._turn:
                    frames.send(self._dialog, *answer)
                    tag, body = frames.receive(self._dialog, frames.LONG)
                if tag != frames.CALL:
                    return
                answer = self._perform(body)

    def _perform(self, body: bytes) -> tuple[bytes, Any]:
        """The answer to a call, tag and body. Raises FrameError."""
        try:
            # Unpacked within the try: a program may send what cannot be.
            _, function, packed_args, packed_kwargs, around = json.loads(body)
            args, kwargs = self.unpack(packed_args), self.unpack(packed_kwargs)
            try:
                called = self._given[function] if isinstance(function, int) else self._find(function)
            except BaseException as error:  # noqa: BLE001 - of the program's class Solution, perhaps
                # Not for the test to catch: a program without the function must not pass `raises(Exception)`.
                return frames.FAILED, {"phase": "run", **describe(error)}
            with self.replaced(self.unpack(around)):
                try:
                    value = called(*args, **kwargs)
                    # Within the try: iterating what was returned may run code of the program and raise anything.
                    answer = self.pack(value)
                finally:
                    self._hand_over_output()
            # A function that gives nothing may have done its work on its arguments. Of no other: what a test compares
            # an answer with must not be the program's to change.
            if value is None and not self._values_alone:
                keywords = zip(packed_kwargs[1::2], packed_kwargs[2::2], strict=True)
                given = {**dict(enumerate(packed_args[1:])), **dict(keywords)}
                if after := changed(given, {**dict(enumerate(args)), **kwargs}, self.pack):
                    answer = [CHANGED, *after]
            return frames.VALUE, answer
        except frames.FrameError:
            raise
        except Uncrossable as error:
            return frames.UNCROSSABLE, describe(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit among them
            return frames.RAISED, self.described(error)

    def described(self, error: BaseException) -> dict[str, Any]:
        """An exception as data, with its number where it is the other side's, on its way back."""
        number = getattr(error, "_analyzer_number", None)
        return {**describe(error), "yours": number} if type(number) is int else describe(error)

    def replaced(self, around: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
        """What the other side has replaced, for the time of a call."""
        return _replaced(around)

    def _hand_over_output(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, Captured) and (text := stream.taken()):
                frames.send(self._dialog, frames.PRINTED, [name, text])

    # --- values and functions ---

    def pack(self, value: Any) -> Any:
        """The packed form of a value. Raises Uncrossable."""
        return pack(value) if self._values_alone else pack(value, self._reference)

    def unpack(self, packed: Any) -> Any:
        """The value of a packed form. Raises Uncrossable."""
        return unpack(packed, self._referred)

    def _reference(self, value: Any) -> Any:
        """The packed form of what can be called or waited for; None for all else."""
        if isinstance(value, Remote):
            return ["yours", value.function]
        if isinstance(value, type):
            return None
        # First of all: a MagicMock can be waited for, too.
        if callable(value) and not any(value is one for one in _POWERFUL):
            names = (str(getattr(value, name, None) or "") for name in ("__name__", "__doc__"))
            return ["function", self._number(value), *names, *_parameters(value)]
        if hasattr(type(value), "__await__"):
            return ["awaitable", self._number(lambda: self._wait_for(value))]
        if hasattr(type(value), "__aiter__"):
            items = value.__aiter__()
            return ["stream", self._number(lambda: self._wait_for(items.__anext__()))]
        return None

    def _number(self, function: Callable[..., Any]) -> int:
        number = self._numbers.setdefault(id(function), len(self._given))
        if number == len(self._given):
            self._given.append(function)
        return number

    def _referred(self, tag: str, parts: list[Any]) -> Any:
        if tag == "yours":
            return self._given[parts[0]] if type(parts[0]) is int else self._find(parts[0])
        if tag == "array":
            return self.array(*parts)
        remote = Remote(self, int(parts[0]))
        if tag == "awaitable":
            return _awaited(remote)
        if tag == "stream":
            return _streamed(remote)
        if tag != "function":
            raise ValueError(tag)
        return remote.described_as(*map(str, parts[1:]))

    def array(self, kind: str, shape: Any, *items: Any) -> Any:
        """An array of its packed parts."""
        return array(kind, shape, *items)

    def _wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """What an awaitable gives, also while a loop runs, whose coroutine waits for this."""
        import asyncio

        if self._loop is None or self._loop.is_running():
            self._loop = asyncio.new_event_loop()
        around = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(_result(awaitable))
        finally:
            asyncio._set_running_loop(around)


class TestLink(Link):
    """The test's end: what it cannot hand over ends it, and what it has replaced is sent along."""

    __test__ = False

    def __init__(self, dialog: socket.socket, find: Callable[[str], Callable[..., Any]]) -> None:
        super().__init__(dialog, find)
        self._seeded = False
        seed = random.seed

        def seed_both(*args: Any, **kwargs: Any) -> None:
            seed(*args, **kwargs)
            self._seeded = True

        random.seed = seed_both

    def described(self, error: BaseException) -> dict[str, Any]:
        self._raised.append(error)
        return {**super().described(error), "number": len(self._raised) - 1}

    def replaced(self, around: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # the program has no say in what the test finds

    def array(self, kind: str, shape: Any, *items: Any) -> Any:
        # With a shape of its own an array without items, (0, 3), is close to any three numbers: numpy broadcasts it.
        return array(kind, shape if items else ["t", 0], *items)

    def pack(self, value: Any) -> Any:
        try:
            # Deeper than an answer may be: a test may wrap what it got.
            return pack(value, self._reference, -MAX_DEPTH)
        except Uncrossable as error:
            frames.send(self._dialog, frames.FAILED, {"phase": ARGUMENT, **describe(error)})
            os._exit(1)  # the test must not go on as if the program had raised this

    def surroundings(self) -> dict[str, Any]:
        around: dict[str, Any] = {
            name: getattr(builtins, name) for name, own in REPLACED.items() if getattr(builtins, name) is not own
        }
        around.update(
            {name: True for name in ("stdout", "stderr") if getattr(sys, name) is not getattr(sys, f"__{name}__")}
        )
        if sys.stdin is not sys.__stdin__ and isinstance(sys.stdin, io.TextIOBase):
            around["stdin"] = sys.stdin.read()
        if self._seeded:
            around["random"] = random.getstate()
            self._seeded = False
        return around


_POWERFUL = (
    *(eval, exec, compile, open, __import__, getattr, setattr, delattr, vars, globals, locals, breakpoint),
    *(str.format, str.format_map),
)
"""What the other side is never given: with it a program could do in its test's process what it likes."""

ARGUMENT = "argument"
"""The phase of a test that failed since it gave the program what cannot cross."""


class Captured(io.StringIO):
    """What a program prints while its test looks at that."""

    def taken(self) -> str:
        """What has been printed since the last time."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@contextlib.contextmanager
def _replaced(around: Mapping[str, Any]) -> Iterator[None]:
    """What a test has replaced, for the time of a call."""
    with contextlib.ExitStack() as stack:
        for name, value in around.items():
            if name in REPLACED:
                stack.callback(setattr, builtins, name, getattr(builtins, name))
                setattr(builtins, name, value)
            elif name in ("stdout", "stderr") and not isinstance(getattr(sys, name), Captured):
                stack.callback(setattr, sys, name, getattr(sys, name))
                setattr(sys, name, Captured())
            elif name == "stdin":
                left = sys.stdin.read() if isinstance(sys.stdin, io.StringIO) else ""
                sys.stdin = io.StringIO(left + value)
            elif name == "random":
                random.setstate(value)
        yield


class Remote:
    """A function of the other side. Arguments and results cross by value."""

    def __init__(self, link: Link, function: str | int) -> None:
        self._link = link
        self.function = function
        self.__name__ = self.__qualname__ = str(function)

    def described_as(self, name: str, doc: str, *parameters: str) -> Remote:
        """With the name and the parameters of the function that it stands for: decorators and curry ask for them."""
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc
        signature = inspect.Signature(
            [
                inspect.Parameter(text[1:].rstrip("="), _KINDS[int(text[0])], default=None if "=" in text else _NONE)
                for text in parameters
            ]
        )
        self.__signature__ = signature
        positional = [one.name for one in signature.parameters.values() if one.kind <= one.POSITIONAL_OR_KEYWORD]
        self.__code__ = types.SimpleNamespace(co_argcount=len(positional), co_varnames=tuple(positional))
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._link.call(self.function, args, kwargs)


_KINDS, _NONE = list(inspect._ParameterKind), inspect.Parameter.empty


def _parameters(function: Callable[..., Any]) -> list[str]:
    """The parameters of a function, each a text: number of the kind, name, "=" where there is a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # many of Python's own have no signature
        return ["2args", "4kwargs"]
    return [f"{int(one.kind)}{one.name}{'=' * (one.default is not one.empty)}" for one in parameters]


async def _result(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _awaited(remote: Remote) -> Any:
    return remote()


async def _streamed(remote: Remote) -> AsyncIterator[Any]:
    while True:
        try:
            item = remote()
        except StopAsyncIteration:
            return
        yield item


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as data: the name of its type (its builtin base where the program defines it), errno, text, message.

    `text` is for a person, `message` is what a test reads of it.
    """
    # A class of the program's own means nothing in the test's sandbox. Its builtin base does: `except ValueError`
    # there has to catch a program's subclass of it.
    kind = next((k for k in type(error).__mro__ if k.__module__ == "builtins"), Exception)
    code = getattr(error, "errno", None)
    try:
        text = f"{type(error).__name__}: {error}"[:TEXT_LIMIT]
    except BaseException:  # noqa: BLE001 - __str__ is the program's
        text = type(error).__name__[:TEXT_LIMIT]
    return {
        "type": kind.__name__,
        "errno": code if type(code) is int else None,
        "text": text,
        "message": _message(error)[:MESSAGE_LIMIT],
    }


def _message(error: BaseException) -> str:
    """The one text that an exception was made with, since str() of a KeyError puts quotes round it; else its str()."""
    try:
        only = error.args[0] if len(error.args) == 1 else None
        return (
            only
            if type(only) is str and type(error).__str__ in (BaseException.__str__, KeyError.__str__)
            else str(error)
        )
    except BaseException:  # noqa: BLE001 - the class is the program's
        return ""
