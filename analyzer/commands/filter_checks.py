"""What would stop filter_difficulty after hours of generation or scoring, found before them.

The analysis and the selection refuse what does not fit, each when it begins. What they would refuse is asked for here
with what is known already: the flags, the training data, and the columns that the files to come will have.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analyzer import buckets, planning, tokens
from analyzer.cache import known_tokenizers
from analyzer.commands.filter_settings import FilterSettings
from analyzer.config import AnalysisSettings, SelectionSettings
from analyzer.errors import InputError, UserError, counted
from analyzer.expression import compile_expression
from analyzer.generation import GenerationSettings, writer
from analyzer.generation.journal import Answer
from analyzer.generation.pipeline import open_data, wanted_of
from analyzer.generation.prompts import TrainingData
from analyzer.generation.settings import PARQUET
from analyzer.planning import routing
from analyzer.rewards import BaseReward
from analyzer.rollouts import problems as reward_information
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_SOURCE, ORIGINAL, PROMPT
from analyzer.selection import recipes
from analyzer.selection.select import check_ahead
from analyzer.stages import problems, read
from analyzer.workers import backends

if TYPE_CHECKING:
    import pyarrow as pa

_FEW = 100  # rollouts that are made up to see how they would be read
_READING = ("input_format", "columns", "join", "join_on", "recursive", "pool")


class Coming(NamedTuple):
    """The rollouts that the analysis will be of, as far as that is known."""

    schema: pa.Schema
    rewards: Collection[BaseReward]
    gold_column: str | None
    samples: int  # of the problem with the most


def check_grammar(settings: SelectionSettings | None) -> None:
    """Find what is wrong with a rule, whatever the columns are. Raises ConfigError."""
    if settings is None:
        return
    if settings.recipe is not None:
        recipes.find(settings.recipe)
    if settings.where is not None:
        compile_expression(settings.where, None, "--where")


def check_selection(
    settings: SelectionSettings, coming: Coming, data_source: str | None, prompts: pa.Table | None = None
) -> None:
    """Find what is wrong with a rule or format for the problems of an analysis to come.

    Raises ConfigError, OutputError.
    """
    parts = [part.name for reward in coming.rewards for part in reward.parts]
    table = problems.coming_schema(coming.schema, coming.samples, parts, coming.gold_column is not None)
    check_ahead(settings, table, data_source, prompts)


def check_all(settings: FilterSettings, wanted: GenerationSettings) -> None:
    """Find what would stop the analysis or the selection of rollouts that are to be generated.

    Raises ConfigError, InputError, OutputError, TokenizerError or RewardError as they would.
    """
    check_grammar(settings.selection)
    wanted.check()
    data = open_data(wanted)
    # The rollouts are not there yet; messages name the training data, where their columns come from.
    planned = dataclasses.replace(settings.analysis, rollouts=wanted.data_path)
    strategy = buckets.build(planned.bucketing_strategy, planned.seed)
    planning.output_folder_ahead(planned).check_settings(planned.overwrite, [*strategy.buckets, buckets.UNSCORED])
    backends.check_installed(planned.workers)
    model = planned.model_path
    # To import transformers takes over a second: not for a tokenizer that an earlier run has loaded.
    if model is not None and not known_tokenizers.is_known(model, planned.trust_remote_code, planned.cache_dir):
        tokens.load(model, planned.trust_remote_code)
    # The rewards are built, and thrown away: that tries all they need, a custom function in its process.
    built = routing.choose_rewards(planned, _sources(planned, data, wanted.num_samples))
    if routing.needs_gold(built.values()) and planned.reward_fn_key not in data.dataset.schema.names:
        raise _missing(planned.reward_fn_key, data, planned, "name the one with the ground truth with --reward_fn_key")
    schema = _as_read(planned, data)
    routing.check_columns(built, schema.names)
    if settings.selection is not None:
        gold = reward_information.gold_column_of(schema.names, planned.reward_fn_key, converted=False)
        coming = Coming(schema, built.values(), gold, int(wanted_of(wanted, data).samples.max()))
        check_selection(settings.selection, coming, planned.data_source, _first_prompts(data))


def _first_prompts(data: TrainingData) -> pa.Table:
    import pyarrow as pa

    _, batch = next(Reader(data.dataset.files, [data.prompt_key]).batches([(0, min(data.rows, _FEW))]))
    return pa.table({PROMPT: batch.column(0)})


def _as_read(analysis: AnalysisSettings, data: TrainingData) -> pa.Schema:
    """The columns that the analysis will find in the rollouts. Raises ConfigError, InputError where it cannot."""
    schema = writer.output_schema(data)
    if analysis.rows is not None:
        compile_expression(analysis.rows, schema.names, "--rows")
    usual = {field.name: field.default for field in dataclasses.fields(analysis)}
    if all(getattr(analysis, name) == usual[name] for name in _READING):
        return schema
    # Only reading tells what these flags make of the rollouts: a few are made up and read.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rollouts.parquet")
        few = data._replace(rows=min(data.rows, _FEW))
        answers = (Answer(row, 0, ["-"], ["stop"], [1], 1) for row in range(few.rows))
        writer.write_rollouts(path, PARQUET, few, answers, writer.Sampling(1.0, 1.0, 1, "-"))
        asked = dataclasses.replace(analysis, rollouts=str(path), rows=None)
        try:
            return read.open_rollouts(asked.reading, folder).dataset.schema
        except UserError as error:
            raise type(error)(str(error).replace(str(path), analysis.rollouts)) from None


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
