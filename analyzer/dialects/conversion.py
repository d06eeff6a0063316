"""Conversion: files of another layout into parquet files of ours, once for each input and each way to read it.

Columns are mapped as Arrow columns, a record batch at a time, in memory bounded by a batch; of jsonl the columns that
are not wanted go before their types are found. What is made lies in the cache under a name that everything it depends
on is part of.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.dialects import Dialect, files, joining, mapping
from analyzer.dialects.files import Record
from analyzer.dialects.fitting import Options
from analyzer.dialects.layout import Layout, paste, unread_reward
from analyzer.dialects.lookup import root
from analyzer.dialects.mapping import Mapper
from analyzer.dialects.reading import Reading, Request
from analyzer.errors import InputError, counted
from analyzer.files import inputs, storage
from analyzer.rollouts import dataset, json_columns
from analyzer.rollouts.dataset import Reader
from analyzer.schema import PASS_THRESHOLD

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

REPORT = "conversion.json"
# A batch is held as Python objects and as Arrow columns at once, so it takes several times this.
_BATCH_BYTES = 16 << 20
_OF_STEP = frozenset({files.STEP, "entropy", "entropies"})  # columns that each step has anew for the same rollouts
_MANY_FILES = 64  # more than these are written together
_PART_BYTES = 256 << 20


class Report(NamedTuple):
    """What a conversion has to say."""

    names: tuple[str, ...]  # of each part: the file it was made of
    notes: tuple[str, ...]  # what was read as what
    warnings: tuple[str, ...]  # what may be wrong with it
    texts: bool  # whether there are responses, not only rewards
    replaced: int


# ---------------------------------------------------------------- conversion


def convert(reading: Reading, request: Request, folder: str) -> None:
    """Write the rollouts as parquet files of our layout into `folder` (which exists), and the report beside them.

    Raises InputError with the place of what does not fit, ConfigError for what cannot be asked of this input.
    """
    source = _Source(reading)
    # The schema must be known before the first row: a parquet file cannot change it later.
    trainings = [joining.load(spec, request.join_on) for spec in joining.specs_of(request.join)]
    join_on = joining.key_of(trainings[0], source.schema.names) if trainings else None
    options = Options(request.rows, request.pool, request.rescore, join_on, reading.asked)
    mapper = Mapper(reading.layout, source.schema, options, request.spec)
    schema, joiners = mapper.schema, list[joining.Joiner]()
    for training in trainings:
        prompts = mapper.layout.prompt is not None or bool(joiners)
        joiners.append(joining.Joiner(training, schema, request.spec, prompts))
        schema = joiners[-1].schema
    _check_scorable(reading, request, mapper.layout, schema)
    names: list[str] = []
    with storage.storage_errors(folder):
        for name, batches in source.parts():
            with _Part(os.path.join(folder, f"part-{len(names):05d}.parquet"), schema) as part:
                for table in (table for batch, place in batches for table in mapper.tables(batch, place)):
                    # Each join sees what the one before it has added, so a chain of files can be followed.
                    part.add(functools.reduce(lambda rows, joiner: joiner.join(rows), joiners, table))
            names.append(name)
        for joiner in joiners:
            # At the end: whether too many rollouts are without a row is known only of all of them.
            joiner.check()
        report = _report(names, request, source, mapper, joiners)
        # The report is the last file: a folder without one is a conversion that was cut off.
        (Path(folder) / REPORT).write_bytes(orjson.dumps(report._asdict()))


def read_report(folder: str | os.PathLike[str]) -> Report:
    """The report of a conversion that was made."""
    values = orjson.loads((Path(folder) / REPORT).read_bytes())
    lists = {name: tuple(values[name]) for name in ("names", "notes", "warnings")}
    return Report(**values | lists)


def _check_scorable(reading: Reading, request: Request, layout: Layout, schema: pa.Schema) -> None:
    """Raise InputError where there are neither rewards nor ground truths, nor a reward that needs none."""
    golds = [name for name in schema.names if name in joining.GOLDS]
    if layout.reward or layout.counted or golds or request.scored_without_gold:
        return
    what = "no ground truths to grade with" if request.rescore else "neither ground truths nor rewards"
    remedy = "add them from the training data with --join train.parquet"
    if request.join:
        remedy = f"{request.join} holds no ground truth either (looked for {', '.join(joining.GOLD_NAMES)})"
    raise InputError(f"{request.spec}: read as {reading.dialect.framework}, which hold {what}: {remedy}")


class _Part:
    """A parquet file of the conversion, given tables of any size."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        self._writer: pq.ParquetWriter = pq.ParquetWriter(path, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._bytes = 0

    def __enter__(self) -> _Part:
        return self

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._held:
            table = pa.concat_tables(self._held)
            # One row group per flush: the sizes are bytes of text, and arrow would cut by rows.
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
            self._held, self._bytes = [], 0

    def __exit__(self, *error: object) -> None:
        try:
            # After an error nothing more is written, but the file is closed, or its descriptor would stay open.
            if error[0] is None:
                self._flush()
        finally:
            self._writer.close()


