"""What the forked child does: one job, in one of three ways.

    script     runs a program as a process would: input on 0, output on 1
    functions  executes a program, then answers calls of its functions
    check      executes test code in which the entry point stands for the function of another sandbox

A job: {"mode": "functions", "prelude": "modules", "sources": ["def add(a, b): return a + b"], ...}
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from . import frames, process
from .preludes import PRELUDES
from .values import Uncrossable, change, changed, pack, unpack

RECURSION_LIMIT = 600_000  # as verl 0.9.1 sets it for programs
TEXT_LIMIT = 300  # characters of an error that are reported
MESSAGE_LIMIT = 10_000  # characters of its message: escaped they fit into a message of frames.SHORT

CHANGED = "changed"
"""In place of a value's tag: the function gave None, and these of its arguments are other ones now."""

Job = dict[str, Any]


def run(job: Job, dialog: socket.socket) -> NoReturn:
    """Do the job and end the process. An error is reported on `dialog`, with exit code 1."""
    sys.argv = ["solution.py"]  # fileinput, for one, reads what is named after that
    random.seed(0)  # a program that draws at random gets the same verdict in every run
    process.fit_out()
    code = 1
    try:
        _MODES[job["mode"]](job, dialog)
        process.end(script=job["mode"] == "script")  # its output is judged only after that
        code = 0
    except _Reported:
        pass
    except BaseException as error:  # noqa: BLE001 - a program may raise anything, at its end too
        _report(dialog, "run", error)
    # Not sys.exit: it takes five times as long, and finalisers of the runner's would run, too.
    os._exit(code)


class _Reported(Exception):
    """Raised when the failure has been reported already."""


def _report(dialog: socket.socket, phase: str, error: BaseException) -> None:
    try:
        frames.send(dialog, frames.FAILED, {"phase": phase, **describe(error)})
    # No second attempt: whatever the cause, the judge sees exit code 1 and calls it a runtime error.
    except Exception:  # noqa: BLE001 - out of memory, say: then the exit code is all there is
        os._exit(1)


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


def _execute(job: Job, name: str, dialog: socket.socket) -> dict[str, Any]:
    """The namespace after executing the sources of the job, one after another, as module `name`."""
    # A real module in sys.modules: dataclasses, typing.get_type_hints and pickle look a class's module up there.
    module = types.ModuleType(name)
    sys.modules[name] = module
    namespace = module.__dict__
    namespace.update(PRELUDES[job["prelude"]])
    namespace["__name__"] = name
    if name == "__main__":
        namespace["__file__"] = sys.argv[0]
    # Programs for judges rely on it: a solution that recurses over 100,000 nodes is right there.
    sys.setrecursionlimit(RECURSION_LIMIT)
    for source in job["sources"]:
        try:
            # dont_inherit: else the source would be compiled with this file's `from __future__ import
            # annotations`.
            code = compile(source, "<program>", "exec", dont_inherit=True)
        except BaseException as error:  # noqa: BLE001 - MemoryError and RecursionError, at the least
            _report(dialog, "compile", error)
            raise _Reported from None
        exec(code, namespace)
    return namespace


def _script(job: Job, dialog: socket.socket) -> None:
    process.fit_out_for_a_script(job["prelude"])
    with contextlib.suppress(SystemExit):  # the usual way to end a script early; its output is judged
        try:
            _execute(job, "__main__", dialog)
        except (SystemExit, _Reported):
            raise
        except BaseException as error:
            # It may print, and end the process or the script; else it has failed, as with Python's own hook.
            if sys.excepthook is not sys.__excepthook__:
                sys.excepthook(type(error), error, error.__traceback__)
            raise


