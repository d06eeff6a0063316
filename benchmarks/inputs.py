"""The inputs: real rollouts from ../shared/data made many, or stand-ins made from the embedded sample.

Every copy of a problem gets a data_idx of its own, so a copy is one more problem and not one more sample of it. Row
groups hold some 16 MB, as writers of large files make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import stand_ins

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "examples" / "sample"
GROUP_BYTES = 16 << 20
SLICE_BYTES = 1 << 20
COLUMNS = ["prompt", "response", "data_idx", "sample_idx", "original_data_source", "original_reward_model", "model"]


class Source(NamedTuple):
    """Rollouts to make an input from: files of ../shared/data, and what stands in for them where they are absent."""

    name: str
    files: tuple[str, ...]
    stand_in: Callable[[pa.Table], pa.Table]  # from the embedded sample


SHORT = Source("short", ("gsm8k_zeroeval",), stand_ins.as_it_is)
LONG = Source("long", ("long_thinking",), stand_ins.long)
MATH = Source("math", ("math_l5_zeroeval",), stand_ins.boxed)
SYMBOLIC = Source("symbolic", ("carp_en_qwen3b", "gaokao2023en_qwen3b"), stand_ins.symbolic)


def is_real() -> bool:
    """Whether the inputs are real rollouts."""
    return (SHARED / "data").is_dir()


def tokenizer() -> str:
    """Folder of the tokenizer that counts."""
    real = SHARED / "tokenizers" / "qwen3"
    return str(real if real.is_dir() else SAMPLE / "tokenizer")


def table_of(source: Source) -> pa.Table:
    """The rollouts of a source, problem by problem; data_idx from 0, sample_idx from 0 within each problem."""
    if not is_real():
        return _renumbered([source.stand_in(pq.read_table(SAMPLE / "rollouts.parquet", columns=COLUMNS))])
    return _renumbered([pq.read_table(SHARED / "data" / f"{name}.parquet", columns=COLUMNS) for name in source.files])


def rows_of(path: Path) -> int:
    """The number of rollouts in an input."""
    return int(pq.read_metadata(path).num_rows)


def of_checkpoints(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rollouts of an earlier and a later checkpoint: all responses of the later one are new, few of its answers are.

    Made of one set of rollouts: the earlier checkpoint has nine in ten of them, the later one all, in other words.
    """
    numbers = np.arange(table.num_rows)
    later = pc.binary_join_element_wise("Let me see.\n", table["response"], "")
    at = table.schema.get_field_index("response")
    return table.filter(pa.array(numbers % 10 != 0)), table.set_column(at, "response", later)


def every_nth_problem(table: pa.Table, every: int) -> pa.Table:
    """The rollouts of problems 0, n, 2n ...; of problem 0 alone where n is 0."""
    ids = table["data_idx"].to_numpy()
    return table.filter(pa.array(ids % every == 0 if every else ids == 0))


def _renumbered(tables: list[pa.Table]) -> pa.Table:
    """Some sources give one (data_idx, sample_idx) to two rollouts, and two sources share their data_idx."""
    table = pa.concat_tables(tables)
    file = np.repeat(np.arange(len(tables)), [part.num_rows for part in tables])
    order = np.lexsort((table["data_idx"].to_numpy(), file))
    ids, file = table["data_idx"].to_numpy()[order], file[order]
    new = np.append(True, (ids[1:] != ids[:-1]) | (file[1:] != file[:-1]))
    starts = np.flatnonzero(new)
    problems = np.cumsum(new) - 1
    samples = np.arange(len(ids)) - starts[problems]
    return _with(table.take(pa.array(order)), {"data_idx": problems, "sample_idx": samples})


def _with(table: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    return table


def write(table: pa.Table, path: Path, rows: int | None = None, text_bytes: int | None = None) -> int:
    """Write copies of a table until there are `rows` rows, or `text_bytes` bytes; returns the rows written."""
    held: list[pa.Table] = []
    size = written = total = 0
    texts = ("prompt", "response")
    dictionary = [name for name in table.schema.names if name not in texts]
    with pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=dictionary) as writer:
        for part in _copies(table):
            whole = part if rows is None else part.slice(0, rows - written)
            held.append(whole)
            size += whole.nbytes
            total += whole.nbytes
            written += whole.num_rows
            done = (rows is not None and written >= rows) or (text_bytes is not None and total >= text_bytes)
            if done or size >= GROUP_BYTES:
                group = pa.concat_tables(held)
                writer.write_table(group, row_group_size=group.num_rows)
                held, size = [], 0
            if done:
                return written
    raise AssertionError("copies never end")


def _copies(table: pa.Table) -> Iterator[pa.Table]:
    """Slices of the table, again and again, the problems of each copy numbered after those of the one before."""
    ids = table["data_idx"].to_numpy()
    problems = int(ids[-1]) + 1
    step = max(1, table.num_rows * SLICE_BYTES // table.nbytes)
    copy = 0
    while True:
        for start in range(0, table.num_rows, step):
            part = table.slice(start, step)
            yield _with(part, {"data_idx": ids[start : start + step] + copy * problems})
        copy += 1
