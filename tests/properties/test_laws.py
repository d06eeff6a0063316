"""Laws of the main job: shards partition the input, windows pass each row on once, types unite in any order."""

from __future__ import annotations

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
from analyzer.rollouts import dataset, json_columns, windows
from analyzer.rollouts.dataset import Dataset, Footer, InputFile
from analyzer.rollouts.footers import RowGroup
from analyzer.rollouts.numbering import Numbering
from analyzer.rollouts.problems import group
from analyzer.stages import tables
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

some_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from([0.5, 2.0, -0.0, 1e300, 2**53 + 1, 2**63 - 1, 10**30])
)
some_value = st.recursive(
    some_scalar | st.text('aé1[{"', max_size=2) | st.just("[1]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


def column_of(values: Sequence[Any]) -> tuple[pa.RecordBatch, list[Any]]:
    """The values as lines of a file hold them, as a column in its held form; and what they are once read."""
    read = [json_columns.load_json(json_columns.dump_json(value)) for value in values]
    rows = [{"data_idx": at, "gold": value} for at, value in enumerate(read)]
    kinds = {name: json_columns.kind_of(seen) for name, seen in json_columns.observe(rows).items()}
    return json_columns.columns_to_arrow(rows, kinds), read


@given(st.lists(some_value.filter(lambda value: value is not None), min_size=1, max_size=4))
def test_a_column_of_any_values_gives_each_back_as_it_was(values: list[Any]) -> None:
    batch, read = column_of(values)
    groups = group(pa.Table.from_batches([batch]), ["gold"], "gold", "source")
    golds = {int(start): problem.ground_truth for start, problem in zip(groups.starts, groups.problems, strict=False)}
    assert [_bare(golds[at]) for at in range(len(read))] == [_bare(value) for value in read]


@given(st.lists(some_value, min_size=1, max_size=4))
def test_a_column_of_any_values_shows_texts_as_they_were_and_gives_lists_and_objects_back(values: list[Any]) -> None:
    batch, read = column_of(values)
    shown = json_columns.shown_batch(batch)
    assert shown.schema == json_columns.shown_schema(batch.schema)
    field = shown.schema.field("gold")
    ambiguous = any(type(value) is str and value.startswith(("[", "{")) for value in read)
    for value, told in zip(read, shown.column("gold").to_pylist(), strict=True):
        if type(value) is str:
            assert told == json_columns.decode(told, field) == value
        elif isinstance(told, str):
            assert _bare(json_columns.load_json(told)) == _bare(value)
            if isinstance(value, list | dict) and not ambiguous:
                assert _bare(json_columns.decode(told, field)) == _bare(value)


@given(st.lists(some_value, min_size=1, max_size=4))
def test_the_type_of_a_column_does_not_depend_on_the_order_of_lines(values: list[Any]) -> None:
    def kind(values: Sequence[Any]) -> Any:
        seen = json_columns.observe({"gold": value} for value in values)
        return _unordered(json_columns.kind_of(seen["gold"]))

    assert kind(values) == kind(values[::-1])


def _unordered(kind: json_columns.Kind) -> Any:
    members = {name: _unordered(inner) for name, inner in kind.fields}
    return kind.name, kind.shown, _unordered(kind.item) if kind.item else None, members


def _bare(value: Any) -> Any:
    """A value as it comes back: a missing member is null; 2 and 2.0, 1 and true, 0.0 and -0.0 are told apart."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in sorted(value.items()) if inner is not None}
    return list(map(_bare, value)) if isinstance(value, list) else repr(value)


# ---------------------------------------------------------------- row order


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    columns = tables.metric_columns(measured) | {tables.BEFORE_IT: np.zeros(numbering.problems, np.int64)}
    answers = tables.Answers(np.full(numbering.problems, -1), pa.array([], pa.large_string()))
    tables.write_metrics(str(target), numbering.ids, columns, answers, numbering.order())
    return target.read_bytes()
