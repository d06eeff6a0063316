"""pass_rate: five buckets by fixed bounds on the share of rollouts that pass.

The bounds mean the same for every data set and every policy, so buckets can be compared between checkpoints; their
sizes follow from the data. very_hard is what was never solved: no signal for a policy gradient.
"""

from __future__ import annotations

from analyzer.buckets import Assignment, Strategy, register
from analyzer.schema import Metrics

BOUNDS = (0.25, 0.5, 0.75)
"""A pass rate on a bound belongs to the easier side."""


@register
class PassRate(Strategy):
    """0 very_hard, < 0.25 hard, < 0.5 medium, < 0.75 easy, else very_easy."""

    name = "pass_rate"
    buckets = ("very_hard", "hard", "medium", "easy", "very_easy")
    needs_samples = 5
    where_unequal = (
        "bucketed by their own pass rates, which does not favour any; but no pass in {common} says less than no pass "
        "in {most} (solve_rate_high in problem_metrics.parquet)"
    )
    because = "so they cannot be in hard: one pass in four is 0.25 already"

    def place(self, metrics: Metrics) -> Assignment:
        import numpy as np

        above_zero = (metrics.pass_rate > 0).astype(np.int8)
        return Assignment(self.buckets, above_zero + np.digitize(metrics.pass_rate, BOUNDS).astype(np.int8))
