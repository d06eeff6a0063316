"""The rollouts file: the training data's rows joined with their rollouts, in order, written atomically.

A row::

    {"prompt": [{"role": "user", "content": "What is 2+3?"}], "response": "2+3=5\\n#### 5", "sample_idx": 0,
     "data_idx": 0, "temperature": 0.7, "top_p": 0.9, "max_tokens": 512, "finish_reason": "stop",
     "prompt_tokens": 31, "response_tokens": null, "model": "Qwen3-8B", "original_prompt": [...],
     "original_data_source": "openai/gsm8k", "original_reward_model": {"style": "rule", "ground_truth": "5"}}
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import ConfigError, OutputError
from analyzer.files import storage, temporaries
from analyzer.files.json_lines import JsonLines, lost_note
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import TrainingData
from analyzer.generation.settings import JSONL
from analyzer.rollouts import dataset
from analyzer.schema import DATA_IDX, ORIGINAL, PROMPT, RESPONSE, RESPONSE_TOKENS, SAMPLE_IDX

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 32 << 20


class Sampling(NamedTuple):
    """What all rollouts of a file have in common."""

    temperature: float
    top_p: float
    max_tokens: int
    model: str


class Variety:
    """Whether the samples of a prompt differ, watched while the answers go by in order."""

    def __init__(self) -> None:
        self.several = 0  # prompts with more than one sample
        self.varied = 0  # those among them whose samples differ

    def watch(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The answers as they are."""
        # Answers come in the order of data_idx, so the samples of a prompt are neighbours.
        for _, group in itertools.groupby(answers, key=lambda answer: answer.data_idx):
            seen, count = set[str](), 0
            for answer in group:
                seen.update(answer.texts)
                count += len(answer.texts)
                yield answer
            self.several += count > 1
            self.varied += len(seen) > 1


def output_schema(data: TrainingData) -> pa.Schema:
    """The columns of the rollouts file; those of the training data keep their types, and its metadata is kept."""
    import pyarrow as pa

    own = [
        data.dataset.schema.field(data.prompt_key).with_name(PROMPT),
        pa.field(RESPONSE, pa.string()),
        pa.field(SAMPLE_IDX, pa.int64()),
        pa.field(DATA_IDX, pa.int64()),
        pa.field("temperature", pa.float64()),
        pa.field("top_p", pa.float64()),
        pa.field("max_tokens", pa.int64()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field(RESPONSE_TOKENS, pa.int64()),
        pa.field("model", pa.string()),
    ]
    given = data.dataset.schema
    # The metadata is about the training data's columns (a `huggingface` entry lists their features), so it must not
    # pass for that of this file; problems.parquet gives it back under its own name.
    known = {key: value for key, value in (given.metadata or {}).items() if not key.startswith(b"analyzer.")}
    metadata = {ORIGINAL.encode() + key: value for key, value in known.items()}
    return pa.schema(own + [field.with_name(ORIGINAL + field.name) for field in given], metadata or None)


def check_format(data: TrainingData, output_format: str) -> None:
    """Raise ConfigError when the training data has a column that jsonl cannot hold."""
    if output_format == JSONL:
        for field in data.dataset.schema:
            if "binary" in str(field.type):
                raise ConfigError(f"--output_format jsonl: the column {field.name!r} holds bytes; choose parquet")


def write_rollouts(
    path: Path,
    output_format: str,
    data: TrainingData,
    answers: Iterable[Answer],
    sampling: Sampling,
    *,
    group_bytes: int = GROUP_BYTES,
) -> int:
    """Write the file from answers in the order of (data_idx, first); returns the number of rollouts.

    Holds a row group of some group_bytes. Raises StorageError when the disk is full, and then `path` is as it was.
    """
    schema = output_schema(data)
    batches = _joined(data, iter(answers), schema, sampling, group_bytes)
    temporaries.sweep(path.parent)  # of a run that was killed while it wrote: as large as the rollouts
    # Renamed when whole: the path is either the old file or the complete new one.
    with storage.atomic_path(path) as temporary:
        if output_format == JSONL:
            return _write_jsonl(temporary, batches)
        return _write_parquet(temporary, schema, batches, group_bytes)


def _write_parquet(path: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], group_bytes: int) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, waiting = 0, list[pa.RecordBatch]()
    # Page checksums: a bit that flips on a disk is then found when it is read, not when a reward looks odd.
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if sum(piece.nbytes for piece in waiting) >= group_bytes:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))
    return rows


