"""write: one pass over the text feeds rollouts_with_rewards.parquet, every bucket file and problems.parquet.

The pass reads record batches once and hands them to two writer threads (arrow releases the GIL while it encodes):
one writes all rows, the other the rows of each bucket. Row groups depend on the input alone, so the bytes do too.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import orjson

from analyzer.buckets import UNSCORED, Assignment
from analyzer.files import outputs
from analyzer.rollouts import json_columns
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.schema import (
    MEAN_AT,
    NOT_COUNTED,
    NOTHING,
    PROMPT,
    RESPONSE,
    RESPONSE_TOKENS,
    REWARD,
    REWARD_ANSWER,
    REWARD_EXTRA,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
    STATUSES,
    Metrics,
)
from analyzer.stages import problems
from analyzer.stages.card import dataset_card
from analyzer.stages.problems import TrainingRows

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from analyzer.stages.findings import Findings
    from analyzer.stages.merge import Merged

# By bytes and not by rows, for responses have 100 to 100,000 characters; the bytes decide alike whatever the batches
# are.
GROUP_BYTES = 16 << 20
GROUP_ROWS = 1 << 17
_QUEUED = 2
_KNOWN_RECORDS = 1 << 14


class RowValues(NamedTuple):
    """What is written beside the input columns; arrays of shape (rollouts,), in input order."""

    rewards: NDArray[np.float64]  # NaN: null
    statuses: NDArray[np.int8]
    tokens: NDArray[np.int32]  # NOT_COUNTED: null
    answers: NDArray[np.int32]  # position in `texts`; -1: none
    texts: pa.LargeStringArray
    extra: dict[int, str]  # position -> further columns as a JSON object
    buckets: NDArray[np.int8]  # bucket number of the row's problem
    parts: Mapping[str, NDArray[np.float64]] = NOTHING  # further columns of numbers, by name; NaN: null


# ---------------------------------------------------------------- rollouts


def write_rollouts(
    rollouts: Dataset,
    kept: Sequence[tuple[int, int]],
    values: RowValues,
    all_path: str,
    bucket_paths: Sequence[str],
    *,
    training: TrainingRows | None = None,
) -> None:
    """Write the rollouts of `kept` with their rewards to `all_path`, and those of bucket i to bucket_paths[i].

    The paths are local names of files that are not there yet. Columns of the input keep their order and types; a
    column of ours that the input already has is replaced in place. `training` sees the rows as they pass.
    """
    shape = _Shape(rollouts.schema, values)
    with (
        _Sink(shape.schema, [all_path], lambda table, rows: [table]) as everything,
        _Sink(
            shape.schema, bucket_paths, lambda table, rows: _split(table, values.buckets[rows], bucket_paths)
        ) as parts,
    ):
        done = 0
        for _, batch in Reader(rollouts.files, None, threads=True).batches(kept):
            rows = slice(done, done + batch.num_rows)
            done = rows.stop
            if training is not None:
                training.see(batch, rows)
            table = shape.table(batch, rows)
            for sink in (everything, parts):
                sink.put(table, rows)
        everything.finish()
        parts.finish()


def _split(table: pa.Table, buckets: NDArray[np.int8], paths: Sequence[str]) -> list[pa.Table]:
    import pyarrow as pa

    return [table.filter(pa.array(buckets == number)) for number in range(len(paths))]


class _Shape:
    """Input columns and ours, put together."""

    def __init__(self, schema: pa.Schema, values: RowValues) -> None:
        import pyarrow as pa

        self._values = values
        self._extra = {row: json_columns.load_json(text) for row, text in values.extra.items()}
        seen = json_columns.observe(self._extra[row] for row in sorted(self._extra))
        self._kinds = {name: json_columns.kind_of(column) for name, column in seen.items()}
        # A few names, taken by code: no string is made for each of the rows.
        self._status = pa.array([str(status) for status in STATUSES])
        fields = [pa.field(REWARD, pa.float64()), pa.field(REWARD_STATUS, pa.string())]
        fields.append(pa.field(RESPONSE_TOKENS, pa.int32()))
        if len(values.texts):
            fields.append(pa.field(REWARD_ANSWER, pa.string()))
        fields += [pa.field(name, pa.float64()) for name in values.parts]
        held = (json_columns.arrow_field(REWARD_EXTRA + name, kind) for name, kind in self._kinds.items())
        fields += map(json_columns.shown_field, held)
        for field in fields:
            at = schema.get_field_index(field.name)
            schema = schema.append(field) if at < 0 else schema.set(at, field)
        self.schema = schema

    def table(self, batch: pa.RecordBatch, rows: slice) -> pa.Table:
        """The rows of one batch with all columns of `schema`."""
        import pyarrow as pa

        values = self._values
        ours: dict[str, pa.Array] = {
            # from_pandas: NaN becomes null. Not scored is not a number, and a mean over the column must leave it out.
            REWARD: pa.array(values.rewards[rows], from_pandas=True),
            REWARD_STATUS: self._status.take(pa.array(values.statuses[rows])),
            RESPONSE_TOKENS: pa.array(values.tokens[rows], mask=values.tokens[rows] == NOT_COUNTED),
        }
        ours |= {name: pa.array(part[rows], from_pandas=True) for name, part in values.parts.items()}
        if len(values.texts):
            answers = values.answers[rows]
            ours[REWARD_ANSWER] = values.texts.take(pa.array(answers, mask=answers < 0)).cast(pa.string())
        if self._kinds:
            records = [self._extra.get(row, {}) for row in range(rows.start, rows.stop)]
            extra = json_columns.shown_batch(json_columns.columns_to_arrow(records, self._kinds))
            ours |= {REWARD_EXTRA + name: extra.column(i) for i, name in enumerate(self._kinds)}
        columns = [ours[name] if name in ours else batch.column(i) for i, name in enumerate(self.schema.names)]
        return pa.Table.from_arrays(columns, schema=self.schema)


class _Sink:
    """A thread that writes tables to one or several files; row groups of GROUP_BYTES.

    A context manager that ends the thread. What writing raises, `put` or `finish` raises; no file is whole before
    `finish` has returned. A disk fails when it likes: at the first row group, at the last, or at the footer, and the
    footers come when no more tables do.
    """

    def __init__(
        self, schema: pa.Schema, paths: Sequence[str], split: Callable[[pa.Table, slice], list[pa.Table]]
    ) -> None:
        self._split = split
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        self._files = list[_Grouped]()
        self._submit(lambda: self._files.extend(_Grouped(path, schema) for path in paths))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread; it closes what a failure has left open, so that nothing is left to the collector."""

        def close_all() -> None:
            for file in self._files:
                with contextlib.suppress(Exception):  # the error that led here is the one to tell
                    file.close()

        # In the thread, after all that was handed to it: a writer must not be closed while it writes.
        self._thread.submit(close_all)
        self._thread.shutdown(wait=True, cancel_futures=False)

    def put(self, table: pa.Table, rows: slice) -> None:
        """Hand over a table; waits while _QUEUED are not written. Raises what the writing of earlier ones raised."""
        # Reading outruns compressing: without a limit all of the input would wait in memory for the writers.
        while len(self._pending) >= _QUEUED:
            self._pending.popleft().result()
        self._submit(lambda: self._write(table, rows))

    def finish(self) -> None:
        """Wait until all is written, footers too. Raises what the writing raised, OSError for a disk."""
        self._submit(self._close)
        while self._pending:
            self._pending.popleft().result()

    def _submit(self, work: Callable[[], None]) -> None:
        self._pending.append(self._thread.submit(_as_os_error, work))

    def _write(self, table: pa.Table, rows: slice) -> None:
        for file, part in zip(self._files, self._split(table, rows), strict=True):
            file.add(part)

    def _close(self) -> None:
        while self._files:
            self._files.pop(0).close()


