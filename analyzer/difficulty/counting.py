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
        if len(part) == 0:
            continue
        if _ascend(part):  # as nearly always: a third of the time, and nothing is copied as 64 bits
            starts = _starts(part)
            counts[part[starts]] += np.diff(np.append(starts, len(part)))
        else:
            of_block = np.bincount(part - low)
            counts[low : low + len(of_block)] += of_block
    return counts


def sums(codes: NDArray[np.integer], values: NDArray[np.integer], problems: int) -> IntArray:
    """The sum of the values of each problem, (problems,), below 2**53 in size. codes, values: (rollouts,).

    Raises ValueError for a code that is negative or not below `problems`.
    """
    total = np.zeros(problems, np.int64)
    for low, rows in code_blocks(codes, problems):
        part = codes[rows]
        if _ascend(part):
            starts = _starts(part)
            total[part[starts]] += np.add.reduceat(values[rows], starts, dtype=np.int64)
        else:
            of_block = np.bincount(part - low, values[rows])  # in doubles, which hold them exactly
            total[low : low + len(of_block)] += of_block.astype(np.int64)
    return total


def _ascend(codes: NDArray[np.integer]) -> bool:
    return bool((codes[1:] >= codes[:-1]).all())


def _starts(codes: NDArray[np.integer]) -> IntArray:
    """Where each of ascending codes begins."""
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))


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