def _write_jsonl(path: str, batches: Iterator[pa.RecordBatch]) -> int:
    with contextlib.closing(JsonLines(path)) as lines:
        for batch in batches:
            lines.write(batch)
    if note := lost_note(lines.lost, "--output_format parquet keeps them"):
        print(f"generate_rollouts: {note}", file=sys.stderr)
    return lines.rows


def read_rollouts(path: Path, output_format: str) -> Iterator[Answer]:
    """The answers in a rollouts file that `write_rollouts` wrote, one a prompt. Raises OutputError if damaged."""
    import pyarrow as pa

    try:
        for data_idx, group in itertools.groupby(_read(path, output_format), key=lambda row: row[DATA_IDX]):
            rows = list(group)
            texts, reasons, counts = (
                [row[name] for row in rows] for name in (RESPONSE, "finish_reason", RESPONSE_TOKENS)
            )
            yield Answer(data_idx, rows[0][SAMPLE_IDX], texts, reasons, counts, rows[0]["prompt_tokens"])
    except (pa.ArrowException, OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        storage.check_of_the_file(error, path)
        reason = " ".join(str(error).split())[:200]
        raise OutputError(f"{path}: is damaged ({reason}); choose another --output_path, or --overwrite") from None


def _read(path: Path, output_format: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    if output_format == JSONL:
        with open(path, "rb") as file:
            yield from map(orjson.loads, file)
        return
    names = [DATA_IDX, SAMPLE_IDX, RESPONSE, "finish_reason", RESPONSE_TOKENS, "prompt_tokens"]
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        for batch in parquet.iter_batches(1024, columns=names):
            yield from batch.to_pylist()


class _Rows:
    """Rollouts of one batch of training rows, column by column."""

    def __init__(self) -> None:
        self.take: list[int] = []  # row within the batch
        self.columns: dict[str, list[Any]] = {
            name: [] for name in (RESPONSE, SAMPLE_IDX, DATA_IDX, "finish_reason", "prompt_tokens", RESPONSE_TOKENS)
        }
        self.bytes = 0

    def add(self, answer: Answer, row: int) -> None:
        count = len(answer.texts)
        self.take += [row] * count
        self.columns[RESPONSE] += answer.texts
        self.columns[SAMPLE_IDX] += range(answer.first, answer.stop)
        self.columns[DATA_IDX] += [answer.data_idx] * count
        self.columns["finish_reason"] += answer.finish_reasons
        self.columns["prompt_tokens"] += [answer.prompt_tokens] * count
        self.columns[RESPONSE_TOKENS] += answer.response_tokens
        self.bytes += sum(map(len, answer.texts))


def _joined(
    data: TrainingData, answers: Iterator[Answer], schema: pa.Schema, sampling: Sampling, group_bytes: int
) -> Iterator[pa.RecordBatch]:
    answer = next(answers, None)
    for first, batch in dataset.Reader(data.dataset.files, None).batches([(0, data.rows)]):
        rows = _Rows()
        while answer is not None and answer.data_idx < first + batch.num_rows:
            rows.add(answer, answer.data_idx - first)
            # The prompt and all columns of training data are repeated for each sample, so they count as well.
            if rows.bytes + batch.nbytes * len(rows.take) // batch.num_rows >= group_bytes:
                yield _batch(batch, rows, schema, data.prompt_key, sampling)
                rows = _Rows()
            answer = next(answers, None)
        if rows.take:
            yield _batch(batch, rows, schema, data.prompt_key, sampling)


def _batch(
    batch: pa.RecordBatch, rows: _Rows, schema: pa.Schema, prompt_key: str, sampling: Sampling
) -> pa.RecordBatch:
    import pyarrow as pa

    take, count = pa.array(rows.take, pa.int64()), len(rows.take)
    # take() repeats training rows in Arrow: no Python object is made of them.
    originals = {ORIGINAL + name: batch.column(name).take(take) for name in batch.schema.names}
    columns: dict[str, Any] = {PROMPT: originals[ORIGINAL + prompt_key], **originals, **rows.columns}
    for name, value in sampling._asdict().items():
        columns[name] = pa.repeat(pa.scalar(value, schema.field(name).type), count)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field, column in ((field, columns[field.name]) for field in schema)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