Batches = Iterator[tuple["pa.RecordBatch", Callable[[int], str]]]


class _Source:
    """The files of an input as record batches of one schema."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.replaced = 0
        self.repeated: set[str] = set()  # places of records that repeat the one before
        self.further: set[str] = set()  # places of records of which the file has one already
        layout = reading.layout
        # A column in `drop` that some path of --columns asks for must be read after all.
        needed = {root(one.strip()) for _, path in layout.paths() for one in path.split("|") if path != "*"}
        self._dropped = frozenset() if reading.dialect.nested else frozenset(set(layout.drop) - needed)
        self._of_path = files.path_columns(layout, reading.paths)
        self._by_record = reading.dialect.nested or any(files.suffix_of(p) != files.PARQUET for p in reading.paths)
        if self._by_record:
            # jsonl is read twice: the lines may disagree about a column's type, which only the last one settles.
            rows = (dict(record.row) for at, path in enumerate(reading.paths) for record in self._records(at, path))
            self._fields = json_columns.kinds_of(rows)
            self.schema = json_columns.columns_to_arrow([], self._fields).schema
        else:
            self._files, self.schema = self._open()

    def parts(self) -> Iterator[tuple[str, Batches]]:
        """(name, batches) of each file to be written: one for each that is read, unless these are many and small."""
        paths = self.reading.paths
        # One part for each file keeps names that a person knows; thousands of episode files would be thousands of
        # footers.
        if len(paths) <= _MANY_FILES:
            for at, path in enumerate(paths):
                yield self._name(path), self._batches([at])
            return
        held: list[int] = []
        size = 0
        for at, path in enumerate(paths):
            held.append(at)
            size += inputs.stat(path)[0]
            if size >= _PART_BYTES or at == len(paths) - 1:
                yield self._name(os.path.dirname(path)), self._batches(held)
                held, size = [], 0

    def _name(self, path: str) -> str:
        return f"{path} as {self.reading.dialect.framework}"  # its rows are not the lines of the file

    def _batches(self, numbers: Sequence[int]) -> Batches:
        return self._of_records(numbers) if self._by_record else self._of_parquet(numbers)

    def _records(self, at: int, path: str) -> Iterator[Record]:
        """The flat rows of a file, without what is not wanted and with what its path tells."""
        of_path = {name: values[at] for name, values in self._of_path.items()}
        dialect = self.reading.dialect
        found = files.records(path)
        if self.reading.once:
            found = self._without_repeats(found)
        if type(dialect).once_in_file is not Dialect.once_in_file:
            found = self._first_ones(found)
        for record in files.flat_records(dialect, found) if dialect.nested else found:
            row = record.row
            # isdisjoint on the dict first: most rows have nothing to drop, and a new dict per row costs more than
            # reading it.
            if self._dropped and not self._dropped.isdisjoint(row):
                row = {name: value for name, value in row.items() if name not in self._dropped}
            # What the path tells wins over what the row says: --columns may name it.
            yield record._replace(row={**row, **of_path} if of_path else row)

    def _without_repeats(self, found: Iterator[Record]) -> Iterator[Record]:
        """The records that are not, but for what a step adds to its rollouts, the one before."""
        before: dict[str, Any] = {}
        for record in found:
            kept = {name: value for name, value in record.row.items() if name not in _OF_STEP}
            if kept == before:
                self.repeated.add(record.place)
            else:
                before = kept
                yield record

    def _first_ones(self, found: Iterator[Record]) -> Iterator[Record]:
        """The records of a file without further ones of what it has one of."""
        seen: set[Any] = set()
        for record in found:
            known = self.reading.dialect.once_in_file(record.row)
            if known is not None and known in seen:
                self.further.add(record.place)
            else:
                seen.add(known)
                yield record

    def _of_records(self, numbers: Sequence[int]) -> Batches:
        held: list[Record] = []
        size = 0
        for at in numbers:
            for record in self._records(at, self.reading.paths[at]):
                held.append(record)
                size += record.bytes
                self.replaced += record.replaced
                if size >= _BATCH_BYTES:
                    yield self._batch(held)
                    held, size = [], 0
        if held:
            yield self._batch(held)

    def _batch(self, held: list[Record]) -> tuple[pa.RecordBatch, Callable[[int], str]]:
        places = [record.place for record in held]
        return json_columns.columns_to_arrow([dict(record.row) for record in held], self._fields), places.__getitem__

    def _open(self) -> tuple[tuple[dataset.InputFile, ...], pa.Schema]:
        import pyarrow as pa

        files, schema = dataset.describe_all(self.reading.paths, dropped=self._dropped)
        fields = list(schema)
        is_whole = {
            name: all(value is None or isinstance(value, int) for value in values)
            for name, values in self._of_path.items()
        }
        # int64 only where every file has a number; a mixture of numbers and texts is text.
        fields += [pa.field(name, pa.int64() if is_whole[name] else pa.string()) for name in self._of_path]
        return files, pa.schema(fields)

    def _of_parquet(self, numbers: Sequence[int]) -> Batches:
        import pyarrow as pa

        for at in numbers:
            file, path = self._files[at], self.reading.paths[at]
            columns = [name for name in self.schema.names if name not in self._of_path]
            # held: columns whose lines disagree about a type come as JSON texts, which paths look into.
            for first, batch in Reader([file], columns, held=True).all():
                arrays = [batch.column(name) for name in columns]
                for name, values in self._of_path.items():
                    kind = self.schema.field(name).type
                    arrays.append(pa.array([values[at]] * batch.num_rows, kind))
                yield (
                    pa.RecordBatch.from_arrays(arrays, schema=self.schema),
                    lambda row, path=path, first=first: f"{path}, row {first + row} (counted from 0)",  # type: ignore[misc]
                )


# ---------------------------------------------------------------- the report


def _report(
    names: Sequence[str], request: Request, source: _Source, mapper: Mapper, joiners: Sequence[joining.Joiner]
) -> Report:
    """What was read. Raises InputError where no row is left. `names`: of the parts."""
    reading, tally, layout = source.reading, mapper.tally, mapper.layout
    sizes = list(mapper.ordinals.counts.values())
    if not sizes:
        why = f": --rows {request.rows!r} keeps none of {tally.read}" if request.rows and tally.read else ""
        if tally.failed:
            why = f" with a response: {counted(tally.failed, 'rollout')} without one (failed requests)"
        raise InputError(f"{request.spec}: has no rows{why}")
    group = str(layout.group or ("(prompt, ground truth)" if layout.ground_truth else "prompt"))
    number = f"{counted(sum(sizes), 'rollout')}, {counted(len(sizes), 'problem')}"
    notes = [f"read as {reading.dialect.framework}: {number} by {group}"]
    if reading.unread:
        notes.append(f"not read: {files.named(reading.unread)}")
    notes += [*_taken_notes(request, mapper), *_left_out_notes(source)]
    notes += [note for joiner in joiners for note in joiner.notes()]
    warnings = [*_size_warnings(sizes, group), *_row_warnings(tally, layout), *_reward_warnings(tally)]
    warnings += [warning for joiner in joiners for warning in joiner.warnings()]
    if same := files.copies(reading.paths):
        warnings.append(f"{same[0]} and {same[1]} hold the same bytes: of a copy all rollouts count twice.")
    return Report(tuple(names), tuple(notes), tuple(warnings), layout.response is not None, source.replaced)


def _taken_notes(request: Request, mapper: Mapper) -> Iterator[str]:
    """Which rows were taken, and what for."""
    tally, layout = mapper.tally, mapper.layout
    if request.rows:
        yield f"--rows {request.rows!r} keeps {tally.kept:,} of {counted(tally.read, 'row')}"
    elif layout.rows:
        yield f"{tally.kept:,} of {counted(tally.read, 'row')} are read: those with {layout.rows}"
    if layout.counted:
        number = layout.samples if isinstance(layout.samples, int) else f"{layout.samples}"
        yield f"{_counts(layout)}: read as {number} rollouts of each problem with rewards 0 and 1, without text"
    if not request.rescore and not layout.counted and not layout.explode and (kept := unread_reward(mapper.schema)):
        yield f"the rollouts are scored: {paste({'reward': kept})} would take the rewards from {kept!r}"
    if layout.answered_in_prompt:
        yield f"the prompts are the messages of {layout.prompt!r} before the first answer"
    if tally.answered:
        yield f"{counted(tally.answered, 'prompt')} without the response, in which they ended"
    for path, values in tally.sources.items():
        if len(values) > 1:
            yield f"pooled: {len(values)} values of {path}"


def _left_out_notes(source: _Source) -> Iterator[str]:
    """Rollouts that stand in the files more than once."""
    if source.further:
        lines = counted(len(source.further), "line")
        yield f"left out: {lines} with responses that came before, for other filters"
    if repeated := len(source.repeated) + len(source.reading.repeated):
        yield (
            f"left out: {counted(repeated, 'step')} with the very rollouts of the step before, which the trainer logs "
            "once more for each update on them"
        )


def _counts(layout: Layout) -> str:
    """What the column of counts is taken for: names such as `difficulty` mean other things elsewhere."""
    rate = "the percentage" if layout.out_of == 100 else "the share"
    meanings = (
        (layout.passes, "the number of samples that pass"),
        (layout.fails, "the number of samples that fail"),
        (layout.pass_rate, f"{rate} of samples that pass"),
        (layout.fail_rate, f"{rate} of samples that fail"),
    )
    return next((f"{path} is taken for {meaning}" for path, meaning in meanings if path), "")


def _size_warnings(sizes: Sequence[int], group: str) -> list[str]:
    if len(sizes) > 1 and max(sizes) == 1:
        return [
            f"every problem has one rollout, grouped by {group}: if several were sampled, this key is too fine; name "
            "the right one with --columns '{group: ...}'."
        ]
    # Counting each distinct size is quadratic in their number, hence the bound.
    usual = max(set(sizes), key=sizes.count) if len(set(sizes)) < 100 else max(sizes)
    other = sum(size != usual for size in sizes)
    if not other:
        return []
    return [
        f"{other} of {len(sizes)} problems {'has' if other == 1 else 'have'} a number of rollouts other than "
        f"{usual} (from {min(sizes)} to {max(sizes)}), grouped by {group}."
    ]


def _row_warnings(tally: mapping.Tally, layout: Layout) -> list[str]:
    found = []
    if tally.empty:
        found.append(f"{counted(tally.empty, 'row')} without any response or sample left out.")
    if tally.failed:
        found.append(f"{counted(tally.failed, 'rollout')} without a response (failed requests) left out.")
    if tally.off_grid:
        found.append(
            f"{counted(tally.off_grid, 'rate is', 'rates are')} not a whole number of passes and rounded to one: "
            "is the number of samples right? Name it with --columns '{samples: N}'."
        )
    if tally.chats:
        remedy = paste({"response": f"{layout.response}[-1]"})
        found.append(
            f'{counted(tally.chats, "response is", "responses are")} a chat written as text ([{{"role": ...), '
            f"scored as it stands; where it is JSON, {remedy} reads its last message."
        )
    return found


def _reward_warnings(tally: mapping.Tally) -> list[str]:
    if not tally.levels or (tally.least >= 0 and tally.most <= 1):
        return []
    levels = sorted(tally.levels)
    shown = ", ".join(f"{level:g}" for level in levels) if len(levels) <= 8 else "many levels"
    return [
        f"rewards range from {tally.least:g} to {tally.most:g} ({shown}): "
        f"--pass_threshold says from which a rollout passes, {PASS_THRESHOLD:g} unless given."
    ]
