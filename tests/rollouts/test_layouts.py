"""Inputs of awkward shape: what is held of them is bounded by windows, not by their size. The same bytes come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.rollouts import dataset, footers, windows
from analyzer.rollouts.sizes import Sizes
from tests.commands import Outcome, parquet, rollouts

Analyze = Callable[..., Outcome]
JSON_FILES = ("problem_metrics.json", "problem_buckets.json")


@pytest.fixture(autouse=True)
def nothing_open() -> None:
    dataset.close_files()


def long_rollouts(rows: int, length: int) -> pa.Table:
    """Rollouts whose responses are random letters, which no compression makes small."""
    random = np.random.default_rng(0)
    table = pa.Table.from_pylist(rollouts(rows // 4))
    letters = [random.integers(97, 123, length, np.uint8).tobytes().decode() for _ in range(rows)]
    texts = [f"{letter} {end}" for letter, end in zip(letters, table["response"].to_pylist(), strict=True)]
    return table.set_column(table.schema.get_field_index("response"), "response", pa.array(texts))


def assert_same(one: Outcome, other: Outcome) -> None:
    assert (one.code, other.code) == (0, 0)
    for file in JSON_FILES:
        assert one.files()[file] == other.files()[file]
    assert one.table().equals(other.table())


def test_one_giant_row_group_is_never_in_memory_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = long_rollouts(400, 64 << 10)
    given = parquet(tmp_path / "r.parquet", table, row_group_size=400, use_dictionary=False, write_batch_size=8)
    monkeypatch.setattr(dataset, "STREAMED_GROUP", 1 << 20)
    file, _ = dataset.describe(str(given))
    assert len(file.blocks) == 1
    before, most = pa.total_allocated_bytes(), 0
    read: list[pa.Array] = []
    for _, batch in dataset.Reader([file], None, batch_bytes=1 << 20).all():
        most = max(most, pa.total_allocated_bytes() - before)
        read.append(batch["sample_idx"])
    assert pa.concat_arrays(read).equals(table["sample_idx"].combine_chunks())
    assert table.nbytes > 24 << 20
    assert most < 8 << 20


def test_arrow_gets_a_few_of_very_many_row_groups_at_a_time(
    tmp_path: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rollouts(40)
    usual = analyze(parquet(tmp_path / "usual.parquet", rows), output_dir=tmp_path / "out1")
    told: list[int] = []
    real = footers.metadata

    def watched(head: bytes, groups: int, described: bytes, tail: bytes) -> Any:
        told.append(groups)
        return real(head, groups, described, tail)

    monkeypatch.setattr(footers, "metadata", watched)
    monkeypatch.setattr(dataset, "BATCH_BYTES", 5_000)
    given = parquet(tmp_path / "r.parquet", rows, row_group_size=1)
    largest = max(block.groups for block in dataset.describe(str(given))[0].blocks)
    assert 5 < largest < 200
    assert_same(usual, analyze(given))
    assert max(told) == largest


def test_one_row_of_a_block_of_tiny_row_groups_decodes_no_other(tmp_path: Path) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts(100), row_group_size=2)
    reader = dataset.Reader([dataset.describe(str(given))[0]], ["data_idx"])
    assert len(reader.blocks) == 1
    data = bytearray(given.read_bytes())
    middle = pq.read_metadata(given).row_group(100).column(1).data_page_offset
    data[: middle - 200] = bytes(middle - 200)  # what is before row 200 cannot be decoded any more
    given.write_bytes(data)
    assert [(row, batch.to_pylist()) for row, batch in reader.batches([(301, 302)])] == [(301, [{"data_idx": 75}])]


def test_many_files_are_as_one_and_few_are_open_at_once(
    tmp_path: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_OPEN_FILES", 10)
    rows = rollouts(30)
    usual = analyze(parquet(tmp_path / "usual.parquet", rows), output_dir=tmp_path / "out1")
    for number in range(40):
        parquet(tmp_path / "in" / f"{number:03d}.parquet", rows[number * 3 : number * 3 + 3])
    assert_same(usual, analyze(tmp_path / "in"))
    assert 0 < len(dataset._open_files.files) <= 10


def test_a_response_of_10_megabytes_is_scored_and_written_whole(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts()
    rows[5]["response"] = "word " * 2_000_000 + "\n#### 2"
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    written = outcome.table().to_pylist()[5]
    assert (outcome.code, written["reward"], written["reward_status"]) == (0, 1.0, "ok")
    assert written["response"] == rows[5]["response"]
    assert written["response_tokens"] > 2_000_000


def test_a_problem_of_very_many_samples_is_scored_in_windows(tmp_path: Path, analyze: Analyze) -> None:
    rows = [*rollouts(1), *({**row, "data_idx": 7} for row in rollouts(1, 600)), *rollouts(9)[32:]]
    given = parquet(tmp_path / "r.parquet", rows, row_group_size=150)
    usual = analyze(given, output_dir=tmp_path / "out1", cache_dir=tmp_path / "cache1")
    small = Sizes(batch=1, window=4_000, largest_window=8_000)
    assert_same(usual, analyze(given, small))
    reader = dataset.Reader([dataset.describe(str(given))[0]], None, batch_bytes=small.batch)
    cut = [window.table.nbytes for window in windows.windows(reader, [(0, len(rows))], True, small)]
    assert max(cut) < 16_000
    assert sum(cut) > 3 * 16_000
    assert usual.json("problem_metrics.json")["7"]["num_samples"] == 600


def test_scattered_rows_are_brought_together_with_bounded_buffers(tmp_path: Path, analyze: Analyze) -> None:
    rows = sorted(rollouts(200), key=lambda row: row["sample_idx"])
    given = parquet(tmp_path / "r.parquet", rows, row_group_size=100)
    usual = analyze(given, output_dir=tmp_path / "out1", cache_dir=tmp_path / "cache1")
    assert_same(usual, analyze(given, Sizes(batch=1_000, spill_above=0.0, spill_buffer=10_000)))
    # A flush is a row group: what was held until then was less than the buffer and one batch more.
    (gathered,) = (pq.ParquetFile(path).metadata for path in tmp_path.glob("cache/runs/*/spill/*.parquet"))
    sizes = [gathered.row_group(group).total_byte_size for group in range(gathered.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 20_000


@pytest.mark.parametrize("shard_bytes", [1, 4_000, 1 << 30])
def test_what_is_decoded_grows_with_row_groups_and_shards_and_not_with_their_product(
    shard_bytes: int, tmp_path: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts(30), row_group_size=4)
    monkeypatch.setattr(dataset, "BATCH_BYTES", 2_000)
    blocks = len(dataset.describe(str(given))[0].blocks)
    opened: list[int] = []
    real = dataset._OpenFile.open

    def watched(file: Any, block: dataset.Block, *encoded: Any) -> Any:
        opened.append(block.group)
        return real(file, block, *encoded)

    monkeypatch.setattr(dataset._OpenFile, "open", watched)
    outcome = analyze(given, Sizes(shard=shard_bytes, spill_above=1e9))
    shards = len(list(tmp_path.glob("cache/runs/*/shards/*.parquet")))
    assert (outcome.code, shards) == (0, {1: 30, 4_000: shards, 1 << 30: 1}[shard_bytes])
    assert blocks > 5
    passes = (
        8  # data_idx, data_source, the look at a few problems, the sample of texts, scoring, the audit (two), writing
    )
    assert len(opened) <= passes * blocks + shards