def _as_os_error(work: Callable[[], None]) -> None:
    """Call `work`. Raises OSError for whatever arrow makes of a failing disk, so that it ends like any other write."""
    import pyarrow as pa

    try:
        work()
    except (OSError, MemoryError):
        raise
    except pa.ArrowException as error:  # it has no number; what was written here was valid, so it is the disk
        raise OSError(errno.EIO, " ".join(str(error).split())) from error


class _Grouped:
    """A parquet file that is given tables of any size and writes row groups of GROUP_BYTES."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._held: list[pa.Table] = []
        self._bytes = 0
        self._rows = 0
        # Hardly a text occurs twice: a dictionary would be built, outgrow its page and be thrown away, for each row
        # group.
        texts = {PROMPT, RESPONSE}
        self._writer: pq.ParquetWriter = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name not in texts],
            write_page_checksum=True,
        )

    def add(self, table: pa.Table) -> None:
        if table.num_rows == 0:
            return
        self._held.append(table)
        self._bytes += table.nbytes
        self._rows += table.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is held, and the footer. Raises the first error; the file is closed then, too."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._held:
            held, self._held, self._bytes, self._rows = self._held, [], 0, 0
            table = pa.concat_tables(held)
            self._writer.write_table(table, row_group_size=table.num_rows)


# ---------------------------------------------------------------- metrics and buckets


def metric_columns(metrics: Metrics) -> dict[str, NDArray[Any]]:
    """Metric name -> (problems,) array, in the order of problem_metrics.json."""
    columns: dict[str, NDArray[Any]] = {f"mean@{k}": metrics.mean_at[k] for k in MEAN_AT}
    for name in ("pass_rate", "mean_reward", "max_reward", "min_reward", "std_reward", "num_samples"):
        columns[name] = getattr(metrics, name)
    for name in ("num_scored", "pass_rate_low", "pass_rate_high"):
        columns[name] = getattr(metrics, name)
    return columns | {f"mean_reward_{name}": means for name, means in metrics.parts.items()}


class Answers(NamedTuple):
    """The majority answer of each problem: the column majority_answer, which stands before majority_share."""

    majority: NDArray[np.int64]  # (problems,) position in `texts`, -1: none
    texts: pa.LargeStringArray

    def of(self, problems: NDArray[np.int64]) -> pa.Array:
        import pyarrow as pa

        chosen = self.majority[problems]
        return self.texts.take(pa.array(chosen, mask=chosen < 0)).cast(pa.string())


MAJORITY_ANSWER, BEFORE_IT = "majority_answer", "distinct_answers"


def write_metrics(
    path: str, ids: Sequence[Any], columns: Mapping[str, NDArray[Any]], answers: Answers, order: NDArray[np.int64]
) -> None:
    """Write problem_metrics.json: {"<data_idx>": {metric: value or null}}, problems in `order`.

    columns: (problems,) arrays by name; NaN is null. Many problems have the same numbers but few the same answer, so
    a record is the text of its numbers, looked up, with the answer put in.
    """
    names = list(columns)
    middle = names.index(BEFORE_IT) + 1
    known: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}

    def halves(row: tuple[Any, ...]) -> tuple[bytes, bytes]:
        if (text := known.get(row)) is None:
            first = orjson.dumps(dict(zip(names[:middle], row[:middle], strict=True)))
            second = orjson.dumps(dict(zip(names[middle:], row[middle:], strict=True)))
            text = first[:-1] + b',"' + MAJORITY_ANSWER.encode() + b'":', b"," + second[1:]
            if len(known) < _KNOWN_RECORDS:
                known[row] = text
        return text

    def records() -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(order), 1 << 14):
            part = order[start : start + (1 << 14)]
            rows = zip(*(columns[name][part].tolist() for name in names), strict=True)
            given = answers.of(part).to_pylist()
            for problem, row, answer in zip(part.tolist(), rows, given, strict=True):
                first, second = halves(row)
                yield str(ids[problem]), first + orjson.dumps(answer) + second

    _write_object(path, records())


def write_buckets(path: str, ids: Sequence[Any], buckets: Sequence[str], order: NDArray[np.int64]) -> None:
    """Write problem_buckets.json: {"<data_idx>": "<bucket>"}, problems in `order`; `buckets`: of each problem."""
    texts = {name: orjson.dumps(name) for name in set(buckets)}
    _write_object(path, ((str(ids[problem]), texts[buckets[problem]]) for problem in order.tolist()))


def _write_object(path: str, items: Iterable[tuple[str, bytes]]) -> None:
    """Stream a JSON object, one member a line. NaN becomes null (orjson)."""
    with open(path, "xb") as file:
        file.write(b"{\n")
        members = (b"%b: %b" % (orjson.dumps(name), value) for name, value in items)
        separator = b""
        while part := b",\n".join(itertools.islice(members, 1 << 12)):  # a write for each member takes twice as long
            file.write(separator + part)
            separator = b",\n"
        file.write(b"\n}\n")


def write_metrics_table(
    path: str,
    ids: pa.Array,
    columns: Mapping[str, NDArray[Any]],
    answers: Answers,
    order: NDArray[np.int64],
) -> None:
    """Write problem_metrics.parquet: data_idx and the columns, those of `answers` among them, problems in `order`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    take = pa.array(order)
    table: dict[str, pa.Array] = {"data_idx": ids.take(take)}
    for name, values in columns.items():
        table[name] = pa.array(values[order], from_pandas=values.dtype.kind == "f")
        if name == BEFORE_IT:
            table[MAJORITY_ANSWER] = answers.of(order)
    pq.write_table(pa.table(table), path, compression="zstd", write_page_checksum=True)


