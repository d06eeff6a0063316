"""adaptive: clusters of problems that behave alike (KMeans), hardest cluster first.

The buckets follow the gaps in the data instead of fixed bounds or equal sizes. The features are mean@5, pass_rate and
std_reward, so that a problem solved half the time differs from one with half the reward every time.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import TYPE_CHECKING, Any

from analyzer.buckets import Assignment, Strategy, register
from analyzer.errors import ConfigError
from analyzer.schema import Metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

NAMES = {1: (2,), 2: (0, 3), 3: (0, 1, 3), 4: (0, 1, 2, 3)}
"""The buckets, as positions, that a number of clusters takes: the ends first, the middle for a single one."""
_FEW_TIES = 0.1
_SAMPLE = 4096  # rows that tell whether ties are few


@register
class Adaptive(Strategy):
    """KMeans with four clusters, fewer where there are fewer distinct problems."""

    name = "adaptive"
    buckets = ("very_hard", "hard", "medium", "easy")
    needs_samples = 5
    where_unequal = "clustered by what {common} of them are expected to show, so that more samples are no advantage"
    because = "so their mean@5 is the mean of fewer rewards and their std_reward is coarse"

    def __init__(self, seed: int = 42) -> None:
        super().__init__(seed)
        try:
            import sklearn.cluster  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"--bucketing_strategy adaptive needs scikit-learn ({error}): "
                "pip install scikit-learn, or choose percentile, pass_rate or mean_reward"
            ) from error

    def place(self, metrics: Metrics) -> Assignment:
        import numpy as np

        # mean@5 and std_reward as expected of equally many samples, or more samples alone would move a problem.
        features = (metrics.common_mean_at_5, metrics.pass_rate, metrics.common_std_reward)
        cluster = self._cluster(np.column_stack(features))
        members = [np.flatnonzero(cluster == number) for number in np.unique(cluster)]
        # By mean_reward, too: with many passes mean@5 is 1.0 in several clusters.
        members.sort(key=lambda chosen: (_mean(metrics.common_mean_at_5[chosen]), _mean(metrics.mean_reward[chosen])))
        positions = np.empty(len(cluster), np.int8)
        for position, chosen in zip(NAMES[len(members)], members, strict=True):
            positions[chosen] = position
        if len(members) == 4:
            return Assignment(self.buckets, positions)
        warning = (
            f"the {len(cluster)} problems differ too little for four clusters: {len(members)} found; "
            "more responses per problem can separate them"
        )
        return Assignment(self.buckets, positions, (warning,))

    def _cluster(self, features: FloatArray) -> NDArray[np.integer[Any]]:
        """The cluster of each problem; features: (problems, 3)."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        # Distinct rows with weights: the outcome cannot depend on the order of the problems, and binary rewards give
        # few of them.
        rows, inverse, counts = _distinct_rows(features)
        kmeans = KMeans(min(4, len(rows)), random_state=self.seed, n_init=10)
        # One thread: with several, sklearn adds their partial sums in the order in which they finish.
        with _thread_pools().limit(limits=1), warnings.catch_warnings():
            # Rows that differ in the last bits only are one to KMeans, which warns of it and returns fewer clusters.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = kmeans.fit_predict(_standardised(rows, counts), sample_weight=counts)
        cluster: NDArray[np.integer[Any]] = labels[inverse]
        return cluster


@functools.cache
def _thread_pools() -> Any:
    """What limits the threads of sklearn's libraries, which are loaded; to find them takes as long as the clusters."""
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _distinct_rows(rows: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """The distinct rows in ascending order, the number of each row's, and how often each is there.

    np.unique of rows does the same by comparing bytes of records, which takes twice as long.
    """
    import numpy as np

    first = np.ascontiguousarray(rows[:, 0])
    some = np.sort(first[:: max(1, len(first) // _SAMPLE)])
    if len(some) < 2 or np.mean(some[1:] == some[:-1]) > _FEW_TIES:
        order = np.lexsort(rows.T[::-1])
    else:
        # Graded rewards give few problems the same mean: the other columns decide for these only. A third of the time.
        order = np.argsort(first)
        equal = np.diff(first[order]) == 0
        tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
        order[tied] = order[tied][np.lexsort(rows[order[tied]].T[::-1])]
    ordered = rows.take(order, axis=0)
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    return ordered[starts], inverse, np.diff(np.append(starts, len(rows)))


def _standardised(rows: FloatArray, counts: IntArray) -> FloatArray:
    """Each column minus its mean over its standard deviation, both weighted by counts; 0 where all are equal."""
    import numpy as np

    centred = rows - np.average(rows, axis=0, weights=counts)
    deviation = np.sqrt(np.average(centred**2, axis=0, weights=counts))
    varies = (rows != rows[0]).any(axis=0) & (deviation > 0)
    # A column that does not vary would be 0 / 0; rounding can leave a deviation above 0 where all are equal.
    return np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)


def _mean(values: FloatArray) -> float:
    return math.fsum(values.tolist()) / len(values)
