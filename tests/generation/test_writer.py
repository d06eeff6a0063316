"""The rollouts file: every column of the training data with its type, rows in order, parquet and jsonl alike."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import ConfigError
from analyzer.files import temporaries
from analyzer.generation import writer
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import TrainingData, open_data

SAMPLING = writer.Sampling(1, 0.9, 64, "m")
TRICKY: dict[str, pa.Array] = {
    "prompt": pa.array(["p0", "p1", "p2"], pa.dictionary(pa.int32(), pa.string())),
    "int8": pa.array([1, None, 3], pa.int8()),
    "large": pa.array(["a", "b", None], pa.large_string()),
    "when": pa.array([datetime.datetime(2024, 1, 1)] * 3, pa.timestamp("us")),
    "response": pa.array([[{"k": [1, 2]}], [], None], pa.list_(pa.struct([("k", pa.list_(pa.int16()))]))),
    "bytes": pa.array([b"\x00", b"\xff", None], pa.binary()),
}


def training(folder: Path, columns: dict[str, Any]) -> TrainingData:
    pq.write_table(pa.table(columns), folder / "train.parquet", row_group_size=2)  # read batch by batch
    return open_data(str(folder / "train.parquet"), "prompt", None, str(folder / "cache"))


def answer(data_idx: int, first: int, *texts: str) -> Answer:
    return Answer(data_idx, first, list(texts), ["stop", None][: len(texts)], [3, None][: len(texts)], 7)


def test_rows_are_joined_with_their_training_data_and_types_are_kept(tmp_path: Path) -> None:
    data = training(tmp_path, TRICKY)
    answers = [answer(0, 0, "a", "b"), answer(2, 0, "c"), answer(2, 1, "d")]
    killed = tmp_path / f".o.parquet.{0:016x}.{temporaries._node()}.1-0.tmp"
    killed.touch()
    assert writer.write_rollouts(tmp_path / "o.parquet", "parquet", data, answers, SAMPLING) == 4
    assert not killed.exists()
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["data_idx"].to_pylist() == [0, 0, 2, 2]
    assert table["sample_idx"].to_pylist() == [0, 1, 0, 1]
    assert table["response"].to_pylist() == ["a", "b", "c", "d"]
    assert table["prompt"].to_pylist() == ["p0", "p0", "p2", "p2"]
    assert table["finish_reason"].to_pylist() == ["stop", None, "stop", "stop"]
    assert table["response_tokens"].to_pylist() == [3, None, 3, 3]
    assert table.schema.field("temperature").type == pa.float64()
    for name in TRICKY:
        original = data.dataset.schema.field(name)
        assert table.schema.field(f"original_{name}").type == original.type
        expected = pq.read_table(tmp_path / "train.parquet")[name].take([0, 0, 2, 2])
        assert table[f"original_{name}"].to_pylist() == expected.to_pylist()


def test_jsonl_holds_the_same_rows(tmp_path: Path) -> None:
    data = training(tmp_path, {name: column for name, column in TRICKY.items() if name not in ("bytes", "when")})
    answers = [answer(0, 0, "a\n\u2028", "b"), answer(1, 0, "")]
    writer.write_rollouts(tmp_path / "o.jsonl", "jsonl", data, answers, SAMPLING)
    writer.write_rollouts(tmp_path / "o.parquet", "parquet", data, answers, SAMPLING)
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_bytes().split(b"\n") if line]
    assert rows == pq.read_table(tmp_path / "o.parquet").to_pylist()


def test_bytes_are_refused_for_jsonl_before_any_work(tmp_path: Path) -> None:
    data = training(tmp_path, TRICKY)
    writer.check_format(data, "parquet")
    with pytest.raises(ConfigError, match="'bytes' holds bytes; choose parquet"):
        writer.check_format(data, "jsonl")


def test_long_texts_are_written_in_several_row_groups(tmp_path: Path) -> None:
    data = training(tmp_path, {"prompt": [f"p{row}" for row in range(50)]})
    answers = (answer(row, 0, "x" * 200, "y" * 200) for row in range(50))
    writer.write_rollouts(tmp_path / "o.parquet", "parquet", data, answers, SAMPLING, group_bytes=1000)
    assert pq.read_metadata(tmp_path / "o.parquet").num_row_groups > 10
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["data_idx"].to_pylist() == sorted([*range(50), *range(50)])
    assert table["original_prompt"].to_pylist() == [f"p{row}" for row in range(50) for _ in range(2)]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "o.parquet").write_bytes(b"old")

    def broken() -> Any:
        yield answer(0, 0, "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_rollouts(tmp_path / "o.parquet", "parquet", training(tmp_path, TRICKY), broken(), SAMPLING)
    assert (tmp_path / "o.parquet").read_bytes() == b"old"
    assert not list(tmp_path.glob(".o.parquet*"))
