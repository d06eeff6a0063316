"""What filter_difficulty does: generate, analyse, select; in a module of its own, since --help needs none of it."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from pathlib import Path

import orjson

from analyzer import buckets, generation, pipeline, tokens
from analyzer.cache import known_tokenizers
from analyzer.commands import analyze_rollouts
from analyzer.commands.filter_settings import FilterSettings
from analyzer.commands.generate_rollouts import again
from analyzer.commands.preview import preview
from analyzer.config import AnalysisSettings, SelectionSettings
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, ConfigError, InputError, OutputError, counted
from analyzer.expression import compile_expression
from analyzer.files.outputs import PROVENANCE
from analyzer.generation import Generated, GenerationSettings
from analyzer.generation.pipeline import open_data
from analyzer.generation.prompts import TrainingData
from analyzer.planning import routing
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_SOURCE, ORIGINAL
from analyzer.selection import recipes
from analyzer.selection.select import select


def generate_analyse_select(settings: FilterSettings) -> int:
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
    # Then the three steps as the three commands do them; each finds what it has done before.
    done = None if generation is None else _generate(settings, generation)
    if done is not None and not done.rollouts:
        print(
            f"error: no prompt has rollouts, see {done.failures} ({done.first_failure}); nothing was analyzed; "
            f"{_of_the_folder(again(done.failed, done.unusable))}",
            file=sys.stderr,
        )
        return EXIT_UNSCORED
    result = pipeline.analyze(analysis, grown=generation is not None and _holds_an_analysis_of_its_rollouts(analysis))
    if result is None:
        raise ConfigError("--part has no meaning here")
    code = analyze_rollouts.show(result)
    if settings.selection is not None:
        print(select(settings.selection).report, end="", flush=True)
    print(analyze_rollouts.where_to_look(analysis), file=sys.stderr)
    if done is not None and done.failed:
        print(
            f"error: {counted(done.failed, 'prompt lacks', 'prompts lack')} rollouts; "
            f"{_of_the_folder(again(done.failed, done.unusable))}",
            file=sys.stderr,
        )
        return EXIT_UNSCORED
    return code


def _generate(settings: FilterSettings, wanted: GenerationSettings) -> Generated:
    wanted.check()
    # Before the first prompt is asked: a misspelt column must not cost a night of sampling.
    check_analysis(settings.analysis, wanted, open_data(wanted))
    Path(settings.analysis.output_dir).mkdir(parents=True, exist_ok=True)
    try:  # --overwrite is for what differs: rollouts of the same settings are kept
        done = generation.run(dataclasses.replace(wanted, overwrite=False))
    except OutputError as error:
        if not wanted.overwrite:
            raise OutputError(_of_the_folder(str(error))) from None
        done = generation.run(wanted)
    new = f"{done.complete}; nothing was requested" if done.complete else f"{done.asked} new"
    print(f"{done.path}: {counted(done.rollouts, 'rollout')}, {new}", file=sys.stderr)
    return done


def _of_the_folder(advice: str) -> str:
    """Advice of the generation by the flag that this command has: its rollouts are in the output folder."""
    return advice.replace("another --output_path", "another --output_dir")


def _holds_an_analysis_of_its_rollouts(analysis: AnalysisSettings) -> bool:
    """Whether the outputs in the folder are of the rollouts file in it.

    It is written anew when prompts that had failed are tried again: the same command must then go on.
    """
    try:
        provenance = orjson.loads((Path(analysis.output_dir) / PROVENANCE).read_bytes())
        paths = [os.path.join(provenance["working_directory"], path) for path in provenance["rollouts"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return False
    return [os.path.realpath(path) for path in paths] == [os.path.realpath(analysis.rollouts)]


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
    # The rollouts are not there yet; messages name the training data, where their columns come from.
    planned = dataclasses.replace(analysis, rollouts=wanted.data_path)
    buckets.build(planned.bucketing_strategy, planned.seed)
    model = planned.model_path
    # To import transformers takes over a second: not for a tokenizer that an earlier run has loaded.
    if model is not None and not known_tokenizers.is_known(model, planned.trust_remote_code, planned.cache_dir):
        tokens.load(model, planned.trust_remote_code)
    # The rewards are built, and thrown away: a custom function is imported, a route looked up.
    built = routing.choose_rewards(planned, _sources(planned, data, wanted.num_samples))
    if routing.needs_gold(built.values()) and planned.reward_fn_key not in data.dataset.schema.names:
        raise _missing(planned.reward_fn_key, data, planned, "name the one with the ground truth with --reward_fn_key")


def _sources(settings: AnalysisSettings, data: TrainingData, num_samples: int) -> dict[str, int]:
    """Rollouts to come of each data_source, num_samples for each row."""
    name, column = routing.given_source(settings), DATA_SOURCE.removeprefix(ORIGINAL)
    if settings.data_source or column not in data.dataset.schema.names:
        if name is None:
            raise _missing(
                column, data, settings, "name the data source of all rows with --data_source, or give --reward_fn"
            )
        return {name: data.rows * num_samples}
    counts = Counter[str | None]()
    for _, batch in Reader(data.dataset.files, [column]).batches([(0, data.rows)]):
        counts.update(batch.column(0).to_pylist())
    unnamed = counts.pop(None, 0)
    if name is not None and not counts:
        return {name: data.rows * num_samples}
    if unnamed:
        raise InputError(
            f"{settings.rollouts}: {column} is null in {counted(unnamed, 'row')}; fill it in, leave the rows out, or "
            "name the data source of all rows with --data_source"
        )
    return {str(source): rows * num_samples for source, rows in counts.items()}


def _missing(column: str, data: TrainingData, settings: AnalysisSettings, remedy: str) -> InputError:
    there = ", ".join(data.dataset.schema.names)
    return InputError(f"{settings.rollouts}: there is no column {column!r}; the columns are: {there}; {remedy}")
