"""rollout-analyzer: how hard is each problem for this policy, and which should I train on?

    import analyzer

    result = analyzer.analyze(rollouts="rollouts.parquet", model_path="Qwen/Qwen3-8B", output_dir="analysis")
    result.problems.query("bucket == 'hard'")
    analyzer.select(analysis="analysis", output="train.parquet", where="0.2 <= pass_rate <= 0.8")

    analyzer.compare(["analysis_step_100", "analysis_step_200"], output_dir="comparison").verdict

    analyzer.score("math_verify", [r"so it is $\\boxed{\\frac{1}{2}}$"], "0.5")[0].reward      # 1.0

Everything else of the public API is imported when it is first used, so that `import analyzer` stays cheap.
"""

# Python 3.6 must be able to import this file: `python -m analyzer` imports it before analyzer.commands, which names the
# Python that is needed. Hence the quoted annotations, and neither `/` in a signature nor `annotations` of __future__.

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.config import AnalysisSettings, ComparisonSettings, SelectionSettings
    from analyzer.errors import AnalyzerError, Interrupted, StorageError, UserError
    from analyzer.report.comparison import Comparison
    from analyzer.result import Result
    from analyzer.rewards import Reward, WholeReward
    from analyzer.schema import Problem, Score, Status
    from analyzer.selection.select import Selection

__version__ = "0.2.0"

__all__ = [
    "AnalysisSettings",
    "AnalyzerError",
    "Comparison",
    "ComparisonSettings",
    "Interrupted",
    "Problem",
    "Result",
    "Reward",
    "Score",
    "Selection",
    "SelectionSettings",
    "Status",
    "StorageError",
    "UserError",
    "WholeReward",
    "__version__",
    "analyze",
    "compare",
    "score",
    "select",
]

_HOMES = {
    "AnalysisSettings": "analyzer.config",
    "AnalyzerError": "analyzer.errors",
    "Comparison": "analyzer.report.comparison",
    "ComparisonSettings": "analyzer.config",
    "Interrupted": "analyzer.errors",
    "Problem": "analyzer.schema",
    "Result": "analyzer.result",
    "Reward": "analyzer.rewards",
    "Score": "analyzer.schema",
    "Selection": "analyzer.selection.select",
    "SelectionSettings": "analyzer.config",
    "Status": "analyzer.schema",
    "StorageError": "analyzer.errors",
    "UserError": "analyzer.errors",
    "WholeReward": "analyzer.rewards",
}


def analyze(settings: "AnalysisSettings | None" = None, *, progress: bool = False, **options: Any) -> "Result":
    """Analyze rollouts as the command analyze_rollouts does; the keywords are its flags.

    settings: instead of keywords. progress: show a bar and what is done on stderr; otherwise nothing is printed.

    Returns a Result with `problems` and `rollouts` as DataFrames and the `summary`. Raises the errors of
    analyzer.errors: UserError for what the caller can put right, StorageError for a full disk.
    """
    from analyzer import pipeline
    from analyzer.commands.parsing import from_values
    from analyzer.config import AnalysisSettings
    from analyzer.errors import ConfigError

    if settings is not None and (options or not isinstance(settings, AnalysisSettings)):
        raise ConfigError("analyze takes settings or keywords, not both: analyze(rollouts=..., output_dir=...)")
    chosen = settings if settings is not None else from_values(AnalysisSettings, options)
    result = None if chosen.dry_run or chosen.explain_cache or chosen.part else pipeline.analyze(chosen, progress)
    if result is None:
        raise ConfigError("dry_run, explain_cache and part give no result: use the command analyze_rollouts for them")
    return result


def select(settings: "SelectionSettings | None" = None, **options: Any) -> "Selection":
    """Select problems of an analysis as the command select_problems does; the keywords are its flags.

    settings: instead of keywords. Nothing is printed.

    Returns a Selection with the `manifest`, the `report` that the command prints, and the written rows as `problems`.
    Raises the errors of analyzer.errors.
    """
    from analyzer.commands.parsing import from_values
    from analyzer.config import SelectionSettings
    from analyzer.errors import ConfigError
    from analyzer.selection.select import select as select_problems

    if settings is not None and (options or not isinstance(settings, SelectionSettings)):
        raise ConfigError("select takes settings or keywords, not both: select(analysis=..., output=...)")
    return select_problems(settings if settings is not None else from_values(SelectionSettings, options))


