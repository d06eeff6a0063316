"""Outputs are a pure function of input and settings: workers, shards, row order and layout change no byte of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.rollouts import dataset, windows
from analyzer.rollouts.sizes import Sizes
from tests.commands import SAMPLE, TOKENIZER, Outcome, Row, parquet, rollouts

Analyze = Callable[..., Outcome]
JSON_FILES = ("problem_metrics.json", "problem_buckets.json")
SPILLED = Sizes(spill_above=0.0)


@pytest.fixture(scope="module")
def sample() -> list[Row]:
    """The first 12 problems of the sample, 8 rollouts each."""
    return list(pq.read_table(SAMPLE).slice(0, 96).to_pylist())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, sample: list[Row]) -> Path:
    """A file of those rows, sorted by problem."""
    return parquet(tmp_path_factory.mktemp("given") / "r.parquet", sample, row_group_size=20)


@pytest.fixture(scope="module")
def usual(given: Path) -> Outcome:
    """What it gives with one worker and the usual sizes; its cache is in the folder `cache` beside the file."""
    folder = given.parent / "out"
    cache = given.parent / "cache"
    analyzer.analyze(rollouts=given, output_dir=folder, model_path=TOKENIZER, cache_dir=cache, n_jobs=1, no_report=True)
    return Outcome(0, "", "", folder)


def shuffled(rows: Sequence[Row], seed: int = 3) -> list[Row]:
    return random.Random(seed).sample(list(rows), len(rows))


def spilled_in(tmp_path: Path, cache: str) -> int:
    """The files that scattered rows were gathered in."""
    return len(list((tmp_path / cache).glob("runs/*/spill/*.parquet")))


def shards_in(tmp_path: Path, cache: str) -> int:
    """The shards that were scored into a cache."""
    return len(list((tmp_path / cache).glob("runs/*/shards/*.parquet")))


# ---------------------------------------------------------------- workers and shards


def test_two_workers_write_the_bytes_of_one(given: Path, usual: Outcome, analyze: Analyze) -> None:
    two = analyze(given, n_jobs=2)
    assert two.code == 0
    assert two.files() == usual.files()
    assert "96 of 96" in two.err


@pytest.mark.parametrize("size", [1, 1 << 12, 1 << 14, 1 << 30])
def test_any_shard_size_gives_the_same_bytes(
    size: int, tmp_path: Path, given: Path, usual: Outcome, analyze: Analyze
) -> None:
    other = analyze(given, Sizes(shard=size))
    assert other.files() == usual.files()
    assert (shards_in(tmp_path, "cache") == 12) == (size == 1)
    assert (shards_in(tmp_path, "cache") == 1) == (size == 1 << 30)


def test_any_window_gives_the_same_bytes(given: Path, usual: Outcome, analyze: Analyze) -> None:
    other = analyze(given, Sizes(batch=1, window=1, largest_window=1 << 12))
    for file in JSON_FILES:
        assert other.files()[file] == usual.files()[file]
    assert other.table().equals(usual.table())


@pytest.fixture
def cache_of_usual(usual: Outcome, tmp_path: Path) -> Path:
    """The cache of the usual run, for a test alone."""
    return Path(shutil.copytree(usual.folder.parent / "cache", tmp_path / "known"))


def test_a_rerun_scores_nothing_and_writes_the_same_bytes(
    given: Path, usual: Outcome, cache_of_usual: Path, analyze: Analyze
) -> None:
    again = analyze(given, cache_dir=cache_of_usual)
    assert again.code == 0
    assert "96 rollouts are already scored; nothing is scored again" in again.err
    assert again.files() == usual.files()


def test_another_strategy_scores_nothing(given: Path, cache_of_usual: Path, analyze: Analyze) -> None:
    other = analyze(given, bucketing_strategy="pass_rate", cache_dir=cache_of_usual)
    assert other.code == 0
    assert "nothing is scored again" in other.err


def test_a_fresh_cache_elsewhere_and_a_moved_input_change_no_byte(
    tmp_path: Path, given: Path, usual: Outcome, analyze: Analyze
) -> None:
    moved = Path(shutil.copyfile(given, tmp_path / "renamed.parquet"))
    assert analyze(moved).files() == usual.files()


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path, analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts(5, 8))
    analyze(given)
    outcome = analyze(parquet(given, rollouts()), overwrite=True)
    assert outcome.code == 0
    assert outcome.json("summary.json")["total_rollouts"] == 12
    assert outcome.table()["prompt"][0].as_py() == "What is 0 + 0?"


# ---------------------------------------------------------------- row order and layout


def assert_rows_as_in(outcome: Outcome, rows: Sequence[Row], scored: Outcome) -> None:
    """The output has the input's rows in its order, each with the reward it has in another output."""

    def key(row: Row) -> tuple[Any, int]:
        return row["data_idx"], row["sample_idx"]

    added = ("reward", "reward_status", "response_tokens", "reward_answer")
    values = {key(row): {name: row[name] for name in added} for row in scored.table().to_pylist()}
    assert outcome.table().to_pylist() == [row | values[key(row)] for row in rows]


