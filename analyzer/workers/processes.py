"""Processes of a run: each ends with its driver, and one call can be made in a process of its own."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import pickle
import pkgutil
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from analyzer.errors import AnalyzerError
from analyzer.workers import forks

Value = TypeVar("Value")


def follow(driver: int) -> None:
    """Make this process a worker: it ends when its driver ends, however that ends; SIGINT is for the driver."""
    # Ctrl-C reaches the whole process group. The driver decides what is still committed, and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_driver() -> None:
        # PR_SET_PDEATHSIG does not help: it fires when the thread that started this process ends, and the executor's
        # thread of a round ends while loky keeps its workers for the next. A changed parent tells of a killed driver.
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_driver, daemon=True).start()


def start_worker(driver: int) -> None:
    """Make this process one that scores shards for a driver on the same host."""
    if not forks.follow():
        follow(driver)
        hide_pandas_from_arrow()


def warm_up(load: Callable[[], None], modules: Sequence[str]) -> None:
    """Load what any worker needs, in the process that they are forked from."""
    hide_pandas_from_arrow()
    with warnings.catch_warnings():
        # joblib's, where there is no /dev/shm: the driver says what follows from that, and once.
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)
    load()


def call_by_name(name: str) -> None:
    """Call a function that is named as `package.module:function`: to say it, the driver need not import the module."""
    pkgutil.resolve_name(name)()


def hide_pandas_from_arrow() -> None:
    """Keep arrow from importing pandas when it first looks at a value: a quarter of a second of CPU and 50 MB.

    It tries once, so the import is made to fail once (docs/decisions/pandas-finder.md). A user's own code runs in
    other processes.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0]).to_numpy()
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A module finder that hides pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


_APART = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    "from analyzer.workers.processes import answer; answer()"
)


class CallApart(threading.Thread, Generic[Value]):
    """A call in a process of its own, so that others go on meanwhile and the memory it took is given back.

    call = CallApart(load, "model")     # starts now
    call.go_on("sample")                # load("model")("sample"): what it returned is called with the rest
    call.result()                       # waits
    """

    def __init__(self, function: Callable[..., Callable[..., Value]], *args: Any) -> None:
        super().__init__(daemon=True)
        self._name = getattr(function, "__name__", str(function))
        self._rest: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answer = b""
        self._code = 0  # that the process has exited with
        # Not with loky: for one call it would make semaphores, and so need a /dev/shm that can be written to.
        # sys.path goes first, as JSON: the pickle cannot be read before the modules that it names can be imported.
        self._call = json.dumps(sys.path).encode() + b"\n" + pickle.dumps((os.getpid(), function, args))
        self._begin()
        self.start()

    def _begin(self) -> None:
        # -P: a file in the working directory must not stand in for a module of the standard library. A process group
        # of its own: Ctrl-C is for the driver, also while Python starts and cannot ignore it yet.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _APART], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )

    def go_on(self, *args: Any) -> None:
        """Tell the process what its call lacks."""
        self._rest.put(pickle.dumps(args))

    def run(self) -> None:
        """Feed the process and read what it answers: in a thread, as a pipe holds 64 KB and its reader may be busy."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError), stdin:  # it has ended; its exit code says how
            stdin.write(self._call)
            stdin.flush()
            stdin.write(self._rest.get())
        with stdout:
            self._answer = stdout.read()
        self._code = self._process.wait()

    def done(self) -> bool:
        """Whether `result` returns at once."""
        return not self.is_alive()

    def result(self) -> Value:
        """What the call returned. Raises what it raised, and AnalyzerError where the process ended without a word."""
        self.join()
        if self._code != 0 or not self._answer:
            how = f"signal {-self._code}" if self._code < 0 else f"exit status {self._code}"
            raise AnalyzerError(f"a process that calls {self._name} ended too soon ({how}); out of memory?")
        # A pickle is safe here alone: both ends are this program, and only trusted code (never a model's) ran in
        # between.
        value, error = pickle.loads(self._answer)
        if error is not None:
            raise error
        result: Value = value
        return result

    def end(self) -> None:
        """End the process where it still runs."""
        self._process.kill()
        self._rest.put(b"")
        self.join()


def answer() -> None:
    """The other side of `CallApart`: make the call that stands on stdin, and write its value or error to stdout."""
    # Libraries print while they load. Their words go to stderr, so that stdout holds the answer and nothing else.
    out = os.dup(1)
    os.dup2(2, 1)
    # It ends with the call: until then a tenth of its time would go to looking for what may be freed.
    gc.disable()
    driver, function, args = pickle.load(sys.stdin.buffer)
    follow(driver)
    answered = _answer(lambda: function(*args), lambda: pickle.load(sys.stdin.buffer))
    with open(out, "wb") as file:
        file.write(answered)
    # The driver waits for its end, and to take down transformers Python would need another tenth of a second.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or a library has closed it
            stream.flush()
    os._exit(0)


def _answer(function: Callable[[], Callable[..., Any]], rest: Callable[[], Sequence[Any]]) -> bytes:
    result: tuple[Any, BaseException | None]
    try:
        further = function()
        result = (further(*rest()), None)
    except EOFError:  # the driver has no use for it any more
        os._exit(1)
    except Exception as error:  # noqa: BLE001  # raised again by the driver
        result = (None, error)
    return pickle.dumps(result)


class CallForked(CallApart[Value]):
    """The same, forked from where workers are: what is loaded there for them, the call need not load again.

    The cores are for the workers first: the process waits for `hurry`, or for so many seconds. Where nothing can be
    forked, a new Python makes the call at once.
    """

    def __init__(self, after: float, function: Callable[..., Callable[..., Value]], *args: Any) -> None:
        self._after = after
        self._loads = (function, args)
        self._lock = threading.Lock()
        self._forked: forks.Call | None = None
        self._over = False
        self._hurried = threading.Event()
        super().__init__(function, *args)

    def _begin(self) -> None:
        """Nothing yet: to fork, it is waited until all is loaded."""

    def hurry(self) -> None:
        """The workers have nothing left to do."""
        self._hurried.set()

    def run(self) -> None:
        """Fork, and read what the process answers."""
        ours, theirs = multiprocessing.Pipe()
        with ours:
            try:
                with theirs:
                    forked = forks.Call(answer_forked, theirs, *self._loads)
            except (OSError, EOFError):  # the process to fork from has ended, or could not fork
                with self._lock:
                    if self._over:
                        return
                    super()._begin()
                super().run()
                return
            with self._lock:
                self._forked = forked
            with contextlib.suppress(OSError, EOFError):  # it has ended; without an answer, `result` says so
                self._hurried.wait(self._after)
                ours.send_bytes(self._rest.get())
                self._answer = ours.recv_bytes()
            forked.close()

    def result(self) -> Value:
        """As of CallApart; now it is waited for."""
        self.hurry()
        return super().result()

    def end(self) -> None:
        """End the process where it still runs."""
        with self._lock:
            self._over = True
            if self._forked is not None:
                self._forked.close()
            elif hasattr(self, "_process"):
                self._process.kill()
        self._hurried.set()
        self._rest.put(b"")
        self.join()


def answer_forked(driver: Connection, function: Callable[..., Any], args: Sequence[Any]) -> None:
    """The other side of `CallForked`."""
    forks.follow()
    os.dup2(2, 1)
    with driver:
        driver.send_bytes(_answer(lambda: function(*args), lambda: pickle.loads(driver.recv_bytes())))
