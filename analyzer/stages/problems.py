"""problems: problems.parquet, a row per problem: the training row first and untouched, then what the analysis found.

    data_source  prompt  reward_model  extra_info | solution  label | difficulty_data_idx  difficulty_pass_rate  ...

The first part has the names, types, order and schema metadata of the training data, so that a trainer reads the file
as it reads that; `solution` and `label` are the ground truth as flat text, where the training row has no such column.
The rows are those of the first rollout of each problem, collected while the rollouts pass by to be written, and
ascend by data_idx.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from analyzer.difficulty.passing import powers_of_two
from analyzer.files.spool import Spool
from analyzer.rollouts import json_columns, problems
from analyzer.rollouts.dataset import Dataset, Reader, is_text
from analyzer.rollouts.json_text import dump_json
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import DATA_IDX, DIFFICULTY, GROUND_TRUTH, MADE, MEAN_AT, METRIC, ORIGINAL, PROMPT

if TYPE_CHECKING:
    import pyarrow as pa

FLAT_COLUMNS = ("solution", "label")
"""What trainers call the ground truth as text: TRL's accuracy_reward and ms-swift the first, OpenRLHF and slime the
second."""
_ROWS = 8192


def training_schema(schema: pa.Schema, metrics: Sequence[str] = ()) -> pa.Schema:
    """The columns of the training data, from the columns of its rollouts.

    `metrics` names columns of the analysis; what an earlier one left of these in the training data is not of it.
    """
    import pyarrow as pa

    prefix, known = ORIGINAL.encode(), schema.metadata or {}
    metadata = {key.removeprefix(prefix): value for key, value in known.items() if key.startswith(prefix)}
    fields = [field.with_name(field.name.removeprefix(ORIGINAL)) for field in schema if field.name.startswith(ORIGINAL)]
    # The training data's own prompt where it has one, the form that its trainers know; else the one sampled with.
    if not any(field.name == PROMPT for field in fields):
        fields.insert(0, schema.field(PROMPT))
    stale = {DIFFICULTY + name for name in metrics}
    return pa.schema([field for field in fields if field.name not in stale], metadata or None)


def replaced_warnings(schema: pa.Schema) -> list[str]:
    """One sentence where the training data brings columns of an earlier analysis along."""
    if ORIGINAL + DIFFICULTY + "pass_rate" not in schema.names:
        return []
    return [
        f"the training data has {DIFFICULTY}* columns of an earlier analysis: problems.parquet has those of this one "
        "instead."
    ]


def coming_schema(rollouts: pa.Schema, samples: int, parts: Sequence[str], gold: bool) -> pa.Schema:
    """The columns that problems.parquet will have, before anything is scored.

    rollouts: the schema of the rollouts. samples: of the problem with the most, which decides on pass@k. parts: names
    of the parts of a sum of rewards. gold: whether there are ground truths.
    """
    import pyarrow as pa

    powers = powers_of_two(samples)
    numbers, counts = pa.float64(), pa.int64()
    kinds: dict[str, pa.DataType] = {"data_idx": rollouts.field(DATA_IDX).type, "bucket": pa.string()}
    kinds |= {f"mean@{k}": numbers for k in MEAN_AT}
    kinds |= dict.fromkeys(("pass_rate", "mean_reward", "max_reward", "min_reward", "std_reward"), numbers)
    kinds |= dict.fromkeys(("num_samples", "num_scored"), counts)
    kinds |= dict.fromkeys(("pass_rate_low", "pass_rate_high"), numbers)
    kinds |= {f"mean_reward_{part}": numbers for part in sorted(parts)}
    kinds |= {"passes": counts} | dict.fromkeys(("solve_rate", "solve_rate_low", "solve_rate_high"), numbers)
    kinds |= dict.fromkeys((*(f"pass@{k}" for k in powers), *(f"pass^{k}" for k in powers)), numbers)
    kinds |= {"informative@8": numbers, "distinct_answers": counts, "majority_answer": pa.string()}
    kinds |= {"majority_share": numbers, "flag": pa.string(), "truncated": counts, "tokens_mean": numbers}
    return _with_metrics(rollouts, pa.schema(list(kinds.items())), gold)


def _with_metrics(rollouts: pa.Schema, metrics: pa.Schema, gold: bool) -> pa.Schema:
    """The columns of problems.parquet, from those of the rollouts and of problem_metrics.parquet."""
    import pyarrow as pa

    training = training_schema(rollouts, metrics.names)
    flat = [name for name in FLAT_COLUMNS if gold and name not in training.names]
    fields = [pa.field(name, pa.string(), metadata={MADE: GROUND_TRUTH}) for name in flat]
    fields += [field.with_name(DIFFICULTY + field.name).with_metadata({MADE: METRIC}) for field in metrics]
    return pa.schema([*training, *fields], training.metadata)


class TrainingRows:
    """The first row of each problem, taken from the rollouts as they pass by in input order."""

    def __init__(self, schema: pa.Schema, numbering: Numbering, gold_column: str | None, folder: Path) -> None:
        """`schema` is that of the rollouts, `gold_column` names their reward information; `folder` is for a temporary
        file, which is gone when the context ends."""
        import pyarrow as pa

        names = [name for name in schema.names if name.startswith(ORIGINAL)]
        wanted = [*names, *([PROMPT] if ORIGINAL + PROMPT not in names else [])]
        if gold_column is not None and gold_column not in wanted:
            wanted.append(gold_column)
        self._schema = schema
        self._gold_column = gold_column
        self._order = numbering.order()
        self._first = numbering.positions(numbering.first_rows())  # (problems,) ascending, among the rollouts that pass
        self._spool = Spool(pa.schema([schema.field(name) for name in wanted]), folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.__exit__(None, None, None)

    def see(self, batch: pa.RecordBatch, rows: slice) -> None:
        """Take what is wanted of a batch; `rows` are the places of its rows. Raises StorageError."""
        import pyarrow as pa

        # First rows ascend with the number of the problem, so those in a batch are one slice.
        low, high = np.searchsorted(self._first, [rows.start, rows.stop])
        # Taken while the writer passes: problems.parquet costs no second reading of the text.
        if low < high:
            chosen = batch.select(self._spool.schema.names)
            self._spool.add(chosen.take(pa.array(self._first[low:high] - rows.start)))

    def read(self, rollouts: Dataset, kept: Sequence[tuple[int, int]]) -> None:
        """Take all that is wanted where no other pass reads the rollouts. Raises InputError, StorageError."""
        done = 0
        reader = Reader(rollouts.files, self._spool.schema.names, threads=True, checked=False)
        for _, batch in reader.batches(kept):
            self.see(batch, slice(done, done + batch.num_rows))
            done += batch.num_rows

    def write(self, path: Path, table: Path) -> None:
        """Write problems.parquet at `path`; `table` is problem_metrics.parquet, whose rows ascend by data_idx.

        Memory holds the metrics and some thousand rows. Raises StorageError.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        metrics = pq.ParquetFile(table)
        schema = _with_metrics(self._schema, metrics.schema_arrow, self._gold_column is not None)
        made = [field.name for field in schema if (field.metadata or {}).get(MADE) == GROUND_TRUTH]
        training = schema.names[: len(schema) - len(metrics.schema_arrow) - len(made)]
        self._spool.finish()
        with metrics, pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for start, measured in zip(range(0, len(self._order), _ROWS), metrics.iter_batches(_ROWS), strict=True):
                rows = self._spool.take(self._order[start : start + _ROWS])
                columns = [self._column(rows, name) for name in training]
                if made:
                    gold = rows.schema.field(self._gold_column)
                    columns += [flat_ground_truth(rows.column(gold.name), gold)] * len(made)
                columns += measured.columns
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    @staticmethod
    def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
        return rows.column(ORIGINAL + name if ORIGINAL + name in rows.column_names else name)


def flat_ground_truth(column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """The ground truth in a column of reward information as text: a text as it is, anything else as JSON.

    Null where there is none: rewards that the input has need no ground truths.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    part, inner = problems.ground_truth_part(column.combine_chunks(), field)
    if is_text(inner.type) and not json_columns.is_encoded(inner):
        # A text may still be the JSON of a record. Looking for the key in all of them at once is a pass in arrow,
        # parsing each is not.
        texts = part.cast(pa.string())
        if not pc.any(pc.match_substring(texts, "ground_truth")).as_py():
            return texts  # as it nearly always is: nothing to read

    def text(value: Any) -> str | None:
        try:
            value = problems.ground_truth(json_columns.decode(value, inner))
        except problems.NoGroundTruth:
            return None
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return value.decode(errors="backslashreplace")
        # As JSON a decimal or a date would be a text in quotes, which no answer equals.
        return dump_json(value) if isinstance(value, bool | int | float | list | dict) else str(value)

    return pa.array([text(value) for value in part.to_pylist()], pa.string())