@pytest.mark.parametrize("size", [1 << 12, 1 << 30])
def test_scattered_rows_keep_their_order_and_give_the_same_metrics_and_buckets(
    size: int, tmp_path: Path, sample: list[Row], usual: Outcome, analyze: Analyze
) -> None:
    rows = shuffled(sample)
    scattered = analyze(parquet(tmp_path / "scattered.parquet", rows, row_group_size=25), Sizes(shard=size))
    assert scattered.code == 0
    for file in JSON_FILES:
        assert scattered.files()[file] == usual.files()[file]
    assert_rows_as_in(scattered, rows, usual)


def test_rows_of_a_problem_in_several_files_give_the_same(
    tmp_path: Path, sample: list[Row], usual: Outcome, analyze: Analyze
) -> None:
    by_sample = sorted(sample, key=lambda row: row["sample_idx"])
    for number in range(4):
        parquet(tmp_path / "in" / f"{number}.parquet", by_sample[number * 24 : (number + 1) * 24])
    several = analyze(tmp_path / "in")
    for file in JSON_FILES:
        assert several.files()[file] == usual.files()[file]
    assert_rows_as_in(several, by_sample, usual)


def test_repartitioned_rows_give_the_same_bytes(tmp_path: Path, sample: list[Row], analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", shuffled(sample), row_group_size=25)
    small = Sizes(shard=1 << 12)
    picked = analyze(given, small._replace(spill_above=1e9), cache_dir=tmp_path / "picked", output_dir=tmp_path / "out")
    assert spilled_in(tmp_path, "picked") == 0
    assert shards_in(tmp_path, "picked") > 7
    for files in (1, 7, 256):
        gathered = small._replace(spill_above=0.0, spill_files=files, spill_buffer=1 << 13)
        cache = f"spilled{files}"
        other = analyze(given, gathered, cache_dir=tmp_path / cache, output_dir=tmp_path / f"out{files}")
        assert other.files() == picked.files(), files
        assert shards_in(tmp_path, cache) == spilled_in(tmp_path, cache) == min(files, shards_in(tmp_path, "picked"))


def test_a_null_in_repartitioned_rows_is_named_by_its_place_in_the_input(tmp_path: Path, analyze: Analyze) -> None:
    rows = shuffled(rollouts())
    rows[7] = {**rows[7], "original_reward_model": {"style": "rule", "ground_truth": None}}
    outcome = analyze(parquet(tmp_path / "r.parquet", rows, write_statistics=False), SPILLED)
    assert outcome.code == 2
    assert "r.parquet, row 7 (counted from 0): the ground truth in original_reward_model is null" in outcome.errors[0]
    assert spilled_in(tmp_path, "cache")


def test_a_column_named_like_one_of_ours_is_carried_along(tmp_path: Path, analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", shuffled([{**row, windows.ROW: 7} for row in rollouts()]))
    plain = analyze(given, cache_dir=tmp_path / "plain")
    spilled = analyze(given, SPILLED, cache_dir=tmp_path / "spilled", output_dir=tmp_path / "out2")
    assert plain.table()[windows.ROW].to_pylist() == [7] * 12
    assert spilled.files() == plain.files()


@pytest.mark.parametrize("rows_in_a_group", [1, 96])
def test_one_giant_row_group_or_very_many_tiny_ones_give_the_same(
    rows_in_a_group: int, given: Path, usual: Outcome, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rows_in_a_group == 96:
        monkeypatch.setattr(dataset, "STREAMED_GROUP", 1 << 10)
    table = pq.read_table(given)
    other = analyze(parquet(given.parent / "other.parquet", table, row_group_size=rows_in_a_group))
    assert other.code == 0
    for file in JSON_FILES:
        assert other.files()[file] == usual.files()[file]
    assert other.table().equals(usual.table())


def test_thousands_of_row_groups_are_read_as_a_few_blocks(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rollouts(1, 1)).select(["data_idx", "response"])
    given = parquet(tmp_path / "r.parquet", pa.concat_tables([table] * 3000).combine_chunks(), row_group_size=1)
    file, _ = dataset.describe(str(given))
    assert sum(block.groups for block in file.blocks) == 3000
    reader = dataset.Reader([file], None)
    assert len(reader.blocks) < 10
    assert sum(batch.num_rows for _, batch in reader.all()) == 3000


def test_empty_files_and_row_groups_are_passed_over(tmp_path: Path, analyze: Analyze) -> None:
    table = pa.Table.from_pylist(rollouts())
    expected = analyze(parquet(tmp_path / "r.parquet", table), output_dir=tmp_path / "out1")
    for number, part in enumerate([table.slice(0, 0), table.slice(0, 7), table.slice(0, 0), table.slice(7)]):
        parquet(tmp_path / "in" / f"{number}.parquet", part)
    with pq.ParquetWriter(tmp_path / "groups.parquet", table.schema) as writer:
        for part in (table.slice(0, 0), table.slice(0, 5), table.slice(0, 0), table.slice(5), table.slice(0, 0)):
            writer.write_table(part)
    for number, given in enumerate([tmp_path / "in", tmp_path / "groups.parquet"]):
        outcome = analyze(given, output_dir=tmp_path / f"out{number + 2}")
        assert outcome.code == 0
        assert outcome.table().equals(expected.table())


def test_problems_named_by_text_ascend_by_code_point(
    tmp_path: Path, sample: list[Row], usual: Outcome, analyze: Analyze
) -> None:
    rows = [{**row, "data_idx": f"id-{row['data_idx']}-é"} for row in sample]
    named = analyze(parquet(tmp_path / "named.parquet", shuffled(rows)))
    assert named.code == 0
    metrics = named.json("problem_metrics.json")
    assert list(metrics) == sorted(metrics)
    assert {name.split("-")[1]: value for name, value in metrics.items()} == usual.json("problem_metrics.json")
    buckets = named.json("problem_buckets.json")
    assert list(buckets) == list(metrics)
    assert named.json("summary.json")["bucket_distribution"] == usual.json("summary.json")["bucket_distribution"]


def test_names_of_every_type_are_problems(tmp_path: Path, analyze: Analyze) -> None:
    table = pa.Table.from_pylist(rollouts())
    expected = analyze(parquet(tmp_path / "r.parquet", table), output_dir=tmp_path / "out1").json(
        "problem_metrics.json"
    )
    ids = table["data_idx"].combine_chunks()
    for kind, names in {
        "beyond 63 bits": pa.array([(1 << 63) + value for value in ids.to_pylist()], pa.uint64()),
        "small integers": ids.cast(pa.int8()),
        "large text": ids.cast(pa.large_string()),
        "categories": ids.cast(pa.string()).dictionary_encode(),
    }.items():
        named = table.set_column(table.schema.get_field_index("data_idx"), "data_idx", names)
        outcome = analyze(parquet(tmp_path / f"{kind}.parquet", named), output_dir=tmp_path / kind)
        assert outcome.code == 0, kind
        metrics = dict(zip(map(str, names.unique().to_pylist()), expected.values(), strict=True))
        assert outcome.json("problem_metrics.json") == metrics, kind
        assert outcome.table()["data_idx"].to_pylist() == names.to_pylist(), kind


def test_names_that_lead_out_of_the_folder_build_no_path(tmp_path: Path, analyze: Analyze) -> None:
    names = ["../../etc/x", "", "x" * 300, "a\0b", "\N{RIGHT-TO-LEFT OVERRIDE}1"]
    rows = [{**row, "data_idx": names[row["data_idx"]]} for row in rollouts(5)]
    usual = analyze(parquet(tmp_path / "usual.parquet", rollouts(5)), output_dir=tmp_path / "out1")
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), max_unscored=1)
    assert outcome.code == 0
    assert outcome.json("summary.json")["reward_status"] == {"ok": 12, "input_error": 8}
    buckets = outcome.json("problem_buckets.json")
    assert [name for name, bucket in buckets.items() if bucket == "unscored"] == ["", "a\0b"]
    assert outcome.json("problem_metrics.json")[""]["pass_rate"] is None
    assert set(outcome.files()) == {*usual.files(), "rollouts_unscored.parquet"}
