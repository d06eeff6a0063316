"""Laws of the main job: shards partition the input, windows pass each row on once, types unite in any order."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.difficulty import metrics
from analyzer.planning import sharding
from analyzer.rollouts import dataset, jsonl, windows
from analyzer.rollouts.dataset import Dataset, Footer, InputFile
from analyzer.rollouts.footers import RowGroup
from analyzer.rollouts.numbering import Numbering
from analyzer.rollouts.problems import group
from analyzer.stages import write
from tests.commands import parquet

# ---------------------------------------------------------------- shards


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


@given(inputs(), st.integers(1, 1 << 24))
def test_shards_partition_the_input_and_hold_whole_problems(
    given_input: tuple[Dataset, Numbering, NDCodes], target: int
) -> None:
    source, numbering, codes = given_input
    shards = sharding.cut_shards(source, numbering, target)
    shard_of_row = np.full(len(codes), -1)
    for shard in range(shards.total):
        ranges = shards.ranges[shards.offsets[shard] : shards.offsets[shard + 1]]
        assert len(ranges) > 0
        assert (ranges[1:, 0] > ranges[:-1, 1]).all(), "ascending, and neighbours are joined"
        for start, stop in ranges:
            assert (shard_of_row[start:stop] == -1).all(), "no row twice"
            shard_of_row[start:stop] = shard
    assert ((shard_of_row >= 0) == (codes >= 0)).all(), "every analysed row and no other"
    for code in set(codes.tolist()) - {-1}:
        assert len(set(shard_of_row[codes == code].tolist())) == 1, "problems are whole"
    assert shards.rows().sum() == (codes >= 0).sum()
    assert shards.amplification >= 1 - 1e-9


@given(inputs())
def test_the_kept_ranges_are_the_analysed_rows_and_positions_count_them(
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


# ---------------------------------------------------------------- windows


class FakeReader:
    """Rows of problems with responses of given lengths, in batches cut anywhere."""

    def __init__(self, ids: Sequence[int], lengths: Sequence[int], cuts: Sequence[int]) -> None:
        self._table = pa.table({"data_idx": pa.array(ids, pa.int64()), "response": ["x" * n for n in lengths]})
        self._edges = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})

    def batches(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        for first, last in zip(self._edges, self._edges[1:], strict=False):
            (batch,) = self._table.slice(first, last - first).combine_chunks().to_batches()
            yield first, batch


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 400)), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=8),
    st.booleans(),
)
def test_windows_pass_on_each_row_once_with_problems_side_by_side_and_whole_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int]], cuts: list[int], together: bool
) -> None:
    monkeypatch.setattr(windows, "WINDOW_BYTES", 500)
    monkeypatch.setattr(windows, "WINDOW_BYTES_MAX", 2000)
    if together:
        rows.sort()
    ids, lengths = [idx for idx, _ in rows], [length for _, length in rows]
    reader: Any = FakeReader(ids, lengths, cuts)
    passed = list(windows.windows(reader, [(0, len(rows))], together))
    order = [row for window in passed for row in window.rows.tolist()]
    assert sorted(order) == list(range(len(rows)))
    for window in passed:
        assert window.table["data_idx"].to_pylist() == [ids[row] for row in window.rows.tolist()]
        assert window.table["response"].to_pylist() == ["x" * lengths[row] for row in window.rows.tolist()]
        names = window.table["data_idx"].to_pylist()
        assert len(list(_runs(names))) == len(set(names)), "side by side"
        for name in set(names):
            mine = [row for row in window.rows.tolist() if ids[row] == name]
            assert mine == sorted(mine), "in input order"
    if together:
        assert order == list(range(len(rows)))
        split = [idx for idx in set(ids) if sum(idx in window.table["data_idx"].to_pylist() for window in passed) > 1]
        for idx in split:
            size = sum(length + 16 for name, length in rows if name == idx)
            assert size >= 2000 - 416, "a problem is split only where it does not fit"


def _runs(values: Sequence[Any]) -> Iterator[Any]:
    yield from (value for at, value in enumerate(values) if at == 0 or value != values[at - 1])


# ---------------------------------------------------------------- types

some_scalar = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1e300, 2**60])
big_integer = st.builds(jsonl.BigInteger, st.just("9" * 30))


def values_of(scalar: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values made of these."""
    return st.recursive(
        scalar | st.text("aé1", max_size=2),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=5,
    )


some_value = values_of(some_scalar | big_integer)


def plain(kind: jsonl.Kind) -> Any:
    """A kind without the order of its members, which is that of their appearance."""
    return kind.name, plain(kind.item) if kind.item else None, {name: plain(inner) for name, inner in kind.fields}


@given(some_value, some_value, some_value)
def test_types_unite_in_any_order_and_grouping(one: Any, two: Any, three: Any) -> None:
    a, b, c = map(jsonl.kind_of, (one, two, three))
    assert plain(jsonl.union(a, b)) == plain(jsonl.union(b, a))
    assert plain(jsonl.union(jsonl.union(a, b), c)) == plain(jsonl.union(a, jsonl.union(b, c)))
    assert jsonl.union(a, a) == a
    assert jsonl.union(a, jsonl.NULL) == jsonl.union(jsonl.NULL, a) == a


@given(st.lists(values_of(some_scalar), min_size=1, max_size=4))
def test_a_column_of_any_values_gives_them_back_as_ground_truths(values: list[Any]) -> None:
    values = [value for value in values if value is not None] or [1]
    kind = functools.reduce(jsonl.union, map(jsonl.kind_of, values))
    rows = [{"data_idx": at, "gold": value} for at, value in enumerate(values)]
    batch = jsonl.columns_to_arrow(rows, {"data_idx": jsonl.Kind("int"), "gold": kind})
    groups = group(pa.Table.from_batches([batch]), ["gold"], "gold", "source")
    assert [_bare(problem.ground_truth) for problem in groups.problems] == [_bare(value) for value in values]


def _bare(value: Any) -> Any:
    """A value as it may come back: a member that is missing is null, an integer among floats a float."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in sorted(value.items()) if inner is not None}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return value


# ---------------------------------------------------------------- row order


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abcdé"), st.integers(0, 30)), st.sampled_from([0.0, 1.0, 0.1, 0.7]), min_size=1
    ),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_metrics_do_not_depend_on_the_order_of_the_rows(
    tmp_path: Path, rewards: dict[tuple[str, int], float], group_rows: int, chance: random.Random
) -> None:
    rows = [{"data_idx": idx, "sample_idx": sample, "reward": reward} for (idx, sample), reward in rewards.items()]
    first = metrics_json(tmp_path, rows, group_rows)
    chance.shuffle(rows)
    assert metrics_json(tmp_path, rows, group_rows + 1) == first


def metrics_json(folder: Path, rows: Sequence[dict[str, Any]], group_rows: int) -> bytes:
    """problem_metrics.json for these rewards."""
    dataset.close_files()
    path = parquet(folder / "r.parquet", rows, row_group_size=group_rows)
    file, schema = dataset.describe(str(path))
    numbering = sharding.number_problems(Dataset((file,), schema))
    values = np.array([row["reward"] for row in rows])
    measured = metrics.problem_metrics(numbering.row_codes(), values, numbering.problems)
    target = folder / "m.json"
    target.unlink(missing_ok=True)
    write.write_metrics(str(target), numbering.ids.to_pylist(), measured, numbering.order())
    return target.read_bytes()
