"""jsonl: what JSON has no number for is null, and counted by column at any depth."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from analyzer.commands.select_problems import select_problems
from analyzer.files.json_lines import JsonLines, lost_note
from analyzer.generation import writer
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import open_data
from tests.commands import analyzed, parquet, rollouts


def test_numbers_that_json_has_not_are_counted_at_any_depth(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    columns = {
        "plain": pa.array([nan, 1.0, -inf, None]),
        "half": pa.array([1.0, nan, None, 2.0], pa.float16()),
        "struct": pa.array([{"a": {"b": nan}}, {"a": None}, None, {"a": {"b": 1.0}}]),
        "lists": pa.array([[[nan, 1.0], None], [], None, [[inf]]]),
        "fixed": pa.array([[nan, 1.0], None, [1.0, 2.0], [1.0, inf]], pa.list_(pa.float32(), 2)),
        "map": pa.array([[("k", nan)], [], None, [("k", 1.0)]], pa.map_(pa.string(), pa.float64())),
        "dictionary": pa.array([nan, nan, 1.0, None]).dictionary_encode(),
        "fine": pa.array([0.5, None, 1e308, -0.0]),
        "text": pa.array(["nan", "inf", "float", None]),
    }
    table = pa.table(columns)
    lines = JsonLines(str(tmp_path / "x.jsonl"))
    for start in range(4):
        lines.write(table.slice(start, 1))
    lines.close()
    expected = {"plain": 2, "half": 1, "struct": 1, "lists": 2, "fixed": 2, "map": 1, "dictionary": 2}
    assert dict(+lines.lost) == expected
    lines_of = tmp_path / "x.jsonl"
    rows = [json.loads(line, parse_constant=lambda name: name) for line in lines_of.read_text().splitlines()]
    assert rows[0]["plain"] is rows[0]["struct"]["a"]["b"] is rows[3]["lists"][0][0] is None
    assert rows[2]["fine"] == 1e308
    note = lost_note(lines.lost, "keep them")
    assert "'plain' (2), 'half' (1)" in note
    assert "fine" not in note
    assert not lost_note(type(lines.lost)(fine=0), "")


def test_a_user_learns_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "reward": 1.0, "original_score": float("nan") if row["data_idx"] else 1.0} for row in rollouts()]
    folder = analyzed(tmp_path, rows)
    capsys.readouterr()
    for ending, said in (
        ("jsonl", "in 'score' (2) were written as null, since JSON cannot hold them; end --output in .parquet"),
        ("parquet", ""),
    ):
        output = tmp_path / ending / f"train.{ending}"
        assert select_problems(["--analysis", str(folder), "--output", str(output)]) == 0
        assert said in (err := capsys.readouterr().err)
        assert bool(err) is bool(said)
        manifest = yaml.safe_load((output.parent / "train.manifest.yaml").read_text())
        assert manifest.get("written_as_null") == ({"score": 2} if said else None)

    given = parquet(tmp_path / "train2.parquet", [{"prompt": "p", "score": float("inf")}])
    data = open_data(str(given), "prompt", None, str(tmp_path / "cache"))
    answers = [Answer(0, 0, ["a", "b"], ["stop"] * 2, [1, 1], 1)]
    writer.write_rollouts(tmp_path / "o.jsonl", "jsonl", data, iter(answers), writer.Sampling(1, 1, 1, "m"))
    assert "since JSON cannot hold them; --output_format parquet keeps them" in capsys.readouterr().err
