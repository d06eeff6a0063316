"""filter_difficulty: generation, analysis and selection in one, resumable as a whole.

    training data -> rollouts (kept in output_dir) -> problems.parquet -> selected.parquet

Rollouts that are there already, with or without rewards, can be given instead of training data.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from analyzer import buckets, generation, pipeline, tokens
from analyzer.commands import analyze_rollouts, reward_list
from analyzer.commands.generate_rollouts import again
from analyzer.commands.preview import preview
from analyzer.commands.running import run
from analyzer.commands.select_problems import minus_joined
from analyzer.config import AnalysisSettings, SelectionSettings, parse
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, ConfigError, InputError, OutputError
from analyzer.expression import compile_expression
from analyzer.generation import Generated, GenerationSettings
from analyzer.generation.pipeline import open_data
from analyzer.generation.prompts import TrainingData
from analyzer.planning import routing
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_SOURCE, ORIGINAL
from analyzer.selection import formats, recipes
from analyzer.selection.select import select

ROLLOUTS = "rollouts.parquet"
# A share of the shards cannot be selected from.
_OF_ANALYSIS_ONLY = ("part",)
_OF_GENERATION_ONLY = ("output_path", "top_up")  # the analysis's --top_up, which writes such a list, has its name
_OF_SELECTION_ONLY = ("analysis", "seed", "overwrite", "dry_run")  # given by the other two
_GENERATION = {field.name: field for field in dataclasses.fields(GenerationSettings)}
_ANALYSIS = {field.name: field for field in dataclasses.fields(AnalysisSettings)}
_SELECTION = {f.name: f for f in dataclasses.fields(SelectionSettings) if f.name not in _OF_SELECTION_ONLY}
DESCRIPTION = (
    "Generate rollouts for training data, analyse them, and select the problems to train on: one command for all three."
)
SELECTED = "selected"  # in output_dir, unless --output is given


def _flags() -> list[tuple[str, Any, Any]]:
    """The flags of the three commands; those that generation and analysis share are the analysis's, with its help.

    But for the seed: sampling has one only where it is asked for, since not every server can serve a request with one.
    """
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


FLAGS = dataclasses.make_dataclass("FilterFlags", _flags(), frozen=True, kw_only=True)
"""What the parser is told: one flag for each field of the three settings, sorted into them by `FilterSettings.of`."""


@dataclass(frozen=True)
class FilterSettings:
    """The settings of filter_difficulty: those of the three commands that it runs."""

    generation: GenerationSettings | None  # None: the rollouts are given
    analysis: AnalysisSettings
    selection: SelectionSettings | None  # None: nothing is to be selected

    @classmethod
    def of(cls, flags: Any) -> FilterSettings:
        """Sort flags into the settings of the three commands. Raises ConfigError where they contradict each other."""
        if flags.rollouts is not None and flags.data_path is not None:
            raise ConfigError(
                "--rollouts and --data_path: give one, rollouts that are there or data to generate them from"
            )
        if flags.rollouts is None and flags.data_path is None:
            raise ConfigError("--data_path is required: training data to generate rollouts from (or --rollouts)")
        path = os.path.join(flags.output_dir, ROLLOUTS)
        generation = None
        if flags.rollouts is None:
            values = {name: getattr(flags, name) for name in _GENERATION if name not in _OF_GENERATION_ONLY}
            generation = GenerationSettings(**values, output_path=path)
        names = [name for name in _ANALYSIS if name not in (*_OF_ANALYSIS_ONLY, "rollouts")]
        given = {name: value for name in names if (value := getattr(flags, name)) is not None}
        analysis = AnalysisSettings(**given, rollouts=flags.rollouts or path, part=None)
        return cls(generation, analysis, _selection(flags))


def _selection(flags: Any) -> SelectionSettings | None:
    """The selection's part of the flags; None where nothing is to be selected."""
    # What differs from its default was given: naming any rule or format is what asks for a selection.
    given = {name: value for name, f in _SELECTION.items() if (value := getattr(flags, name)) != f.default}
    if not given:
        return None
    ending = formats.find(flags.format).endings[0] if flags.format else ".parquet"
    given.setdefault("output", os.path.join(flags.output_dir, SELECTED + ending))
    seed = {} if flags.seed is None else {"seed": flags.seed}
    return SelectionSettings(analysis=flags.output_dir, overwrite=flags.overwrite, **seed, **given)


def filter_difficulty(argv: Sequence[str] | None = None) -> int:
    """The command filter_difficulty; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if reward_list.is_asked_for(argv):
        return run(reward_list.show)
    return run(lambda: _filter(FilterSettings.of(parse(FLAGS, minus_joined(argv), "filter_difficulty", DESCRIPTION))))


def _filter(settings: FilterSettings) -> int:
    """Generate (or take --rollouts), analyse, and select where a rule or a format is given; returns the exit code.

    Run again, it goes on where it stopped, in any of the three.
    """
    generation, analysis = settings.generation, settings.analysis
    if analysis.dry_run or analysis.explain_cache:
        if analysis.dry_run and generation is not None:
            print(preview(generation))
            return EXIT_OK
        return analyze_rollouts.analyze(analysis)
    if settings.selection is not None:
        # Whatever can be wrong about the second and third step is found before the first, which takes hours of a GPU.
        check_selection(settings.selection)
    done = None if generation is None else _generate(settings, generation)
    result = pipeline.analyze(analysis)
    if result is None:
        raise ConfigError("--part has no meaning here")
    code = analyze_rollouts.show(result)
    if settings.selection is not None:
        print(select(settings.selection).report, end="", flush=True)
    print(analyze_rollouts.where_to_look(analysis), file=sys.stderr)
    if done is not None and done.failed:
        print(f"error: {done.failed} prompts lack rollouts; {again(done.failed, done.unusable)}", file=sys.stderr)
        return EXIT_UNSCORED
    return code


def _generate(settings: FilterSettings, wanted: GenerationSettings) -> Generated:
    wanted.check()
    check_analysis(settings.analysis, wanted, open_data(wanted))
    Path(settings.analysis.output_dir).mkdir(parents=True, exist_ok=True)
    try:  # --overwrite is for what differs: rollouts of the same settings are kept
        done = generation.run(dataclasses.replace(wanted, overwrite=False))
    except OutputError:
        if not wanted.overwrite:
            raise
        done = generation.run(wanted)
    new = f"{done.complete}; nothing was asked" if done.complete else f"{done.asked} generated now"
    print(f"{done.path}: {done.rollouts} rollouts, {new}", file=sys.stderr)
    return done


def check_selection(settings: SelectionSettings) -> None:
    """Find now what would stop the selection after hours of generation; names are known only after the analysis.

    Raises ConfigError.
    """
    if settings.recipe is not None:
        recipes.find(settings.recipe)
    if settings.where is not None:
        compile_expression(settings.where, None, "--where")


def check_analysis(analysis: AnalysisSettings, wanted: GenerationSettings, data: TrainingData) -> None:
    """Find now what would stop the analysis after hours of generation.

    Raises ConfigError, InputError, TokenizerError or RewardError as the analysis would.
    """
    planned = dataclasses.replace(analysis, rollouts=wanted.data_path)
    buckets.build(planned.bucketing_strategy, planned.seed)
    if planned.model_path is not None:
        tokens.load(planned.model_path, planned.trust_remote_code)
    built = routing.choose_rewards(planned, _sources(planned, data, wanted.num_samples))
    if routing.needs_gold(built.values()) and planned.reward_fn_key not in data.dataset.schema.names:
        raise _missing(planned.reward_fn_key, data, planned, "name the one with the ground truth with --reward_fn_key")


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
