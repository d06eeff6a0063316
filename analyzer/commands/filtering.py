"""filter_difficulty: generation, analysis and selection in one, resumable as a whole.

    training data -> rollouts (kept in output_dir) -> problems.parquet -> selected.parquet

Rollouts that are there already, with or without rewards, can be given instead of training data.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from analyzer import buckets, pipeline, tokens
from analyzer.config import AnalysisSettings, SelectionSettings
from analyzer.errors import ConfigError, InputError, OutputError
from analyzer.expression import compile_expression
from analyzer.generation import GenerationSettings
from analyzer.generation import run as generate
from analyzer.generation.pipeline import open_data
from analyzer.generation.prompts import TrainingData
from analyzer.planning import routing
from analyzer.result import Result
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_SOURCE, ORIGINAL
from analyzer.selection import formats, recipes

ROLLOUTS = "rollouts.parquet"
_OF_ANALYSIS_ONLY = ("part",)
_OF_GENERATION_ONLY = ("output_path", "top_up")  # the analysis's --top_up, which writes such a list, has its name
_OF_SELECTION_ONLY = ("analysis", "seed", "overwrite", "dry_run")  # given by the other two
_GENERATION = {field.name: field for field in dataclasses.fields(GenerationSettings)}
_ANALYSIS = {field.name: field for field in dataclasses.fields(AnalysisSettings)}
_SELECTION = {f.name: f for f in dataclasses.fields(SelectionSettings) if f.name not in _OF_SELECTION_ONLY}
SELECTED = "selected"  # in output_dir, unless --output is given


def _fields() -> list[tuple[str, Any, Any]]:
    """The flags of the three commands; those that generation and analysis share are the analysis's, with its help.

    But for the seed: sampling has one only where it is asked for, since not every server can serve a request with one.
    """
    from typing import get_type_hints

    classes = (SelectionSettings, GenerationSettings, AnalysisSettings)
    kinds = {name: kind for cls in classes for name, kind in get_type_hints(cls).items()} | {"seed": int | None}
    named = {name: field for name, field in _GENERATION.items() if name not in _OF_GENERATION_ONLY}
    named |= {name: field for name, field in _ANALYSIS.items() if name not in _OF_ANALYSIS_ONLY}
    named |= _SELECTION
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
"""The flags of filter_difficulty: those of generate_rollouts, analyze_rollouts and select_problems."""


class Filtered(NamedTuple):
    """What was done, and what is left to select."""

    result: Result
    failed: int  # prompts without all their rollouts
    unusable: int  # of these, prompts that never can be asked
    selection: SelectionSettings | None


def generation_settings(settings: Any) -> GenerationSettings:
    """The generation's part of the settings; the rollouts go to output_dir."""
    values = {name: getattr(settings, name) for name in _GENERATION if name not in _OF_GENERATION_ONLY}
    return GenerationSettings(**values, output_path=os.path.join(settings.output_dir, ROLLOUTS))


def analysis_settings(settings: Any, rollouts: str) -> AnalysisSettings:
    """The analysis's part of the settings."""
    names = [name for name in _ANALYSIS if name not in (*_OF_ANALYSIS_ONLY, "rollouts")]
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return AnalysisSettings(**given, rollouts=rollouts, part=None)


def selection_settings(settings: Any) -> SelectionSettings | None:
    """The selection's part of the settings; None where nothing is to be selected."""
    given = {name: value for name, f in _SELECTION.items() if (value := getattr(settings, name)) != f.default}
    if not given:
        return None
    ending = formats.find(settings.format).endings[0] if settings.format else ".parquet"
    given.setdefault("output", os.path.join(settings.output_dir, SELECTED + ending))
    seed = {} if settings.seed is None else {"seed": settings.seed}
    return SelectionSettings(analysis=settings.output_dir, overwrite=settings.overwrite, **seed, **given)


def check_selection(settings: SelectionSettings) -> None:
    """Find now what would stop the selection after hours of generation; names are known only after the analysis.

    Raises ConfigError.
    """
    if settings.recipe is not None:
        recipes.find(settings.recipe)
    if settings.where is not None:
        compile_expression(settings.where, None, "--where")


def filter_difficulty(settings: Any) -> Filtered:
    """Generate (or take --rollouts), analyse, and select where a rule or a format is given.

    Raises the errors of all three commands. Run again, it goes on where it stopped, in any of them.
    """
    rollouts, failed, unusable = settings.rollouts, 0, 0
    selection = selection_settings(settings)
    if selection is not None:
        check_selection(selection)
    if rollouts is None:
        rollouts, failed, unusable = _generated(settings)
    elif settings.data_path is not None:
        raise ConfigError("--rollouts and --data_path: give one, rollouts that are there or data to generate them from")
    result = pipeline.analyze(analysis_settings(settings, rollouts))
    if result is None:
        raise ConfigError("--part has no meaning here")
    return Filtered(result, failed, unusable, selection)


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
