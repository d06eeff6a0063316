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
    analyzer.errors. Nothing is printed and there is no bar unless `progress=True`.
    """
    from analyzer import pipeline
    from analyzer.config import AnalysisSettings, from_values
    from analyzer.errors import ConfigError

    progress = bool(settings.pop("progress", False))
    chosen = from_values(AnalysisSettings, settings)
    result = None if chosen.dry_run or chosen.explain_cache or chosen.part else pipeline.analyze(chosen, progress)
    if result is None:
        raise ConfigError("dry_run, explain_cache and part give no result: use the command analyze_rollouts for them")
    return result