def _functions(job: Job, dialog: socket.socket) -> None:
    namespace = _execute(job, "solution", dialog)
    # Compared by identity: a program that defines its own `gcd` has an answer, the prelude's math.gcd is not one.
    own = {name: value for name, value in namespace.items() if value is not PRELUDES[job["prelude"]].get(name)}
    frames.send(dialog, frames.LOADED, None)
    while True:
        tag, body = frames.receive(dialog, frames.LONG)
        if tag != frames.CALL:
            return
        # From the judge, so trusted: what a test passes on was packed in its sandbox and looked at on the way.
        call = json.loads(body)
        args = [unpack(value) for value in call["args"]]
        kwargs = {name: unpack(value) for name, value in call["kwargs"].items()}
        try:
            value = _find(own, call["name"])(*args, **kwargs)
            if job.get("as_json"):
                _refuse_what_json_does(value)
            # pack() is within the try: iterating what was returned may run code of the program and raise
            # anything.
            answer = pack(value)
            # A function that gives nothing may have done its work on its arguments. Of no other: what a test compares
            # an answer with must not be the program's to change.
            if value is None and job.get("by_reference"):
                given = {**dict(enumerate(call["args"])), **call["kwargs"]}
                if after := changed(given, {**dict(enumerate(args)), **kwargs}):
                    answer = [CHANGED, *after]
            frames.send(dialog, frames.VALUE, answer)
        except frames.FrameError:
            return
        except Uncrossable as error:
            frames.send(dialog, frames.UNCROSSABLE, describe(error))
        except BaseException as error:  # noqa: BLE001 - SystemExit among them
            frames.send(dialog, frames.RAISED, describe(error))


def _refuse_what_json_does(value: Any) -> None:
    if hasattr(value, "dtype"):  # numpy's float is one to json, but what it is compared to gives no True
        raise Uncrossable(f"a value of type {type(value).__qualname__}")
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise Uncrossable(str(error)) from None


def _find(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """A function of that name, or the method of a class Solution (LeetCode's form); "Solution.f" is that alone.

    `namespace`: what the program itself has defined; the prelude's operator.add is nobody's answer. Raises NameError.
    """
    # A fresh Solution() per call: a solution that keeps state in self must not see the calls before.
    method = name.removeprefix("Solution.")
    if "Solution" in namespace and (method != name or name not in namespace):
        namespace = {name: getattr(namespace["Solution"](), method)}
    if name not in namespace:
        raise NameError(f"no function {name!r}")
    return namespace[name]  # type: ignore[no-any-return]


def _check(job: Job, dialog: socket.socket) -> None:
    stub, *tests = job["sources"]
    namespace = _execute({**job, "sources": [stub]}, "check", dialog)
    # Put in before each test again, since a test may define a helper or a stub of the same name.
    remotes: dict[str, Any] = {name: Remote(dialog, name) for name in job["entry_points"]}
    if "Solution" in remotes:
        remotes["Solution"] = lambda: RemoteSolution(dialog)
    remotes["candidate"] = remotes[job["entry_points"][0]]
    for test in tests:
        namespace.update(remotes)
        exec(compile(test, "<test>", "exec", dont_inherit=True), namespace)
    frames.send(dialog, frames.DONE, job["nonce"])


class Remote:
    """The function of a program in another sandbox, as test code sees it. Arguments and results cross by value."""

    def __init__(self, dialog: socket.socket, name: str) -> None:
        self._dialog = dialog
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        body = {
            "name": self.__name__,
            "args": [pack(value) for value in args],
            "kwargs": {name: pack(value) for name, value in kwargs.items()},
        }
        frames.send(self._dialog, frames.CALL, body)
        tag, answer = frames.receive(self._dialog, frames.LONG)
        if tag == frames.VALUE:
            value = json.loads(answer)
            if not isinstance(value, list) or value[0] != CHANGED:
                return unpack(value)
            for key, after in zip(value[1::2], value[2::2], strict=True):
                change(kwargs[key] if isinstance(key, str) else args[key], unpack(after))
            return None
        # Raised in the test as if its own call had: tests of raised exceptions are part of the published suites.
        raise _exception_of(json.loads(answer))


class RemoteSolution:
    """A program's class Solution as test code sees it; each call makes a new one over there."""

    def __init__(self, dialog: socket.socket) -> None:
        self._dialog = dialog

    def __getattr__(self, name: str) -> Remote:
        return Remote(self._dialog, f"Solution.{name}")


def _exception_of(answer: dict[str, Any]) -> BaseException:
    kind = getattr(builtins, str(answer["type"]), None)
    # Exception, not BaseException: a program that raises SystemExit must not end its test. StopIteration would
    # end a for loop or generator of the test without a trace.
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not StopIteration:
        try:
            return kind(answer.get("message", answer["text"]))
        except TypeError:  # UnicodeDecodeError and its like take more
            pass
    return RuntimeError(answer["text"])


_MODES: dict[str, Callable[[Job, socket.socket], None]] = {
    "script": _script,
    "functions": _functions,
    "check": _check,
}
