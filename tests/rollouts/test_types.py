"""Files of one input whose types differ in width and the like are read as one; what differs in more is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import InputError
from analyzer.rollouts import dataset, problems, types
from analyzer.rollouts.sizes import Sizes
from analyzer.rollouts.types import Difference, common_schema
from tests.commands import Outcome, rollouts

RECORD = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])


def field(name: str, kind: pa.DataType, **options: Any) -> pa.Schema:
    return pa.schema([pa.field(name, kind, **options)])


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.float16(), pa.float32(), pa.float32()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.null(), pa.string(), pa.string()),
        (pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.large_list(pa.int64())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int64())]), pa.struct([("a", pa.int64())])),
        (
            pa.struct([("a", pa.int8())]),
            pa.struct([("b", pa.null()), ("a", pa.int8())]),
            pa.struct([("a", pa.int8()), ("b", pa.null())]),
        ),
    ],
    ids=str,
)
def test_types_of_equal_values_have_one_that_holds_both(
    one: pa.DataType, other: pa.DataType, common: pa.DataType
) -> None:
    found = common_schema([field("x", one), field("x", other, nullable=False)])
    swapped = common_schema([field("x", other, nullable=False), field("x", one)])
    assert not isinstance(found, Difference)
    assert not isinstance(swapped, Difference)
    assert found.field("x").type == common
    kind = swapped.field("x").type
    assert swapped.field("x").nullable
    assert kind == common or {part.name for part in kind} == {part.name for part in common}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.uint64()),
        (pa.int64(), pa.float64()),  # 5 and 5.0 are not one ground truth
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int8()),
        (RECORD, pa.string()),
        (pa.list_(pa.string()), pa.string()),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
    ],
    ids=str,
)
def test_types_of_other_values_have_none(one: pa.DataType, other: pa.DataType) -> None:
    assert common_schema([field("x", one), field("x", other)]) == Difference(1, f"'x' is {other} instead of {one}")


def test_columns_that_read_differently_have_no_type_in_common() -> None:
    marked = field("x", pa.string(), metadata={"analyzer.encoding": "json"})
    assert isinstance(common_schema([marked, field("x", pa.string())]), Difference)


def shards(folder: Path) -> Path:
    """Rollouts in four files, as workers of one framework write them, each by the types of its own rows."""
    folder.mkdir()
    kinds = [
        {"data_idx": pa.int32(), "sample_idx": pa.int16(), "note": pa.null(), "reward": pa.float32()},
        {"response": pa.large_string(), "prompt": pa.dictionary(pa.int32(), pa.string())},
        {"sample_idx": pa.uint8(), "original_reward_model": pa.struct([*reversed(list(RECORD))])},
        {"original_data_source": pa.dictionary(pa.int8(), pa.string()), "extra": pa.struct([("b", pa.int8())])},
    ]
    for at, other in enumerate(kinds):
        rows = [
            row | {"note": None if at == 0 else "x", "reward": 0.5, "extra": {"b" if at == 3 else "a": 1}}
            for row in rollouts(8)
            if row["data_idx"] % 4 == at
        ]
        table = pa.Table.from_pylist(rows)
        for name, kind in other.items():
            column = pa.array(table[name].to_pylist(), kind)
            table = table.set_column(table.schema.get_field_index(name), pa.field(name, kind), column)
        names = table.column_names
        pq.write_table(table.select(names[at:] + names[:at]), folder / f"{at}.parquet", store_schema=True)
    return folder


def test_shards_that_differ_in_width_order_and_nulls_are_one_input(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    outcome = analyze(shards(tmp_path / "in"), rescore=True)
    assert outcome.code == 0, outcome.err
    # The same rows in one file: every value is what it was.
    rows = [row for path in sorted((tmp_path / "in").iterdir()) for row in pq.read_table(path).to_pylist()]
    whole = pa.Table.from_pylist(rows).select(pq.read_schema(tmp_path / "in" / "0.parquet").names)
    alike = analyze(write(tmp_path / "one.parquet", whole), rescore=True, output_dir=tmp_path / "one")
    assert alike.code == 0, alike.err
    for name in ("problem_metrics.json", "problem_buckets.json"):
        assert (outcome.folder / name).read_bytes() == (alike.folder / name).read_bytes()
    assert outcome.table().to_pylist() == alike.table().to_pylist()


def test_scattered_rows_of_shards_that_differ_are_gathered_as_those_of_one_file(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    (tmp_path / "in").mkdir()
    rows = sorted(rollouts(20), key=lambda row: row["sample_idx"])
    for at, kind in enumerate((pa.int32(), pa.int64(), pa.int8(), pa.uint16())):
        table = pa.Table.from_pylist(rows[20 * at : 20 * (at + 1)])
        ids = pa.array(table["data_idx"].to_pylist(), kind)
        table = table.set_column(table.schema.get_field_index("data_idx"), "data_idx", ids)
        write(tmp_path / "in" / f"{at}.parquet", table.select(table.column_names[at:] + table.column_names[:at]))
    small = Sizes(shard=1 << 10, spill_above=1.0)
    parts = analyze(tmp_path / "in", small)
    assert parts.code == 0, parts.err
    assert list(tmp_path.glob("cache/runs/*/spill/part-*.parquet"))
    whole = analyze(write(tmp_path / "one.parquet", pa.Table.from_pylist(rows)), small, output_dir=tmp_path / "one")
    for name in ("problem_metrics.json", "problem_buckets.json", "summary.json"):
        assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_views_are_read_as_the_values_that_they_hold() -> None:
    texts, numbers = pa.list_view(pa.string_view()), pa.large_list_view(pa.int64())
    columns = {
        "texts": pa.array([["a"], None, [], ["b", None]], texts),
        "members": pa.array([{"n": [1, 2]}, None, {"n": None}, {"n": [3]}], pa.struct({"n": numbers})),
        "items": pa.array([[[1]], [], None, [[2], [3, 4]]], pa.list_(pa.list_view(pa.int64()))),
        "views": pa.array(["a", None, "", "long enough for a buffer"], pa.string_view()),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    for part in (batch, batch.slice(1, 2), batch.slice(3)):
        usual = types.usual_batch(part)
        usual.validate(full=True)
        assert usual.to_pylist() == part.to_pylist()
        assert usual.schema == types.usual_schema(batch.schema)


def write(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


def test_what_makes_a_problem_does_not_depend_on_the_width_of_its_columns(tmp_path: Path) -> None:
    narrow = pa.table({"prompt": ["a", "b"], "truth": pa.array([1, 2], pa.int8())})
    wide = narrow.cast(pa.schema([("prompt", pa.large_string()), ("truth", pa.int64())]))
    one, other = (problems.identities(table, ["prompt", "truth"], "truth").tolist() for table in (narrow, wide))
    assert one == other


def test_a_file_with_another_column_is_refused_by_name(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", pa.table({"x": [1], "y": [1]}))
    b = write(tmp_path / "b.parquet", pa.table({"x": [1]}))
    for paths, why in (((a, b), "'y' is missing"), ((b, a), "'y' is not in the first")):
        with pytest.raises(InputError, match=f"{why}; all files must have the same columns"):
            dataset.describe_all([str(path) for path in paths])