# ---------------------------------------------------------------- all files of a run


def write_outputs(folder: Path, rollouts: Dataset, findings: Findings, summary: bytes, reward_fn_key: str) -> None:
    """Write every output file of a run to an empty folder; `summary` is summary.json."""
    numbering, merged, metrics, assignment, *_, measured, _ = findings
    names, positions = _named(assignment)
    order = numbering.order()
    values = RowValues(
        merged.rewards,
        merged.statuses,
        merged.tokens,
        merged.answers,
        merged.texts,
        merged.extra,
        positions[merged.codes].astype(np.int8),
        _part_columns(merged),
    )
    bucket_paths = [str(folder / outputs.bucket_file(name)) for name in names]
    kept, everything = numbering.kept_ranges(), str(folder / outputs.ROLLOUTS)
    ids = numbering.ids.to_pylist()
    bucket_of = [names[at] for at in positions]
    with TrainingRows(
        rollouts.schema, numbering, problems.gold_column(rollouts.schema, reward_fn_key), folder
    ) as training:
        write_rollouts(rollouts, kept, values, everything, bucket_paths, training=training)
        columns = metric_columns(metrics) | measured.columns
        answers = Answers(measured.majority, merged.texts)
        write_metrics(str(folder / outputs.METRICS), ids, columns, answers, order)
        table = {"bucket": np.array(bucket_of, dtype=object), **columns}
        write_metrics_table(str(folder / outputs.TABLE), numbering.ids, table, answers, order)
        training.write(folder / outputs.PROBLEMS, folder / outputs.TABLE)
    write_buckets(str(folder / outputs.BUCKETS), ids, bucket_of, order)
    card = dataset_card(numbering.problems, len(merged.codes), names)
    (folder / outputs.CARD).write_text(card, encoding="utf-8")
    if measured.top_up is not None:
        _write_top_up(str(folder / outputs.TOP_UP), numbering.ids, measured.top_up)
    (folder / outputs.SUMMARY).write_bytes(summary)


def _part_columns(merged: Merged) -> dict[str, NDArray[np.float64]]:
    """The columns of sums of rewards: reward_<part>, and what was compared with the pass threshold."""
    columns = {REWARD_EXTRA + name: values for name, values in merged.parts.items()}
    if not np.isnan(merged.pass_values).all():
        columns[REWARD_PASS_VALUE] = merged.pass_values
    return columns


def _write_top_up(path: str, ids: pa.Array, columns: Mapping[str, NDArray[np.int64]]) -> None:
    """Write topup.parquet: data_idx, samples, first_sample_idx, for the problems that are to be sampled more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chosen = pa.array(columns["number"])
    rest = {name: pa.array(columns[name]) for name in ("samples", "first_sample_idx")}
    pq.write_table(pa.table({"data_idx": ids.take(chosen), **rest}), path, write_page_checksum=True)


def _named(assignment: Assignment) -> tuple[list[str], NDArray[np.int8]]:
    """Bucket names with `unscored` last where there are such problems, and the (problems,) position of each."""
    names = list(assignment.sizes())
    positions = assignment.positions
    if UNSCORED in names:
        positions = np.where(positions < 0, names.index(UNSCORED), positions).astype(np.int8)
    return names, positions
