"""by_source: what the rollouts of each data source earned, so that a bad one does not hide behind a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.counting import BLOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tally(NamedTuple):
    """Counts of the rollouts of one data source."""

    rollouts: int
    scored: int
    passed: int  # of the scored ones
    unfound: int  # scored, not cut off, and without an answer
    uncut: int  # not cut off
    cut_scored: int  # cut off, and scored
    cut_passed: int

    @property
    def pass_rate(self) -> float | None:
        """The share of the scored rollouts that pass; None without any."""
        return self.passed / self.scored if self.scored else None

    @property
    def cut_share(self) -> float:
        """The share of the responses that were cut off."""
        return 1 - self.uncut / self.rollouts if self.rollouts else 0.0

    @property
    def unfound_share(self) -> float:
        """The share of the responses without an answer among those that were not cut off."""
        return self.unfound / self.uncut if self.uncut else 0.0


def tally(
    source: NDArray[np.integer],
    sources: int,
    *,
    rewards: NDArray[np.floating],
    codes: NDArray[np.integer] | None = None,
    passing: NDArray[np.bool_],
    found: NDArray[np.bool_],
    cut: NDArray[np.bool_] | None,
) -> list[Tally]:
    """The counts of each data source.

    source: the data source of each rollout, 0 .. sources-1, or with `codes`, which name its problem, of each problem;
    rewards: NaN where not scored; passing: whether it passes; found: whether there was an answer; cut: whether it was
    cut off (None: not known, none is taken to be). All else of shape (rollouts,).
    """
    # Rollouts of one data source that are alike in all that is asked, counted in one pass: a bit for each question.
    alike = np.zeros((sources, 16), np.int64)
    for start in range(0, len(rewards), BLOCK):
        rows = slice(start, start + BLOCK)
        of = source[rows] if codes is None else source[codes[rows]]
        kind = of.astype(np.int64) * 16 + ~np.isnan(rewards[rows])
        for bit, answers in ((2, passing), (4, found), (8, cut)):
            if answers is not None:
                kind += answers[rows] * np.uint8(bit)
        alike += np.bincount(kind, minlength=alike.size).reshape(alike.shape)
    scored, passes, answered, was_cut = (np.arange(16) & bit > 0 for bit in (1, 2, 4, 8))
    unfound = scored & ~answered & ~was_cut
    counted = (
        np.ones(16, bool),
        scored,
        scored & passes,
        unfound,
        ~was_cut,
        was_cut & scored,
        was_cut & scored & passes,
    )
    return [Tally(*each) for each in (alike @ np.array(counted).T).tolist()]
