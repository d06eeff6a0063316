"""write: one pass over the text feeds rollouts_with_rewards.parquet, every bucket file and problems.parquet.

The pass reads record batches once and hands them to two writer threads (arrow releases the GIL while it encodes):
one writes all rows, the other the rows of each bucket. Row groups depend on the input alone, so the bytes do too. With
`--outputs problems` the rollouts are not copied, and the pass reads the columns of the training rows alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from analyzer.buckets import UNSCORED, Assignment
from analyzer.difficulty.posterior import Gathered
from analyzer.files import outputs
from analyzer.rollouts.dataset import Dataset, close_files
from analyzer.rollouts.grouped import GROUP_BYTES, GroupedParquet
from analyzer.rollouts.problems import gold_column_of
from analyzer.schema import PROMPT, RESPONSE, REWARD_EXTRA, REWARD_PASS_VALUE
from analyzer.stages import tables
from analyzer.stages.card import dataset_card
from analyzer.stages.problems import TrainingRows
from analyzer.stages.rewarded import Rewarded, RowValues

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.rollouts.numbering import Numbering
    from analyzer.stages.findings import Findings
    from analyzer.stages.merge import Merged

# A row group is compressed while the next tables wait, and the two writers come to theirs at different times: with less
# than a group in the queue each stands still while the other compresses, and two cores do the work of one and a half.
_QUEUED_BYTES = 2 * GROUP_BYTES
_QUEUED_TABLES = 2  # of any size
_SWITCHING = 0.0005  # seconds that a thread may keep the interpreter from others


# ---------------------------------------------------------------- rollouts


def write_rollouts(
    rewarded: Rewarded,
    buckets: NDArray[np.int8],
    all_path: str,
    bucket_paths: Sequence[str],
    *,
    training: TrainingRows | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Write rollouts with their rewards to `all_path`, and those of bucket i to bucket_paths[i].

    buckets: the number of each rollout's bucket, (rollouts,). The paths are local names of files that are not there
    yet. `training` sees the rows as they pass. Once `stop` is set nobody wants the files any more.
    """
    schema = rewarded.schema
    with (
        _Sink(schema, [all_path], lambda table, rows: [table]) as everything,
        _Sink(schema, bucket_paths, lambda table, rows: _split(table, buckets[rows], bucket_paths)) as parts,
    ):
        for rows, batch, table in rewarded.all():
            if stop is not None and stop.is_set():
                return
            if training is not None:
                training.see(batch, rows)
            for sink in (everything, parts):
                sink.put(table, rows)
        everything.finish()
        parts.finish()


def _split(table: pa.Table, buckets: NDArray[np.int8], paths: Sequence[str]) -> list[pa.Table]:
    import pyarrow as pa

    return [table.filter(pa.array(buckets == number)) for number in range(len(paths))]


class _Sink:
    """A thread that writes tables to one or several files; row groups of some megabytes.

    A context manager that ends the thread. What writing raises, `put` or `finish` raises; no file is whole before
    `finish` has returned. A disk fails when it likes: at the first row group, at the last, or at the footer, and the
    footers come when no more tables do.
    """

    def __init__(
        self, schema: pa.Schema, paths: Sequence[str], split: Callable[[pa.Table, slice], list[pa.Table]]
    ) -> None:
        self._split = split
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._pending_bytes = 0
        self._files = list[GroupedParquet]()
        # Hardly a text occurs twice: a dictionary would be built, outgrow its page and be thrown away, for each row
        # group.
        options = {"compression_level": 1, "use_dictionary": [n for n in schema.names if n not in (PROMPT, RESPONSE)]}
        self._submit(lambda: self._files.extend(GroupedParquet(path, schema, **options) for path in paths))

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
        """Hand over a table; waits while much is not written. Raises what the writing of earlier ones raised."""
        # Reading outruns compressing: without a limit all of the input would wait in memory for the writers.
        size = table.nbytes
        while len(self._pending) >= _QUEUED_TABLES and self._pending_bytes + size > _QUEUED_BYTES:
            self._wait_for_first()
        self._submit(lambda: self._write(table, rows), size)

    def finish(self) -> None:
        """Wait until all is written, footers too. Raises what the writing raised, OSError for a disk."""
        self._submit(self._close)
        while self._pending:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        first, size = self._pending.popleft()
        self._pending_bytes -= size
        first.result()

    def _submit(self, work: Callable[[], None], size: int = 0) -> None:
        self._pending.append((self._thread.submit(_as_os_error, work), size))
        self._pending_bytes += size

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


