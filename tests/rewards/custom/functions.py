"""Reward functions as users write them, and at their worst. Loaded by path in the child, never by the tests."""

import ctypes
import locale
import os
import random
import signal
import subprocess
import sys
import threading
import time


def _raise(error):
    raise error


def _spin():
    while True:
        try:
            sum(range(1000))
        except BaseException:
            pass


def _recurse():
    return _recurse()


def _daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)


def _close_streams():
    for fd in (0, 1, 2):
        os.close(fd)
    return 1.0


def _print():
    for _ in range(100):
        sys.stdout.write("x" * (1 << 20))
    sys.stdout.flush()
    return 1.0


def _change_state():
    os.chdir("/")
    os.environ["PATH"] = ""
    os.environ["CHANGED"] = "1"
    locale.setlocale(locale.LC_ALL, "C")
    sys.setrecursionlimit(5000)
    random.seed(time.time())
    random.random()
    return 1.0


def _state():
    """A number that is 1.0 only in a child that nothing has changed."""
    clean = "CHANGED" not in os.environ and os.getcwd() != "/" and sys.getrecursionlimit() == 1000
    return float(clean and random.random() == random.Random(0).random())


def _thread():
    threading.Thread(target=_spin).start()
    return 1.0


def _join_thread():
    thread = threading.Thread(target=_spin)
    thread.start()
    thread.join()


def _leave_daemon():
    _daemon()
    return 1.0


def _wait_for_daemon():
    _daemon()
    _spin()


def _nested():
    value = {}
    for _ in range(100_000):
        value = {"in": value}
    return {"score": 1.0, "deep": value}


class Hostile:
    def __str__(self):
        _spin()

    __repr__ = __float__ = __str__


CASES = {
    "right": lambda: 1.0,
    "wrong": lambda: 0,
    "true": lambda: True,
    "tuple": lambda: (0.5, "why"),
    "list": lambda: [0.25],
    "dict": lambda: {"score": 0.75, "pred": "5", "acc": True, "status": "fine", "rows": [1, (2,)], "odd": {1, 2}},
    "surrogate": lambda: {"score": 1.0, "pred": "\ud800!"},
    "none": lambda: None,
    "none score": lambda: {"score": None},
    "nan": lambda: float("nan"),
    "inf": lambda: {"score": float("inf")},
    "text": lambda: "1",
    "huge integer": lambda: 2**70,
    "no score": lambda: {"reward": 1.0},
    "empty": tuple,
    "object": Hostile,
    "10 MB": lambda: {"score": 1.0, "pred": "x" * 10_000_000},
    "10 MB text": lambda: "x" * 10_000_000,
    "nested": _nested,
    "exception": lambda: _raise(ValueError("no such thing")),
    "exit": lambda: sys.exit(0),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "recursion": _recurse,
    "memory error": lambda: _raise(MemoryError()),
    "memory bomb": lambda: len(b"x" * (1 << 40)),
    "os._exit": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill the group": lambda: os.killpg(0, signal.SIGKILL),
    "close all": lambda: os.closerange(0, 1 << 16) or 1.0,
    "close streams": _close_streams,
    "print": _print,
    "change state": _change_state,
    "state": _state,
    "loop": _spin,
    "join thread": _join_thread,
    "leave thread": _thread,
    "leave daemon": _leave_daemon,
    "wait for daemon": _wait_for_daemon,
    "subprocess": lambda: float(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout),
    "break os": lambda: [setattr(os, name, None) for name in ("getcwd", "fork", "kill", "write", "_exit")] and 1.0,
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 0.05) and time.sleep(60),
}


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return CASES[solution_str]()


def compute_scores(data_sources, solution_strs, ground_truths, extra_infos):
    return [CASES[text]() for text in solution_strs]


def reward(prompts, completions, **columns):
    return [CASES[text]() for text in completions]


def seen(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return {"score": 1.0, "seen": [data_source, solution_str, ground_truth, extra_info, kwargs]}


def seen_batched(data_sources, solution_strs, ground_truths, extra_infos, weight=1):
    return [
        {"score": 1.0, "seen": list(row), "weight": weight}
        for row in zip(data_sources, solution_strs, ground_truths, extra_infos)
    ]


def seen_by_trl(prompts, completions, **columns):
    return [
        {"score": 1.0, "seen": [prompt, completion, {name: values[i] for name, values in columns.items()}]}
        for i, (prompt, completion) in enumerate(zip(prompts, completions))
    ]


def without_extra(data_source, solution_str, ground_truth):
    return 1.0


async def awaited(data_source, solution_str, ground_truth, extra_info=None):
    import asyncio

    await asyncio.sleep(0)
    return 1.0


class Scorer:
    def __call__(self, data_source, solution_str, ground_truth):
        return 1.0


instance = Scorer()


def batch_size(data_sources, solution_strs, ground_truths, extra_infos):
    return [len(solution_strs) for _ in solution_strs]


def too_few(prompts, completions, **columns):
    return [1.0] * (len(completions) - 1)


def as_iterator(prompts, completions):
    yield from map(float, completions)


def endless(prompts, completions):
    while True:
        yield 1.0


def _hiding(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


hidden = _hiding(too_few)


def as_array(prompts, completions):
    import numpy

    return numpy.array([float(text) for text in completions], dtype=numpy.float32)


def numpy_scalar(data_source, solution_str, ground_truth):
    import numpy

    return {"score": numpy.float32(0.5), "hit": numpy.bool_(True), "at": numpy.arange(2)}


def needs_tokens(prompts, completions, completion_ids):
    return [1.0] * len(completions)


def needs_setting(data_source, solution_str, ground_truth, threshold):
    return threshold


def other_form(response, answer):
    return 1.0
