"""filter_difficulty: generation and analysis in one, resumable as a whole.

    training data -> rollouts (kept in output_dir) -> rewards, metrics, buckets -> problems.parquet

Rollouts that are there already, with or without rewards, can be given instead of training data.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from analyzer import buckets, pipeline, tokens
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError, InputError, OutputError
from analyzer.generation import GenerationSettings
from analyzer.generation import run as generate
from analyzer.generation.pipeline import open_data
from analyzer.generation.prompts import TrainingData
from analyzer.planning import routing
from analyzer.result import Result
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_SOURCE, ORIGINAL

ROLLOUTS = "rollouts.parquet"
_OF_ANALYSIS_ONLY = ("part",)
_OF_GENERATION_ONLY = ("output_path", "top_up")  # the analysis's --top_up, which writes such a list, has its name
_GENERATION = {field.name: field for field in dataclasses.fields(GenerationSettings)}
_ANALYSIS = {field.name: field for field in dataclasses.fields(AnalysisSettings)}


def _fields() -> list[tuple[str, Any, Any]]:
    """The flags of both commands; those that they share are the analysis's, with its help.

    But for the seed: sampling has one only where it is asked for, since not every server can serve a request with one.
    """
    from typing import get_type_hints

    kinds = get_type_hints(GenerationSettings) | get_type_hints(AnalysisSettings) | {"seed": int | None}
    named = {name: field for name, field in _GENERATION.items() if name not in _OF_GENERATION_ONLY}
    named |= {name: field for name, field in _ANALYSIS.items() if name not in _OF_ANALYSIS_ONLY}
    made = []
    for name, field in named.items():
        default = None if field.default is dataclasses.MISSING else field.default
        metadata = {**field.metadata, "required": name in ("model_path", "output_dir")}
        if name == "seed":
            default, metadata["help"] = (
                None,
                "seed of sampling (none unless given), and of the analysis (42 unless given)",
            )
        made.append((name, kinds[name], dataclasses.field(default=default, metadata=metadata)))
    return made


FilterSettings = dataclasses.make_dataclass("FilterSettings", _fields(), frozen=True, kw_only=True)
"""The flags of filter_difficulty: those of generate_rollouts and of analyze_rollouts."""


def generation_settings(settings: Any) -> GenerationSettings:
    """The generation's part of the settings; the rollouts go to output_dir."""
    values = {name: getattr(settings, name) for name in _GENERATION if name not in _OF_GENERATION_ONLY}
    return GenerationSettings(**values, output_path=os.path.join(settings.output_dir, ROLLOUTS))


def analysis_settings(settings: Any, rollouts: str) -> AnalysisSettings:
    """The analysis's part of the settings."""
    names = [name for name in _ANALYSIS if name not in (*_OF_ANALYSIS_ONLY, "rollouts")]
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return AnalysisSettings(**given, rollouts=rollouts, part=None)


def filter_difficulty(settings: Any) -> tuple[Result, int, int]:
    """Generate (or take --rollouts) and analyse; returns the result, and how many prompts failed and are unusable.

    Raises the errors of both commands. Run again, it goes on where it stopped, in either half.
    """
    rollouts, failed, unusable = settings.rollouts, 0, 0
    if rollouts is None:
        rollouts, failed, unusable = _generated(settings)
    elif settings.data_path is not None:
        raise ConfigError("--rollouts and --data_path: give one, rollouts that are there or data to generate them from")
    result = pipeline.analyze(analysis_settings(settings, rollouts))
    if result is None:
        raise ConfigError("--part has no meaning here")
    return result, failed, unusable


def _generated(settings: Any) -> tuple[str, int, int]:
    if settings.data_path is None:
        raise ConfigError("--data_path is required: training data to generate rollouts from (or --rollouts)")
    wanted = generation_settings(settings)
    wanted.check()
    check_analysis(settings, open_data(wanted))
    Path(settings.output_dir).mkdir(parents=True, exist_ok=True)
    try:  # --overwrite is for what differs: rollouts of the same settings are kept
        done = generate(dataclasses.replace(wanted, overwrite=False))
    except OutputError:
        if not settings.overwrite:
            raise
        done = generate(wanted)
    new = f"{done.complete}; nothing was asked" if done.complete else f"{done.asked} generated now"
    print(f"{done.path}: {done.rollouts} rollouts, {new}", file=sys.stderr)
    return str(done.path), done.failed, done.unusable


def check_analysis(settings: Any, data: TrainingData) -> None:
    """Find now what would stop the analysis after hours of generation.

    Raises ConfigError, InputError, TokenizerError or RewardError as the analysis would.
    """
    wanted = analysis_settings(settings, settings.data_path)
    buckets.build(wanted.bucketing_strategy, wanted.seed)
    tokens.load(settings.model_path, wanted.trust_remote_code)
    built = routing.choose_rewards(wanted, _sources(wanted, data, settings.num_samples))
    if routing.needs_gold(built.values()) and wanted.reward_fn_key not in data.dataset.schema.names:
        raise _missing(wanted.reward_fn_key, data, wanted, "name the one with the ground truth with --reward_fn_key")


def _sources(settings: AnalysisSettings, data: TrainingData, num_samples: int) -> dict[str, int]:
    """Rollouts to come of each data_source, num_samples for each row."""
    name = routing.given_source(settings)
    if name is not None:
        return {name: data.rows * num_samples}
    column = DATA_SOURCE.removeprefix(ORIGINAL)
    if column not in data.dataset.schema.names:
        raise _missing(
            column, data, settings, "name the data source of all rows with --data_source, or give --reward_fn"
        )
    counts = Counter[str]()
    for _, batch in Reader(data.dataset.files, [column]).batches([(0, data.rows)]):
        counts.update(str(source) for source in batch.column(0).to_pylist())
    return {source: rows * num_samples for source, rows in counts.items()}


def _missing(column: str, data: TrainingData, settings: AnalysisSettings, remedy: str) -> InputError:
    there = ", ".join(data.dataset.schema.names)
    return InputError(f"{settings.rollouts}: there is no column {column!r}; the columns are: {there}; {remedy}")