def compare(analyses: "ComparisonSettings | Sequence[str | os.PathLike[str] | Result]", **options: Any) -> "Comparison":
    """Compare analyses of the same problems as the command compare_analyses does; the keywords are its flags.

    analyses: output folders or Results, the earliest policy first; or settings instead of all. Nothing is printed.

    Returns a Comparison: `verdict`, `problems` as a DataFrame, `to_text` the lines that the command prints. Raises the
    errors of analyzer.errors.
    """
    from analyzer.commands.parsing import from_values
    from analyzer.config import ComparisonSettings
    from analyzer.errors import ConfigError
    from analyzer.report.compare import compare as compare_analyses

    if isinstance(analyses, ComparisonSettings):
        if options:
            raise ConfigError("compare takes settings or keywords, not both")
        return compare_analyses(analyses)
    if isinstance(analyses, str | os.PathLike):
        raise ConfigError("compare takes a list of two folders or more")
    folders = [os.fspath(one if isinstance(one, str | os.PathLike) else one.output_dir) for one in analyses]
    return compare_analyses(from_values(ComparisonSettings, {"analyses": folders, **options}))


def score(
    reward: str,
    responses: "Sequence[str]",
    ground_truth: Any,
    *,
    options: "Mapping[str, Any] | None" = None,
    data_source: str = "",
    extra_info: Any = None,
    allow_code_execution: bool = False,
    sandbox: str = "auto",
    code_timeout: float = 6.0,
) -> "list[Score]":
    """Score responses to one problem with a reward by name, in this process and its bounded child.

    reward: a built-in's name or your own function as 'file.py:name'. options: as --reward_kwargs.
    allow_code_execution, sandbox, code_timeout: as the flags; rewards for code run nothing without the first.

    Returns one Score per response, in order: `.reward` is None exactly when `.status` is not ok. Raises ConfigError
    for a name or an option that does not exist and for anything but a list of texts, RewardError for a reward that
    cannot be loaded, SandboxError where a reward for code is not allowed to run programs or cannot be confined.
    """
    from analyzer.errors import ConfigError
    from analyzer.grading import Limits
    from analyzer.planning import routing
    from analyzer.schema import Problem
    from analyzer.scoring import Scorer

    if not isinstance(reward, str):
        raise ConfigError("score takes a reward by its name, or your own function as 'file.py:name'")
    texts = [] if isinstance(responses, str) else list(responses)  # of a single text each character is an item
    if isinstance(responses, str) or not all(isinstance(text, str) for text in texts):
        raise ConfigError("score takes a list of responses, each of them text")
    built = routing.build(
        reward,
        dict(options or {}),
        lambda: routing.sandbox_options(allow_code_execution, sandbox, code_timeout),
    )
    with contextlib.closing(Scorer(built, Limits())) as scorer:
        return scorer.score(Problem(data_source, ground_truth, extra_info), texts)


def __getattr__(name: str) -> Any:
    """The rest of the public API, and what help() needs."""
    if name in _SHOWN_WITH_FLAGS:
        _show_flags()
        return globals()[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'analyzer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> "list[str]":
    return sorted({*globals(), *_SHOWN_WITH_FLAGS, *_HOMES})


def _show_flags() -> None:
    """Let help() and completion show the flags as the keywords that they are, from the one place that has them."""
    import inspect

    from analyzer.config import AnalysisSettings, ComparisonSettings, SelectionSettings, keywords

    analyze, compare, select = (_SHOWN_WITH_FLAGS[name] for name in ("analyze", "compare", "select"))
    shown = inspect.signature(analyze)
    progress = shown.parameters["progress"]
    analyze.__signature__ = shown.replace(parameters=[*keywords(AnalysisSettings), progress])  # type: ignore[attr-defined]
    folders = inspect.Parameter("analyses", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    others = [flag for flag in keywords(ComparisonSettings) if flag.name != "analyses"]
    compare.__signature__ = inspect.Signature([folders, *others])  # type: ignore[attr-defined]
    select.__signature__ = inspect.Signature(keywords(SelectionSettings))  # type: ignore[attr-defined]
    globals().update(_SHOWN_WITH_FLAGS)


# Taken away, so that the first use of one asks __getattr__. The settings take 20 ms, more than all else here, and every
# process that scores imports this package without needing them.
_SHOWN_WITH_FLAGS: "dict[str, Callable[..., Any]]" = {"analyze": analyze, "compare": compare, "select": select}
for _name in _SHOWN_WITH_FLAGS:
    del globals()[_name]
