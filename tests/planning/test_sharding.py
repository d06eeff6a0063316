"""Shards partition the input and hold whole problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.planning import sharding
from analyzer.rewards import BaseReward
from analyzer.rewards.custom.reward import Custom
from analyzer.rewards.gsm8k import Gsm8k
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset, Footer, InputFile
from analyzer.rollouts.footers import RowGroup
from analyzer.rollouts.numbering import Numbering


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Dataset, Numbering, NDCodes]:
    """An input that is nowhere: row groups of any size in some files, and the problem of each row (-1: left out)."""
    codes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=60))
    if draw(st.booleans()):
        codes.sort()
    limit = draw(st.integers(1, 6))
    seen: dict[int, int] = {}
    numbered = np.array([seen.setdefault(code, len(seen)) for code in codes])
    numbered[numbered >= limit] = -1
    starts = np.flatnonzero(np.append(True, numbered[1:] != numbered[:-1]))
    numbering = Numbering(pa.array(range(min(limit, len(seen)))), starts, numbered[starts], len(codes))
    files, left = [], len(codes)
    while left:
        rows = draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))
        if not 0 < sum(rows) <= left:
            rows = [left]
        groups = [RowGroup(row, row * draw(st.integers(1, 1 << 21)), 0, 0) for row in rows]
        name, largest = f"{len(files)}.parquet", max(group.bytes for group in groups)
        blocks = dataset.join_groups(groups)
        files.append(InputFile(name, name, 0, "", sum(rows), largest, Footer(0, 0, 0, 0), blocks))
        left -= sum(rows)
    return Dataset(tuple(files), pa.schema([])), numbering, numbered


NDCodes = np.ndarray[Any, np.dtype[np.int64]]


@pytest.mark.parametrize(
    ("rewards", "megabytes", "shards"),
    [
        ((Gsm8k(),), 1, 4),
        ((Gsm8k(),), 64, 64),
        # An answer that was graded before costs microseconds, a shard milliseconds.
        ((MathVerify(),), 4, 32),
        ((MathVerify(),), 64, 64),
        # A function may take a second for a response: many cores are to share a few of them.
        ((Custom(function="rewards.py:score"),), 4, 64),
        ((Custom(function="rewards.py:score"), MathVerify()), 4, 64),
        ((MathVerify(), Custom(function="rewards.py:score")), 4, 64),
    ],
    # An address in an id would be another one in each worker of pytest.
    ids=lambda value: "+".join(reward.name for reward in value) if isinstance(value, tuple) else str(value),
)
def test_what_a_rollout_costs_at_most_decides_how_many_shards_there_are(
    rewards: tuple[BaseReward, ...], megabytes: int, shards: int
) -> None:
    group = RowGroup(100, megabytes << 20, 0, 0)
    file = InputFile("1.parquet", "1.parquet", 0, "", 100, 1, Footer(0, 0, 0, 0), dataset.join_groups([group]))
    rollouts = Dataset((file,), pa.schema([]))
    assert rollouts.bytes // sharding.shard_bytes(rollouts, rewards) == shards


@pytest.mark.parametrize(("megabytes", "shard"), [(40, 40), (200, 10)])
def test_a_shard_is_a_row_group_or_more_unless_that_is_huge(megabytes: int, shard: int) -> None:
    groups = dataset.join_groups([RowGroup(100, megabytes << 20, 0, 0)])
    files = [InputFile("p", "p", 0, "", 100, megabytes << 20, Footer(0, 0, 0, 0), groups)] * (640 // megabytes)
    assert sharding.shard_bytes(Dataset(tuple(files), pa.schema([])), [Gsm8k()]) >> 20 == shard - (640 % megabytes > 0)


@given(inputs(), st.integers(1, 1 << 24))
def test_shards_partition_the_input_and_hold_whole_problems(
    given_input: tuple[Dataset, Numbering, NDCodes], target: int
) -> None:
    source, numbering, codes = given_input
    shards, amplification = sharding.cut_shards(source, numbering, target)
    shard_of_row = np.full(len(codes), -1)
    for shard in range(shards.total):
        ranges = shards.ranges[shards.offsets[shard] : shards.offsets[shard + 1]]
        assert len(ranges) > 0
        assert (ranges[1:, 0] > ranges[:-1, 1]).all(), "ascending, and neighbours are joined"
        for start, stop in ranges:
            assert (shard_of_row[start:stop] == -1).all(), "no row twice"
            shard_of_row[start:stop] = shard
    assert ((shard_of_row >= 0) == (codes >= 0)).all(), "every analyzed row and no other"
    for code in set(codes.tolist()) - {-1}:
        assert len(set(shard_of_row[codes == code].tolist())) == 1, "problems are whole"
    assert shards.rows().sum() == (codes >= 0).sum()
    assert amplification >= 1 - 1e-9


@given(inputs())
def test_the_kept_ranges_are_the_analyzed_rows_and_positions_count_them(
    given_input: tuple[Dataset, Numbering, NDCodes],
) -> None:
    _, numbering, codes = given_input
    rows = [row for start, stop in numbering.kept_ranges() for row in range(start, stop)]
    assert rows == np.flatnonzero(codes >= 0).tolist()
    assert numbering.positions(np.array(rows)).tolist() == list(range(len(rows)))
    assert numbering.row_codes().tolist() == codes.tolist()


RANGES = st.sets(st.integers(0, 60)).map(lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)))


@given(RANGES, RANGES)
def test_common_ranges_hold_the_rows_that_are_in_both(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def rows(ranges: Sequence[tuple[int, int]]) -> list[int]:
        return [row for start, stop in ranges for row in range(start, stop)]

    assert rows(sharding.common_ranges(one, other)) == sorted(set(rows(one)) & set(rows(other)))
