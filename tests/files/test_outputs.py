"""The output folder: outputs of one run are not replaced by those of another unasked, whatever the folder is called."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import OutputError
from analyzer.files import storage
from analyzer.files.outputs import METRICS, SUMMARY, OutputFolder
from analyzer.generation import wanted


def written(folder: OutputFolder, text: str, overwrite: bool = False) -> None:
    with folder.staged(overwrite) as staging:
        (staging / METRICS).write_text(text)
        (staging / SUMMARY).write_text(text)


def test_outputs_that_another_run_wrote_meanwhile_are_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    first, second = (OutputFolder(str(tmp_path), {"bucketing_strategy": name}) for name in ("percentile", "pass_rate"))
    first.check(False, [], "r.parquet", [])
    second.check(False, [], "r.parquet", [])
    written(second, "second")
    with pytest.raises(OutputError, match="strategy pass_rate, not percentile, written during this run; give"):
        written(first, "first")
    assert {path.read_text() for path in (tmp_path / METRICS, tmp_path / SUMMARY)} == {"second"}
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nothing staged is left
    written(second, "the same again")
    written(first, "first", overwrite=True)
    assert (tmp_path / SUMMARY).read_text() == "first"


def test_arrow_writes_and_reads_below_a_relative_path_that_looks_like_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run:1").mkdir()
    table = pa.table({"data_idx": [1], "samples": [2], "first_sample_idx": [3]})
    with OutputFolder("run:1/out", {}).staged(overwrite=False) as staging:
        pq.write_table(table, staging / "problem_metrics.parquet")
        (staging / ".nfs0001").touch()  # of a temporary file that was removed while it was open
    assert sorted(os.listdir("run:1/out")) == [".rollout-analyzer.json", "problem_metrics.parquet"]
    with storage.atomic_path("run:1/topup.parquet") as temporary:
        pq.write_table(table, temporary)
    assert wanted.top_up("run:1/topup.parquet", 2).samples.tolist() == [0, 2]
    assert pq.read_table(tmp_path / "run:1" / "out" / "problem_metrics.parquet") == table
