"""estimate: how sure the buckets are, for the strategy that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.buckets import Strategy
from analyzer.difficulty.stability import Stability, placing, stability
from analyzer.rollouts.numbering import Numbering

if TYPE_CHECKING:
    from analyzer.stages.merge import Merged


def bucket_stability(strategy: Strategy, numbering: Numbering, merged: Merged, seed: int) -> Stability | None:
    """How many problems would stay in their buckets if all were sampled again; None for fewer than two problems."""
    # By data_idx, so that the order of the rows changes nothing; mostly they are numbered in that order already.
    order, codes = numbering.order(), merged.codes
    if (np.diff(order) != 1).any():
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order))
        codes = rank[codes]
    return stability(
        placing(strategy),
        strategy.buckets,
        codes=codes,
        rewards=merged.rewards,
        problems=numbering.problems,
        seed=seed,
        source=merged.source[order],
        passing=merged.passing,
    )
