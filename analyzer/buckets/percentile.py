"""percentile: four quarters by rank of mean@5, and by mean_reward where mean@5 is equal.

It answers "which problems are the hardest of these for this policy?": the buckets are of about equal size whatever
the level of the policy, as far as ties allow.
"""

from __future__ import annotations

from analyzer.buckets import Assignment, Strategy, register
from analyzer.schema import Metrics


@register
class Percentile(Strategy):
    """Rank by (mean@5, then mean_reward); percentile <= 25 hard, <= 50 medium-hard, <= 75 medium-easy, else easy."""

    name = "percentile"
    buckets = ("hard", "medium-hard", "medium-easy", "easy")
    needs_samples = 5
    because = "so their mean@5 is the mean of fewer rewards"

    def place(self, metrics: Metrics) -> Assignment:
        from analyzer.buckets._ranking import quarters

        return quarters(self.buckets, {"mean@5": metrics.mean_at[5], "mean_reward": metrics.mean_reward})
