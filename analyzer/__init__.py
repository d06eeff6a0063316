"""rollout-analyzer: how hard is each problem for this policy, and which should I train on?

The flow, one way: read -> plan -> score (joblib workers) -> merge -> metrics -> bucket -> write -> summary.

    import analyzer

    result = analyzer.analyze(rollouts="rollouts.parquet", model_path="Qwen/Qwen3-8B", output_dir="analysis")
    result.problems.query("bucket == 'hard'")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.result import Result

__version__ = "0.1.0"

__all__ = ["__version__", "analyze"]


def analyze(**settings: Any) -> Result:
    """Analyse rollouts as the command analyze_rollouts does; the keywords are its flags.

    Returns a Result with `problems` and `rollouts` as DataFrames and the `summary`. Raises the errors of
    analyzer.errors. There is no bar unless `progress=True`.
    """
    from analyzer import pipeline
    from analyzer.config import AnalysisSettings, from_values
    from analyzer.errors import ConfigError

    progress = bool(settings.pop("progress", False))
    if settings.get("part") is not None:
        raise ConfigError("part: a share of the shards has no result; use the command for it")
    result = pipeline.analyze(from_values(AnalysisSettings, settings), progress)
    if result is None:
        raise ConfigError("part: a share of the shards has no result")
    return result
