"""mean_reward: four quarters by rank of the mean reward.

For rewards that are not just right or wrong (partial credit, format rewards, penalties), where the mean over all
samples says more than the best five.
"""

from __future__ import annotations

from analyzer.buckets import Assignment, Strategy, register
from analyzer.schema import Metrics


@register
class MeanReward(Strategy):
    """As percentile, but by mean_reward alone."""

    name = "mean_reward"
    buckets = ("very_hard", "hard", "medium", "easy")

    where_unequal = "ranked by their own mean rewards, which does not favour any"

    def place(self, metrics: Metrics) -> Assignment:
        from analyzer.buckets._ranking import quarters

        return quarters(self.buckets, {"mean_reward": metrics.mean_reward})
