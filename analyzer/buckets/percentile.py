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
    where_unequal = "ranked by the mean@5 expected of {common} of them, so that more samples are no advantage"
    because = "so their mean@5 is the mean of fewer rewards"

    def place(self, metrics: Metrics) -> Assignment:
        from analyzer.buckets._ranking import quarters

        return quarters(self.buckets, {"mean@5": metrics.common_mean_at_5, "mean_reward": metrics.mean_reward})
