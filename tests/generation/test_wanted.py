"""Top-ups: just the rollouts that a list asks for, numbered on from what is there, with new seeds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.commands.analyze_rollouts import analyze_rollouts
from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.errors import InputError, OutputError
from analyzer.generation import run
from analyzer.generation.wanted import top_up
from tests import processes
from tests.generation.conftest import Settings
from tests.generation.stub import running
from tests.processes import PIPE, Process

Training = Callable[[int], Path]
ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, data_idx: Sequence[Any], samples: Sequence[Any], first: Sequence[Any]) -> str:
    pq.write_table(pa.table({"data_idx": data_idx, "samples": samples, "first_sample_idx": first}), path)
    return str(path)


def keys(*paths: Path) -> list[tuple[int, int]]:
    tables = [pq.read_table(path, columns=["data_idx", "sample_idx"]) for path in paths]
    return [(row["data_idx"], row["sample_idx"]) for table in tables for row in table.to_pylist()]


def test_a_top_up_samples_what_is_listed_and_numbers_on(training: Training, settings: Settings, tmp_path: Path) -> None:
    listed = write(tmp_path / "topup.parquet", [7, 2, 4], [3, 1, 0], [4, 4, 4])
    with running() as server:
        first = run(settings(training(9), server.url, seed=1))
        seeds = {body["seed"] for body in server.stub.bodies}
        asked_before = len(server.stub.bodies)
        more = settings(
            training(9), server.url, seed=1, top_up=listed, output_path=str(tmp_path / "rollouts_2.parquet")
        )
        done = run(more)
        bodies = server.stub.bodies[asked_before:]
    assert (done.prompts, done.rollouts, done.asked) == (2, 4, 4)
    assert keys(done.path) == [(2, 4), (7, 4), (7, 5), (7, 6)]
    assert sorted((body["messages"][0]["content"], body["n"]) for body in bodies) == [
        ("What is 2+1?", 1),
        ("What is 7+1?", 3),
    ]
    assert not seeds & {body["seed"] for body in bodies}
    assert len(set(keys(first.path, done.path))) == 36 + 4
    assert run(more).complete  # without a server


def test_both_files_are_analyzed_by_one_command(
    training: Training, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = str(ROOT / "examples" / "sample" / "tokenizer")
    listed = write(tmp_path / "topup.parquet", [0, 5], [2, 6], [4, 4])
    with running() as server:
        run(settings(training(9), server.url))
        command = ["--data_path", str(training(9)), "--use_vllm", "--vllm_url", server.url, "--num_samples", "4"]
        output = str(tmp_path / "rollouts_2.parquet")
        assert generate_rollouts([*command, "--top_up", listed, "--output_path", output]) == 0
    assert "Prompts: 2\nRollouts: 8 (8 new)" in capsys.readouterr().out
    given = ["--rollouts", str(tmp_path / "rollouts*.parquet"), "--model_path", tokenizer, "--backend", "sequential"]
    assert analyze_rollouts([*given, "--output_dir", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "c")]) == 0
    metrics = pq.read_table(tmp_path / "out" / "problem_metrics.parquet")
    counts = dict(zip(metrics["data_idx"].to_pylist(), metrics["num_samples"].to_pylist(), strict=True))
    assert counts == {0: 6, 5: 10} | dict.fromkeys((1, 2, 3, 4, 6, 7, 8), 4)


def test_the_loop_from_an_analysis_to_more_samples_and_back(
    training: Training, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Generate, analyze with --top_up, generate what that lists, analyze both files: nothing written by hand."""
    tokenizer = str(ROOT / "examples" / "sample" / "tokenizer")
    analysis = ["--model_path", tokenizer, "--backend", "sequential", "--no_report", "--cache_dir", str(tmp_path / "c")]
    with running() as server:
        first = run(settings(training(9), server.url))
        before = tmp_path / "before"
        given = ["--rollouts", str(first.path), "--output_dir", str(before), "--top_up", "12"]
        assert analyze_rollouts([*given, *analysis]) == 0
        listed = pq.read_table(before / "topup.parquet")
        command = ["--data_path", str(training(9)), "--use_vllm", "--vllm_url", server.url, "--num_samples", "4"]
        output = str(tmp_path / "rollouts_2.parquet")
        assert generate_rollouts([*command, "--top_up", str(before / "topup.parquet"), "--output_path", output]) == 0
    assert "would raise the share in the right bucket" in capsys.readouterr().err
    wanted = {row["data_idx"]: row["samples"] for row in listed.to_pylist()}
    assert 0 < sum(wanted.values()) <= 12
    both = ["--rollouts", str(tmp_path / "rollouts*.parquet"), "--output_dir", str(tmp_path / "after")]
    assert analyze_rollouts([*both, *analysis]) == 0
    metrics = pq.read_table(tmp_path / "after" / "problem_metrics.parquet")
    counts = dict(zip(metrics["data_idx"].to_pylist(), metrics["num_samples"].to_pylist(), strict=True))
    assert counts == {data_idx: 4 + wanted.get(data_idx, 0) for data_idx in range(9)}


