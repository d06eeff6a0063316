"""Two runs that write to one folder: the outputs of one are not replaced by those of another unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.errors import OutputError
from analyzer.files.outputs import METRICS, SUMMARY, OutputFolder


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
