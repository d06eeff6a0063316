"""The data source of each problem, and which responses were cut off: read column by column, without the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.finish import says_finish, was_cut_off
from analyzer.schema import FINISH_REASON, MAX_TOKENS, NOT_COUNTED

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class SourceOfProblems(NamedTuple):
    """Which data source each problem is from."""

    names: tuple[str, ...]  # sorted
    codes: NDArray[np.integer]  # (problems,) position in `names`


def cut_off(rollouts: Dataset, kept: Sequence[tuple[int, int]], tokens: NDArray[np.int32]) -> NDArray[np.bool_] | None:
    """Which responses were cut off: finish_reason says so, or else as many tokens as max_tokens allows.

    `tokens`: the length of each response of the row ranges `kept`, (rollouts,); so is what is returned. None where the
    input has neither column.
    """
    import pyarrow as pa

    fits = {FINISH_REASON: says_finish}
    if not len(tokens) or tokens[0] != NOT_COUNTED:
        fits[MAX_TOKENS] = pa.types.is_integer
    there = [name for name in fits if name in rollouts.schema.names and fits[name](rollouts.schema.field(name).type)]
    if not there:
        return None
    column = there[0]
    found = np.zeros(len(tokens), dtype=bool)
    done = 0
    for _, batch in Reader(rollouts.files, [column], threads=True, narrow=True).batches(kept):
        stop = done + batch.num_rows
        found[done:stop] = _full(column, batch.column(0), tokens[done:stop])
        done = stop
    return found


def cut_off_rows(table: pa.Table, tokens: NDArray[np.int32]) -> list[bool] | None:
    """The same of the rows of a table, which holds such a column only where a reward asks for it; (rows,)."""
    for name in (FINISH_REASON, MAX_TOKENS):
        if name in table.column_names:
            found: list[bool] = _full(name, table[name], tokens).tolist()
            return found
    return None


def _full(name: str, column: pa.Array | pa.ChunkedArray, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
    import pyarrow as pa

    if name == FINISH_REASON:
        return was_cut_off(column)
    chunked = isinstance(column, pa.ChunkedArray)
    values = column.to_numpy() if chunked else column.to_numpy(zero_copy_only=False)
    return np.asarray((values > 0) & (tokens >= values), dtype=bool)