# ---------------------------------------------------------------- all files of a run


class Pass(NamedTuple):
    """The pass over the text, under way in a thread of its own."""

    rewarded: Rewarded
    training: TrainingRows
    names: list[str]  # of the buckets
    positions: NDArray[np.int8]  # (problems,) in `names`
    texts: bool  # whether the rollouts are copied
    done: Future[None]


@contextlib.contextmanager
def passing(
    folder: Path,
    rollouts: Dataset,
    numbering: Numbering,
    merged: Merged,
    assignment: Assignment,
    *,
    reward_fn_key: str,
    texts: bool = True,
) -> Iterator[Pass]:
    """Begin to write the rollouts to an empty folder: their files need the buckets, and nothing that is found after
    them. At the end of the context they are on the disk.

    texts: write the files of rollouts, the copies of the text; else the training rows alone are read. Raises
    InputError for a file that is damaged, OSError for a disk.
    """
    names, positions = _named(assignment)
    kept = numbering.kept_ranges()
    rewarded = Rewarded(rollouts, kept, _row_values(merged))
    gold_column = gold_column_of(rollouts.schema.names, reward_fn_key)
    all_path, paths = str(folder / outputs.ROLLOUTS), [str(folder / outputs.bucket_file(name)) for name in names]
    stop = threading.Event()
    switching = sys.getswitchinterval()
    of_rows = positions[merged.codes] if texts else positions
    del merged  # it is the caller's to let go of

    def work() -> None:
        try:
            if texts:
                write_rollouts(rewarded, of_rows, all_path, paths, training=training, stop=stop)
            else:
                training.read(rollouts, kept)
        finally:
            close_files()  # what this thread has opened

    def flush() -> None:
        # They must be on the disk before they replace the old ones; better while the other files are being made.
        if done.exception() is None and not stop.is_set():
            for path in [all_path, *paths] if texts else []:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())

    with TrainingRows(rollouts.schema, numbering, gold_column, folder) as training, ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        flushed = thread.submit(flush)
        try:
            # A writer needs the interpreter for a moment between two calls of arrow, some ten times for each batch.
            # While the caller computes in Python it would wait 5 ms every time, and a core would stand still.
            sys.setswitchinterval(_SWITCHING)
            yield Pass(rewarded, training, names, positions, texts, done)
            done.result()
            flushed.result()
        finally:
            sys.setswitchinterval(switching)
            stop.set()


def write_outputs(folder: Path, passed: Pass, findings: Findings, summary: bytes) -> None:
    """Write every other output file of a run to the folder of the pass. When it returns, the pass has read all.

    summary: summary.json. Raises what the pass raised.
    """
    numbering, merged, metrics, *_, measured, _ = findings
    order = numbering.order()
    columns = tables.metric_columns(metrics) | measured.columns
    answers = tables.Answers(measured.majority, merged.texts)
    tables.write_metrics(str(folder / outputs.METRICS), numbering.ids, columns, answers, order)
    table = {"bucket": Gathered(np.array(passed.names, dtype=object), passed.positions), **columns}
    tables.write_metrics_table(str(folder / outputs.TABLE), numbering.ids, table, answers, order)
    tables.write_buckets(str(folder / outputs.BUCKETS), numbering.ids, passed.names, passed.positions, order)
    card = dataset_card(numbering.problems, len(merged.rewards), passed.names if passed.texts else None)
    (folder / outputs.CARD).write_text(card, encoding="utf-8")
    if measured.top_up is not None:
        _write_top_up(str(folder / outputs.TOP_UP), numbering.ids, measured.top_up)
    (folder / outputs.SUMMARY).write_bytes(summary)
    passed.done.result()
    passed.training.write(folder / outputs.PROBLEMS, folder / outputs.TABLE)


def _row_values(merged: Merged) -> RowValues:
    return RowValues(
        merged.rewards,
        merged.statuses,
        merged.tokens,
        merged.answers,
        merged.texts,
        merged.extra,
        merged.extra_texts,
        _part_columns(merged),
    )


def _part_columns(merged: Merged) -> dict[str, NDArray[np.float64]]:
    """The columns of sums of rewards: reward_<part>, and what was compared with the pass threshold."""
    columns = {REWARD_EXTRA + name: values for name, values in merged.parts.items()}
    if merged.pass_values is not None:
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
