"""Buckets: what a bucketing strategy is, which there are, and how problems are put into buckets.

A strategy looks at the metrics of the scored problems and gives each a place in its list of buckets, hardest first::

    strategy = build("percentile")
    assignment = assign(strategy, metrics)
    assignment.sizes()                  # {"hard": 250, "medium-hard": 250, "medium-easy": 250, "easy": 250}

To add one, add one file to this folder with a class that is decorated by `register`; nothing else needs to know of
it. A module whose name starts with an underscore holds what several strategies share. The laws that every strategy
keeps (tests/buckets/test_laws.py): each problem is in one bucket; equal evidence, equal bucket; the order of the
problems changes nothing.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from analyzer.errors import ConfigError, counted
from analyzer.registry import Registry
from analyzer.schema import Metrics

if TYPE_CHECKING:  # numpy stays off the path of --help
    import numpy as np
    from numpy.typing import NDArray

    Int8Array = NDArray[np.int8]

__all__ = [
    "NEARLY_EQUAL",
    "STRATEGIES",
    "UNSCORED",
    "Assignment",
    "Strategy",
    "assign",
    "build",
    "find",
    "names",
    "register",
]

UNSCORED = "unscored"
"""The bucket of problems without a scored rollout; no strategy may use the name."""


NEARLY_EQUAL = 0.8
"""Numbers of scored rollouts are worth a warning if the smallest is below this share of the largest."""


class Assignment(NamedTuple):
    """Which bucket each problem is in, and what the user should know of it."""

    buckets: tuple[str, ...]  # hardest first; fit to be part of a file name
    positions: Int8Array  # (problems,) place of each problem's bucket in `buckets`; -1: unscored
    warnings: tuple[str, ...] = ()  # one sentence or two each: what happened, why, what to do

    def sizes(self) -> dict[str, int]:
        """The number of problems in each bucket, hardest first; empty buckets too, `unscored` only where there are."""
        sizes = {bucket: int((self.positions == at).sum()) for at, bucket in enumerate(self.buckets)}
        unscored = int((self.positions < 0).sum())
        return sizes | {UNSCORED: unscored} if unscored else sizes


class Strategy(ABC):
    """A bucketing strategy. Subclass, set `name` and `buckets`, write `place`."""

    name: ClassVar[str]
    buckets: ClassVar[tuple[str, ...]]  # hardest first
    needs_samples: ClassVar[int] = 1  # with fewer scored rollouts a problem cannot be placed as finely as meant
    because: ClassVar[str] = ""  # why it needs them, as the end of a sentence
    where_unequal: ClassVar[str] = "compared as they are"  # how problems with unequal numbers of rollouts are treated

    def __init__(self, seed: int = 42) -> None:
        """Raises ConfigError where the strategy cannot work on this machine: before any rollout is scored."""
        self.seed = seed

    @abstractmethod
    def place(self, metrics: Metrics) -> Assignment:
        """Put scored problems, at least one, into buckets: `metrics` holds no others."""


def _check(cls: type[Strategy]) -> None:
    """Raise ConfigError for buckets that cannot name files of their own."""
    unfit = [bucket for bucket in cls.buckets if not re.fullmatch(r"[a-z0-9_-]{1,64}", bucket) or bucket == UNSCORED]
    if unfit or len(set(cls.buckets)) < len(cls.buckets):
        raise ConfigError(
            f"bucketing strategy {cls.name!r} has buckets {cls.buckets}: they must be distinct, of a-z, 0-9, _ and -, "
            f"and not {UNSCORED!r}, since each names a file"
        )


STRATEGIES: Registry[type[Strategy]] = Registry("bucketing strategy", __name__, _check)
register = STRATEGIES.register
names = STRATEGIES.names
find = STRATEGIES.find


def build(name: str, seed: int = 42) -> Strategy:
    """The strategy of that name, ready to work. Raises ConfigError for an unknown one or where it cannot work."""
    return find(name)(seed)


def assign(strategy: Strategy, metrics: Metrics) -> Assignment:
    """Put every problem into a bucket; problems without a scored rollout take no rank and get position -1."""
    import numpy as np

    scored = metrics.num_scored > 0
    # Ranks are among scored problems alone: unscored ones would shift the quarters, with nothing known of them.
    positions = np.full(len(scored), -1, np.int8)  # (problems,)
    if not scored.any():
        return Assignment(strategy.buckets, positions)
    if not scored.all():  # of millions of problems a copy takes a gigabyte
        metrics = metrics.only(scored)
    placed = strategy.place(metrics)
    positions[scored] = placed.positions
    return Assignment(placed.buckets, positions, (*_warn_of_samples(strategy, metrics), *placed.warnings))


def _warn_of_samples(strategy: Strategy, metrics: Metrics) -> list[str]:
    """What few or unequal numbers of rollouts mean to the strategy."""
    needed, found = strategy.needs_samples, []
    if few := int((metrics.num_scored < needed).sum()):
        found.append(
            f"{few} of {counted(len(metrics.num_scored), 'problem')} {'has' if few == 1 else 'have'} fewer than "
            f"{needed} scored rollouts, {strategy.because}; sample at least {needed} responses per problem"
        )
    common, most = metrics.common_samples, int(metrics.num_scored.max())
    if common < NEARLY_EQUAL * most:
        done = strategy.where_unequal.format(common=common, most=most)
        found.append(f"problems have {common} to {most} scored rollouts: they are {done}")
    return found
