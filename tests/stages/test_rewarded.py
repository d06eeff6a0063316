"""rewarded: what the writer has read, the report reads from memory, and finds there what it would find in the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.report import write_report
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset
from analyzer.rollouts.finish import was_cut_off
from analyzer.stages import rewarded
from analyzer.stages.rewarded import Rewarded, RowValues
from tests.commands import Outcome, parquet, rollouts

COLUMNS = ["response", "data_idx", "reward", "prompt"]


def rollouts_of(path: Path, kept: list[tuple[int, int]]) -> Rewarded:
    """The rollouts of a file with made-up rewards, as the analysis of these rows has them."""
    file, schema = dataset.describe(str(path))
    size = sum(stop - start for start, stop in kept)
    counts, none = np.zeros(size, np.int32), pa.array([], pa.large_string())
    values = RowValues(np.arange(size, dtype=float), np.zeros(size, np.int8), counts, counts - 1, none, None, none)
    return Rewarded(Dataset((file,), schema), kept, values)


def rows(of: Rewarded, ranges: list[tuple[int, int]] | None) -> list[object]:
    batches = list(of.read(COLUMNS, ranges))
    numbers = [first + at for first, batch in batches for at in range(batch.num_rows)]
    return list(zip(numbers, [row for _, batch in batches for row in batch.to_pylist()], strict=True))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rewarded, Rewarded]:
    """Some rows of a file of several row groups, read from the disk and from memory."""
    path = parquet(tmp_path_factory.mktemp("rewarded") / "in.parquet", rollouts(20, 5), row_group_size=7)
    on_disk, in_memory = (rollouts_of(path, [(3, 40), (55, 98)]) for _ in range(2))
    assert sum(table.num_rows for _, _, table in in_memory.all()) == in_memory.rows == 80
    return on_disk, in_memory


@given(edges=st.sets(st.integers(0, 80), max_size=8).map(sorted))
def test_rows_in_memory_are_those_of_the_files(both: tuple[Rewarded, Rewarded], edges: list[int]) -> None:
    on_disk, in_memory = both
    assert in_memory.held
    assert not on_disk.held
    ranges = list(zip(edges[::2], edges[1::2], strict=False))
    assert rows(in_memory, ranges) == rows(on_disk, ranges)
    assert rows(in_memory, None) == rows(on_disk, None)


FINISHED = pa.array(["stop", None, "length", "stop", "stop"])


@pytest.mark.parametrize("compression", ["snappy", "none"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize(
    "finish",
    [
        FINISHED,
        FINISHED.cast(pa.large_string()),
        FINISHED.dictionary_encode(),
        pa.array([{"type": "stop"}, None, {"type": "length"}, {"type": None}, {"type": "stop"}]),
        pa.array([["stop"], None, [], ["length"], ["stop"]]),
        pa.array([1, None, 2, 1, 1]),
        pa.nulls(5),
    ],
    ids=lambda column: str(column.type),
)
def test_labels_of_all_rows_are_those_of_the_file_in_whatever_form(
    tmp_path: Path, finish: pa.Array, dictionary: bool, compression: str
) -> None:
    names = pa.array(["a", "b", "a", None, "a"])
    table = pa.table({"original_data_source": names, "finish_reason": finish, "data_idx": range(5)})
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, use_dictionary=dictionary, compression=compression, row_group_size=2)
    columns = ["original_data_source", "reward", "finish_reason", "data_idx"]
    read = [batch for _, batch in rollouts_of(path, [(0, 2), (3, 5)]).read(columns)]
    found = [row for batch in read for row in batch.to_pylist()]
    expected = table.append_column("reward", pa.array([0.0, 1.0, np.nan, 2.0, 3.0])).select(columns).to_pylist()
    assert found == expected[:2] + expected[3:]
    assert all(pa.types.is_dictionary(batch.schema.types[0]) for batch in read)
    cut = [flag for batch in read for flag in was_cut_off(batch.column(2)).tolist()]
    assert cut == [flag for at, flag in enumerate(was_cut_off(finish).tolist()) if at != 2]


def test_a_file_whose_rows_are_in_memory_is_not_read_again(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", rollouts())
    found = rollouts_of(path, [(0, 12)])
    expected = [(slice_.start, table.select(COLUMNS)) for slice_, _, table in found.all()]
    dataset.close_files()
    path.unlink()
    assert [(first, pa.Table.from_batches([batch])) for first, batch in found.read(COLUMNS)] == expected


def test_an_input_that_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "in.parquet", rollouts(20, 5), row_group_size=50)
    found = rollouts_of(path, [(0, 100)])
    monkeypatch.setattr(rewarded, "HELD_BYTES", 4000)
    for _ in found.all():
        pass
    assert not found.held
    assert len(rows(found, None)) == 100


def test_the_report_is_the_one_that_is_made_of_the_files_later(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    ordered = rollouts(30, 12)
    mixed = [ordered[at] for at in np.random.default_rng(0).permutation(360)[:72]] + ordered
    texts = [{**row, "sample_idx": number} for number, row in enumerate(mixed)]  # runs of any length
    folder = analyze(parquet(tmp_path / "in.parquet", texts, row_group_size=100), limit=25, no_report=False).folder
    page = (folder / "report.html").read_bytes()
    assert write_report(folder, target=tmp_path / "later.html").read_bytes() == page
