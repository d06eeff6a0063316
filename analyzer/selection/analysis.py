"""An analysis that is to be selected from: its output folder, opened, and the names a rule may use.

problems.parquet holds `difficulty_pass_rate` beside the training row; a rule says `pass_rate`. Where the training data
has a column of that name too, the metric is meant and the column is `row.pass_rate`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import InputError
from analyzer.expression import Expression
from analyzer.files import destinations, outputs
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.schema import DIFFICULTY, MADE, METRIC

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "row."
NUM_SCORED = "num_scored"


class Analysis(NamedTuple):
    """An output folder of analyze_rollouts or filter_difficulty."""

    folder: str
    problems: Dataset  # problems.parquet
    summary: Mapping[str, Any]  # summary.json
    files: tuple[str, ...]  # names of all files of the analysis
    fingerprint: str  # of what the analysis depends on

    @property
    def columns(self) -> dict[str, str]:
        """Name in a rule -> column of problems.parquet, metrics first."""
        schema = self.problems.schema
        metrics = {name_of(field): field.name for field in schema if is_metric(field)}
        training = [field.name for field in schema if not is_metric(field)]
        # Later entries win: a metric hides a column of the training row of the same name, which is still there as
        # row.NAME.
        return {**{name: name for name in training}, **metrics, **{ROW + name: name for name in training}}

    def read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Batches over all problems with columns of these names (of a rule), in the order of the file."""
        import pyarrow as pa

        columns = self.columns
        # num_scored comes along always: a batch needs a column to have a number of rows.
        wanted = sorted({columns[name] for name in (*names, NUM_SCORED)})
        for _, batch in Reader(self.problems.files, wanted).batches([(0, self.problems.rows)]):
            arrays = [batch.column(batch.schema.get_field_index(columns[name])) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, names=list(names)) if names else batch

    def column(self, name: str) -> pa.Array:
        """(problems,) all values of one column, by its name in a rule."""
        import pyarrow as pa

        parts = [batch.column(0) for batch in self.read([name])]
        # With its type, since an analysis without problems has no chunk to take it from.
        return pa.chunked_array(parts, self.problems.schema.field(self.columns[name]).type).combine_chunks()

    def evaluate(self, expression: Expression) -> pa.BooleanArray:
        """(problems,) whether each problem fulfils a condition; null where a missing value leaves it open."""
        import pyarrow as pa

        return pa.concat_arrays([expression.evaluate(batch) for batch in self.read(expression.names)])


def is_metric(field: pa.Field) -> bool:
    """Whether a column of problems.parquet is a result of the analysis, not of the training row."""
    return (field.metadata or {}).get(MADE) == METRIC


def name_of(field: pa.Field) -> str:
    """What a column of problems.parquet is called in a rule."""
    return str(field.name.removeprefix(DIFFICULTY)) if is_metric(field) else str(field.name)


def open_analysis(folder: str) -> Analysis:
    """Open an output folder or URL. Raises InputError where it holds no finished analysis."""
    place = destinations.open_destination(folder)
    names = place.names()
    if outputs.SUMMARY not in names:
        raise InputError(
            f"--analysis {folder}: there is no {outputs.SUMMARY}; name the output folder of a finished analyze_rollouts"
        )
    if outputs.PROBLEMS not in names:
        raise InputError(
            f"--analysis {folder}: no {outputs.PROBLEMS} there, an earlier version wrote it; run analyze_rollouts "
            "again with the same flags, nothing is scored again"
        )
    dataset.close_files()  # a file of that name may have been another one
    file, schema = dataset.describe(os.path.join(folder, outputs.PROBLEMS))
    summary = outputs.record(outputs.SUMMARY, folder, place.read(outputs.SUMMARY))
    manifest = outputs.manifest_of(place)
    # Of what the outputs depend on, not of their bytes: a rerun of the same analysis is the same for a manifest.
    of = manifest.of or summary
    digest = hashlib.sha256(orjson.dumps(dict(of), option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Analysis(folder, Dataset((file,), schema), summary, manifest.files or tuple(names), digest[:32])