def test_a_killed_top_up_goes_on_and_asks_for_what_is_missing_only(training: Training, tmp_path: Path) -> None:
    listed = write(tmp_path / "topup.parquet", range(0, 100, 2), [4] * 50, range(50))
    output = tmp_path / "more.parquet"
    journal = tmp_path / "more.parquet.unfinished" / "journal"
    with running(delay=0.02) as server:
        command = [str(ROOT / "scripts" / "generate_rollouts.py"), "--use_vllm", "--top_up", listed]
        command += ["--vllm_url", server.url, "--data_path", str(training(100)), "--output_path", str(output)]
        command += ["--max_concurrent", "3"]
        with Process(command, stdout=PIPE, stderr=PIPE) as process:
            while not journal.exists() or journal.stat().st_size < 2000:
                time.sleep(0.01)
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
            process.communicate(timeout=10)
        kept = journal.read_bytes().count(b"\n")
        before = len(server.stub.bodies)
        processes.run(command, check=True)
        assert len(server.stub.bodies) - before == 50 - kept
    assert 0 < kept < 50
    assert keys(output) == [(2 * at, at + sample) for at in range(50) for sample in range(4)]


def test_a_top_up_does_not_replace_the_rollouts_it_adds_to(
    training: Training, settings: Settings, tmp_path: Path
) -> None:
    listed = write(tmp_path / "topup.parquet", [0], [2], [4])
    other = write(tmp_path / "other.parquet", [0], [3], [4])
    with running() as server:
        run(settings(training(3), server.url))
        with pytest.raises(OutputError, match=r"num_samples \(4 then, None now\), a top-up now.*another --output_path"):
            run(settings(training(3), server.url, top_up=listed))
        more = str(tmp_path / "more.parquet")
        run(settings(training(3), server.url, top_up=listed, output_path=more))
        with pytest.raises(OutputError, match="another top-up list"):
            run(settings(training(3), server.url, top_up=other, output_path=more))


def test_the_order_of_the_list_makes_no_other_generation(tmp_path: Path) -> None:
    one = top_up(write(tmp_path / "a.parquet", [1, 5], [2, 3], [4, 8]), 9)
    other = top_up(write(tmp_path / "b.parquet", [5, 1], [3, 2], [8, 4]), 9)
    assert one.digest == other.digest
    assert one.samples.tolist() == [0, 2, 0, 0, 0, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"data_idx": [0], "samples": [1]}, "no column 'first_sample_idx'; the columns are: data_idx, samples"),
        ({"data_idx": ["a"], "samples": [1], "first_sample_idx": [0]}, "'data_idx' must be integers without nulls"),
        ({"data_idx": [0], "samples": [1.5], "first_sample_idx": [0]}, "'samples' must be integers"),
        ({"data_idx": [0, 1], "samples": [1, None], "first_sample_idx": [0, 0]}, "int64 with 1 nulls"),
        ({"data_idx": [0, 9], "samples": [1, 1], "first_sample_idx": [0, 0]}, "row 1: data_idx 9: the training data"),
        ({"data_idx": [0, -1], "samples": [1, 1], "first_sample_idx": [0, 0]}, "row 1: data_idx -1"),
        ({"data_idx": [0, 1], "samples": [1, -1], "first_sample_idx": [0, 0]}, "row 1: samples -1"),
        ({"data_idx": [0], "samples": [1], "first_sample_idx": [1 << 60]}, "row 0: first_sample_idx 115292150"),
        ({"data_idx": [3, 1, 3], "samples": [1, 1, 1], "first_sample_idx": [0, 0, 0]}, "data_idx 3 is listed more"),
        ({"data_idx": pa.array([], pa.int64()), "samples": pa.array([], pa.int64()),
          "first_sample_idx": pa.array([], pa.int64())}, "lists no problem"),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit_is_one_line(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    path = tmp_path / "topup.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError) as error:
        top_up(str(path), 9)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_parquet_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        top_up(str(tmp_path / "none"), 9)
    (tmp_path / "t").write_text("data_idx,samples\n")
    with pytest.raises(InputError, match="is not a parquet file"):
        top_up(str(tmp_path / "t"), 9)
