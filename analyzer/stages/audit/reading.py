"""Where the audit reads: single rows of the input, as problems and what else is wanted of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.rewards import BaseReward, Reward
from analyzer.rollouts import problems
from analyzer.rollouts.dataset import InputFile, Reader, schema_of
from analyzer.schema import DATA_SOURCE, EXTRA_INFO, Problem

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.grading import Limits
    from analyzer.rollouts.numbering import Numbering

SHOWN = 160  # characters of a text in an example


class AuditInput(NamedTuple):
    """Where the audit reads, and what it asks."""

    files: tuple[InputFile, ...]
    numbering: Numbering
    gold_column: str
    data_source: str  # of data without that column
    rewards: Mapping[str, BaseReward]
    limits: Limits
    seed: int
    threshold: float  # the reward from which on a rollout passes


def rows_of(given: AuditInput, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Single rows, in order: these columns, the ground truth and, where there is one, the data_source."""
    import pyarrow as pa

    wanted = dict.fromkeys([*columns, given.gold_column])
    if not given.data_source:
        wanted[DATA_SOURCE] = None
    beside = any(isinstance(reward, Reward) and reward.needs_extra_info for reward in given.rewards.values())
    if beside and given.files and EXTRA_INFO in schema_of(given.files[0]).names:
        wanted[EXTRA_INFO] = None
    reader = Reader(given.files, list(wanted), held=True)
    batches = [batch for _, batch in reader.batches([(row, row + 1) for row in rows])]
    return pa.Table.from_batches(batches).combine_chunks().select(list(wanted))


def problems_of(given: AuditInput, table: pa.Table) -> Iterator[tuple[tuple[Any, ...], Problem]]:
    """For each row the values of the first columns and the problem; rows are looked at one by one."""
    common = [name for name in (given.gold_column, DATA_SOURCE, EXTRA_INFO) if name in table.column_names]
    names = [name for name in table.column_names if name not in common]
    for row in range(table.num_rows):
        one = table.slice(row, 1)
        groups = problems.group(one, common, given.gold_column, given.data_source)
        yield tuple(one[name][0].as_py() for name in names), groups.problems[0]


_SEEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def short(value: Any) -> str:
    whole = str(value)
    text = " ".join(whole.split())
    # White space around a text is not to be seen, and may be all that keeps it from being equal to an answer.
    if text and whole != whole.strip():
        before, after = whole[: -len(whole.lstrip())], whole[len(whole.rstrip()) :]
        text = "".join(_SEEN.get(c, c) for c in before) + text + "".join(_SEEN.get(c, c) for c in after)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
