"""How many rollouts each prompt is to get, and the sample_idx of the first: every prompt alike, or a top-up's list.

A top-up's file, topup.parquet, is written by `analyze_rollouts --top_up N`; a row::

    {"data_idx": 17, "samples": 12, "first_sample_idx": 8}     # 12 more rollouts of problem 17: sample_idx 8 to 19
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from analyzer.errors import InputError
from analyzer.files import storage
from analyzer.schema import DATA_IDX

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.schema import IntArray

SAMPLES, FIRST_SAMPLE_IDX = "samples", "first_sample_idx"
_MOST_SAMPLES = 1 << 20  # of one prompt: more is a mistake


class Wanted(NamedTuple):
    """Rollouts to generate, for each data_idx."""

    samples: IntArray  # (prompts,)
    first: IntArray  # (prompts,), sample_idx of the first of them
    digest: str | None = None  # of a top-up's content

    @property
    def rollouts(self) -> int:
        """All of them together."""
        return int(self.samples.sum())

    @property
    def prompts(self) -> int:
        """Prompts that get any."""
        return int((self.samples > 0).sum())


def every(prompts: int, num_samples: int) -> Wanted:
    """The same number for every prompt, numbered from 0."""
    import numpy as np

    # broadcast_to: a view on one number, not 8 bytes for each of a million prompts.
    return Wanted(np.broadcast_to(np.int64(num_samples), prompts), np.broadcast_to(np.int64(0), prompts))


def top_up(path: str, prompts: int) -> Wanted:
    """What a topup.parquet lists. Raises InputError, one line, where it is none or does not fit the training data."""
    import numpy as np

    columns = _columns(path)
    data_idx, samples, first = (columns[name] for name in (DATA_IDX, SAMPLES, FIRST_SAMPLE_IDX))
    if not len(data_idx):
        raise InputError(f"{path}: lists no problems: nothing to sample")
    for name, values, most in (
        (SAMPLES, samples, _MOST_SAMPLES),
        (FIRST_SAMPLE_IDX, first, 1 << 40),
        (DATA_IDX, data_idx, None),
    ):
        wrong = (values < 0) | (values > (prompts - 1 if most is None else most))
        if wrong.any():
            row = int(wrong.argmax())
            why = f"the training data has the rows 0 to {prompts - 1}" if most is None else f"must be 0 to {most}"
            raise InputError(f"{path}: row {row}: {name} {values[row]}: {why}")
    if len(np.unique(data_idx)) < len(data_idx):
        ordered = np.sort(data_idx)
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"{path}: data_idx {twice} is listed more than once")
    all_samples, all_first = np.zeros(prompts, dtype=np.int64), np.zeros(prompts, dtype=np.int64)
    all_samples[data_idx], all_first[data_idx] = samples, first
    order = np.argsort(data_idx)
    # Sorted by data_idx and little-endian, so that a list in another order, or made on another machine, is the
    # same top-up.
    digest = hashlib.sha256(np.stack((data_idx, samples, first))[:, order].astype("<i8").tobytes()).hexdigest()[:16]
    return Wanted(all_samples, all_first, digest)


def _columns(path: str) -> dict[str, IntArray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: pa.Table = pq.read_table(storage.absolute(path))  # a relative run:1/topup.parquet is a URL to arrow
    except (OSError, pa.ArrowException) as error:
        storage.check_of_the_file(error, path)
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"is not a parquet file ({error})"
        raise InputError(f"--top_up {path}: {' '.join(reason.split())[:200]}") from None
    found = {}
    for name in (DATA_IDX, SAMPLES, FIRST_SAMPLE_IDX):
        if name not in table.column_names:
            raise InputError(
                f"--top_up {path}: there is no column {name!r}; the columns are: {', '.join(table.column_names)}; "
                "analyze_rollouts --top_up N writes such a file"
            )
        column = table[name]
        if not pa.types.is_integer(column.type) or column.null_count:
            raise InputError(
                f"--top_up {path}: the column {name!r} must be integers without nulls, it is {column.type}"
                + (f" with {column.null_count} nulls" if column.null_count else "")
                + ("; data_idx must be rows of the training data" if name == DATA_IDX else "")
            )
        found[name] = column.to_numpy().astype("int64")
    return found
