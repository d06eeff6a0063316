"""Processes of a run: each ends with its driver, and one call can be made in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from analyzer.errors import AnalyzerError

Value = TypeVar("Value")


def follow(driver: int) -> None:
    """Make this process a worker: it ends when its driver ends, however that ends; SIGINT is for the driver."""
    # Ctrl-C reaches the whole process group. The driver decides what is still committed, and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_driver() -> None:
        # PR_SET_PDEATHSIG is no help: it fires when the thread that started this process ends, and the executor's
        # thread of a round ends while loky keeps its workers for the next. A changed parent tells of a killed driver.
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_driver, daemon=True).start()
    _tell_arrow_of_no_pandas()


def _tell_arrow_of_no_pandas() -> None:
    """Arrow imports pandas when it first looks at a value; a second and 50 MB, for which a worker has no use.

    It tries once, so the import is made to fail that once. Code of the user runs in processes of its own.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0]).to_numpy()
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder of modules that says there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


_APART = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    "from analyzer.workers.processes import answer; answer()"
)


def call_apart(function: Callable[..., Value], *args: Any) -> Value:
    """Call a function in a process that then ends, so that the memory it took is given back.

    Raises what it raises, and AnalyzerError where the process ended without a word.
    """
    # Not with loky: for one call it would make semaphores, and so need a /dev/shm that can be written to.
    # sys.path goes first, as JSON: the pickle cannot be read before the modules that it names can be imported.
    call = json.dumps(sys.path).encode() + b"\n" + pickle.dumps((os.getpid(), function, args))
    # -P: a file in the working directory must not stand in for a module of the standard library.
    done = subprocess.run([sys.executable, "-P", "-c", _APART], input=call, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0 or not done.stdout:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise AnalyzerError(f"a process that calls {function.__name__} ended too soon ({how}); out of memory?")
    # A pickle is safe here alone: both ends are this program, and only trusted code (never a model's) ran in between.
    value, error = pickle.loads(done.stdout)
    if error is not None:
        raise error
    result: Value = value
    return result


def answer() -> None:
    """The other side of `call_apart`: make the call that stands on stdin, and write its value or error to stdout."""
    # Libraries print while they load. Their words go to stderr, so that stdout holds the answer and nothing else.
    out = os.dup(1)
    os.dup2(2, 1)
    driver, function, args = pickle.load(sys.stdin.buffer)
    follow(driver)
    result: tuple[Any, BaseException | None]
    try:
        result = (function(*args), None)
    except Exception as error:  # noqa: BLE001  # raised again by the driver
        result = (None, error)
    with open(out, "wb") as file:
        file.write(pickle.dumps(result))
