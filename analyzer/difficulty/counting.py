"""counting: how often each of many small numbers is there, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

BLOCK = 1 << 22
"""Rollouts looked at at a time."""


def count(codes: NDArray[np.integer], problems: int, chosen: NDArray[np.bool_] | None = None) -> IntArray:
    """The rollouts of each problem, (problems,), or those of the chosen ones. codes, chosen: (rollouts,).

    Raises ValueError for a code that is negative or not below `problems`.
    """
    counts = np.zeros(problems, np.int64)
    for low, rows in code_blocks(codes, problems):
        part = codes[rows] if chosen is None else codes[rows][chosen[rows]]
        if len(part):
            of_block = np.bincount(part - low)
            counts[low : low + len(of_block)] += of_block
    return counts


def code_blocks(codes: NDArray[np.integer], problems: int) -> Iterator[tuple[int, slice]]:
    """The lowest code of some rollouts after others, and which these are: bincount copies what it counts as 64 bits.

    From the lowest code of each block, since rollouts of millions of problems mostly stand problem after problem.
    """
    for start in range(0, len(codes), BLOCK):
        part = codes[start : start + BLOCK]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= problems:
            raise ValueError(f"a problem is numbered {low if low < 0 else high}, but there are {problems}")
        yield low, slice(start, start + len(part))


def distinct(keys: IntArray, bound: int) -> tuple[IntArray, NDArray[np.int32]]:
    """The distinct keys, ascending, and the position of each key among them; keys are 0 .. bound-1, shape (n,).

    As np.unique, but in linear time where the bound allows a table.
    """
    if bound > max(1 << 20, 4 * len(keys)):
        values, of = np.unique(keys, return_inverse=True)
        return values, of.reshape(-1).astype(np.int32)
    seen = np.zeros(bound, dtype=bool)
    seen[keys] = True
    values = np.flatnonzero(seen)
    place = np.empty(bound, np.int32)
    place[values] = np.arange(len(values))
    return values, place[keys]
