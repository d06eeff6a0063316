"""Length, reward and finish of every rollout, counted in one streamed pass for the charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.difficulty.metrics import two_values
from analyzer.report import analysis
from analyzer.rollouts.finish import was_cut_off
from analyzer.schema import FINISH_REASON, NOTHING, RESPONSE_TOKENS, REWARD, REWARD_PASS_VALUE, least_passing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

_MOST_VALUES = 1000  # distinct rewards that are counted one by one
_LONGEST = 1 << 21  # tokens; longer responses are counted as so long, or one of them would make a table of gigabytes


class Rollouts(NamedTuple):
    """Counts over all scored rollouts."""

    right: IntArray  # (longest + 1,) passing rollouts by number of tokens
    wrong: IntArray  # (longest + 1,) the others
    values: dict[float, int]  # rollouts by reward, ascending; empty where there are too many different ones
    low: float  # lowest and highest reward, NaN where nothing is scored
    high: float
    cut: int  # rollouts whose finish_reason says that they were cut off
    tokens_known: bool
    passing: Mapping[Any, int] = NOTHING  # of `values`, those that pass


class Decile(NamedTuple):
    """A tenth of the rollouts by length."""

    shortest: int  # tokens
    longest: int
    rollouts: int
    pass_rate: float


def count_rollouts(rollouts: analysis.Rollouts, threshold: float) -> Rollouts:
    """Count the rollouts of an analysis; memory does not grow with them.

    threshold: the reward from which a rollout passes.
    """
    import pyarrow.compute as pc

    right, wrong = np.zeros(1, np.int64), np.zeros(1, np.int64)
    values: Counter[float] | None = Counter()
    passed: Counter[float] = Counter()
    low, high, cut, known = np.inf, -np.inf, 0, False
    there = rollouts.schema.names
    names = [name for name in (REWARD, REWARD_PASS_VALUE, RESPONSE_TOKENS, FINISH_REASON) if name in there]
    for _, batch in rollouts.read(names):
        rewards = batch.column(REWARD).to_numpy(zero_copy_only=False).astype(np.float64)
        scored = ~np.isnan(rewards)
        tokens = batch.column(RESPONSE_TOKENS)
        known = known or tokens.null_count < len(tokens)
        lengths = np.minimum(pc.fill_null(tokens, 0).to_numpy().astype(np.int64), _LONGEST)
        deciding = rewards
        if REWARD_PASS_VALUE in names:  # of a sum, one part says what passes
            values_of_part = batch.column(REWARD_PASS_VALUE).to_numpy(zero_copy_only=False).astype(np.float64)
            deciding = np.where(np.isnan(values_of_part), rewards, values_of_part)
        passing = deciding >= least_passing(threshold)
        right = _added(right, np.bincount(lengths[scored & passing]))
        wrong = _added(wrong, np.bincount(lengths[scored & ~passing]))
        if FINISH_REASON in names:
            cut += int(was_cut_off(batch.column(FINISH_REASON)).sum())
        if scored.any():
            low, high = min(low, rewards[scored].min()), max(high, rewards[scored].max())
            if values is not None:
                values.update(_levels(rewards[scored]))
                passed.update(_levels(rewards[scored & passing]))
                values = values if len(values) <= _MOST_VALUES else None
    longest = max(len(right), len(wrong))
    right, wrong = (np.pad(part, (0, longest - len(part))) for part in (right, wrong))
    lowest, highest = (float(low), float(high)) if np.isfinite(low) else (np.nan, np.nan)
    return Rollouts(right, wrong, dict(sorted((values or {}).items())), lowest, highest, cut, known, dict(passed))


def _levels(rewards: NDArray[np.float64]) -> dict[float, int]:
    """How many rollouts have each reward."""
    found = two_values(rewards)
    if found is None or not len(rewards):
        levels, counts = np.unique(rewards, return_counts=True)
        return dict(zip(levels.tolist(), counts.tolist(), strict=True))
    # Right and wrong, as nearly always: counted without sorting them.
    low, high = found
    highest = int(np.count_nonzero(rewards == high))
    return {low: len(rewards) - highest, high: highest} if highest < len(rewards) else {high: highest}


def _added(one: IntArray, other: IntArray) -> IntArray:
    size = max(len(one), len(other))
    total: IntArray = np.pad(one, (0, size - len(one))) + np.pad(other, (0, size - len(other)))
    return total


def deciles(found: Rollouts) -> list[Decile]:
    """The rollouts cut into tenths by length; equally long ones stay together, so fewer where many are."""
    both = found.right + found.wrong
    total = int(both.sum())
    if total == 0:
        return []
    upto = np.cumsum(both)
    edges = np.unique(np.searchsorted(upto, np.arange(1, 11) * total / 10))
    tenths, start = [], 0
    for edge in edges.tolist():
        stop = edge + 1
        rollouts = int(both[start:stop].sum())
        if rollouts:
            there = np.flatnonzero(both[start:stop])
            passing = int(found.right[start:stop].sum())
            tenths.append(Decile(start + int(there[0]), start + int(there[-1]), rollouts, passing / rollouts))
        start = stop
    return tenths


def log_bins(found: Rollouts, bins: int = 40) -> tuple[list[int], list[int], list[int]]:
    """(edges, right, wrong): counts by length in bins of equal ratio between the shortest and the longest response."""
    both = np.flatnonzero(found.right + found.wrong)
    if len(both) == 0:
        return [], [], []
    first = max(int(both[0]), 1)
    last = max(int(both[-1]), first)
    edges = np.unique(np.round(np.geomspace(first, last + 1, bins + 1)).astype(np.int64))
    edges[0] = 0  # responses of no tokens are in the first bin
    right, wrong = (np.add.reduceat(part, edges[:-1]) for part in (found.right, found.wrong))
    edges[0] = first
    return edges.tolist(), right.tolist(), wrong.tolist()
