"""rollout-analyzer: how hard is each problem for this policy, and which should I train on?

The flow, one way: read -> plan -> score (joblib workers) -> merge -> metrics -> bucket -> write -> summary.
"""

__version__ = "0.1.0"
