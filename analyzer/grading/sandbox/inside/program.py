"""What the forked child does: one job, in one of three ways.

    script     runs a program as a process would: input on 0, output on 1
    functions  executes a program, then answers calls of its functions
    check      executes test code in which the entry point stands for the function of another sandbox

A job: {"mode": "functions", "prelude": "modules", "sources": ["def add(a, b): return a + b"], ...}
"""

from __future__ import annotations

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
from .calls import Link, Remote, TestLink, describe
from .preludes import PRELUDES
from .values import Uncrossable

RECURSION_LIMIT = 600_000  # as verl 0.9.1 sets it for programs
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

    def find(name: str) -> Callable[..., Any]:
        function = _find(own, name)
        return _as_json(function) if job.get("as_json") else function

    Link(dialog, find, values_alone=not job.get("by_reference")).serve()


def _as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        _refuse_what_json_does(value)
        return value

    return called


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
    link = TestLink(dialog, _nothing_to_find)
    # Put in before each test again, since a test may define a helper or a stub of the same name.
    remotes: dict[str, Any] = {name: Remote(link, name) for name in job["entry_points"]}
    if "Solution" in remotes:
        remotes["Solution"] = lambda: RemoteSolution(link)
    remotes["candidate"] = remotes[job["entry_points"][0]]
    for test in tests:
        namespace.update(remotes)
        exec(compile(test, "<test>", "exec", dont_inherit=True), namespace)
    frames.send(dialog, frames.DONE, job["nonce"])


def _nothing_to_find(name: str) -> Callable[..., Any]:
    raise NameError(f"a test has no function {name!r} for its program")


class RemoteSolution:
    """A program's class Solution as test code sees it; each call makes a new one over there."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Remote:
        return Remote(self._link, f"Solution.{name}")


_MODES: dict[str, Callable[[Job, socket.socket], None]] = {
    "script": _script,
    "functions": _functions,
    "check": _check,
}
