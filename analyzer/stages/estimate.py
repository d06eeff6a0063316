"""estimate: how sure the buckets are, for the strategy that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer import buckets
from analyzer.buckets import Strategy
from analyzer.difficulty import metrics
from analyzer.difficulty.stability import Stability, stability
from analyzer.rollouts.numbering import Numbering

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray
    from analyzer.stages.merge import Merged


def bucket_stability(strategy: Strategy, numbering: Numbering, merged: Merged, seed: int) -> Stability | None:
    """How many problems would stay in their buckets if all were sampled again; None for fewer than two problems."""

    def place(codes: IntArray, values: FloatArray, passing: NDArray[np.bool_], problems: int) -> NDArray[np.int8]:
        return buckets.assign(strategy, metrics.problem_metrics(codes, values, problems, passing)).positions

    rank = np.argsort(numbering.order())  # (problems,) so that the order of the rows changes nothing
    return stability(
        place,
        strategy.buckets,
        codes=rank[merged.codes],
        rewards=merged.rewards,
        problems=numbering.problems,
        seed=seed,
        source=merged.source[numbering.order()],
        passing=merged.passing,
    )
