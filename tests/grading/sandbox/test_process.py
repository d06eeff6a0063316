"""Locks of multiprocessing without shared memory: the same as the kernel's, for the threads of one process."""

from __future__ import annotations

import _multiprocessing
import itertools
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from analyzer.grading.sandbox.inside.process import SemLock

KINDS = {
    "lock": (1, 1, 1),
    "recursive": (0, 1, 1),
    "semaphore": (1, 2, 2**31 - 1),
    "bounded": (1, 2, 2),
    "none": (1, 0, 5),
}
NAMES = itertools.count()


def of_the_kernel(kind: int, value: int, most: int) -> Any:
    return _multiprocessing.SemLock(kind, value, most, f"/analyzer-{os.getpid()}-{next(NAMES)}", True)


def of_threads(kind: int, value: int, most: int) -> SemLock:
    lock = object.__new__(SemLock)
    SemLock.__init__(lock, kind, value, most)
    return lock


def act(lock: Any, what: str) -> object:
    """What one act on a lock gives, and how the lock stands after it."""
    try:
        done = {
            "take": lambda: lock.acquire(False),
            "wait": lambda: lock.acquire(True, 0.0001),
            "negative": lambda: lock.acquire(True, -1),
            "release": lock.release,
        }[what]()
    except (AssertionError, ValueError) as error:
        done = type(error)
    return done, lock._get_value(), lock._is_zero(), lock._count(), lock._is_mine()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_lock_for_threads_does_what_the_kernels_does(kind: tuple[int, int, int]) -> None:
    draw = random.Random(1)
    with ThreadPoolExecutor(1) as other:  # whose a lock is matters
        for _ in range(20):
            locks = of_threads(*kind), of_the_kernel(*kind)
            acts = draw.choices(["take", "wait", "negative", "release"], [3, 1, 1, 4], k=12)
            for position, what in enumerate(acts):
                there = draw.random() < 0.3
                mine, theirs = [other.submit(act, lock, what).result() if there else act(lock, what) for lock in locks]
                assert mine == theirs, acts[: position + 1]
