"""A folder of an analysis or of cached scores with a damaged file: one line that names it, or it does not count."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.commands.all import find
from analyzer.commands.cache import COMMAND as CACHE
from analyzer.files import outputs
from tests.commands import analyzed, parquet, rollouts

REWARDED = [{**row, "reward": float(row["sample_idx"] < row["data_idx"])} for row in rollouts()]


def of_another_version(data: bytes) -> bytes:
    try:
        return json.dumps(dict.fromkeys(json.loads(data), 5)).encode()
    except ValueError:
        return data[::-1]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a list": lambda data: b"[1]",
    "null": lambda data: b"null",
    "no keys": lambda data: b"{}",
    "of another version": of_another_version,
    "bytes": lambda data: b"\xff" * 300,
}
READERS = {
    "select_problems": ["--analysis", "one", "--where", "pass_rate < 1", "--output", "s.parquet", "--overwrite"],
    "view_analysis": ["--analysis", "one", "--show", "all", "-n2"],
    "compare_analyses": ["--analyses", "one", "other", "--output_dir", "c", "--overwrite"],
}
READ = {  # file -> damage, and the commands that cannot do without it
    outputs.SUMMARY: ("cut|null|of another version|a folder", "select_problems view_analysis compare_analyses"),
    outputs.PROBLEMS: ("empty|a folder", "select_problems compare_analyses"),
    outputs.TABLE: ("cut|a folder", "view_analysis compare_analyses"),
    outputs.PROVENANCE: ("a list|of another version", ""),
    outputs.MANIFEST: ("bytes|null|of another version", ""),
}


def spoil(path: Path, damage: str) -> None:
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(DAMAGE[damage](path.read_bytes()))


@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_of_an_analysis_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = analyzed(tmp_path, REWARDED, no_report=True)
    shutil.copytree(whole, tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    kinds, needing = READ[name]
    for damage in kinds.split("|"):
        shutil.copytree(whole, tmp_path / "one")
        spoil(tmp_path / "one" / name, damage)
        for command in needing.split() or READERS:
            words = READERS[command]
            capsys.readouterr()
            code = find(command).main(words)
            said = capsys.readouterr().err.splitlines()
            assert code == 2 if needing else code in (0, 2), (damage, command, said)
            assert "Traceback" not in "".join(said)
            if code == 2:
                assert len(said) == 1, (damage, command, said)
                assert f"one/{name}" in said[0], (damage, command, said)
        shutil.rmtree(tmp_path / "one")


def test_a_damaged_record_of_cached_scores_stops_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--rollouts", "r.parquet", "--cache_dir", "cache", "--backend", "sequential", "--no_report"]
    parquet(tmp_path / "r.parquet", REWARDED)
    monkeypatch.chdir(tmp_path)
    analyze = find("analyze_rollouts").main
    assert analyze([*given, "--output_dir", "first"]) == 0
    shutil.copytree("cache", "whole")
    first = (tmp_path / "first" / outputs.SUMMARY).read_bytes()
    (run,) = (tmp_path / "whole" / "runs").iterdir()
    for record in ("run.json", *(path.name for path in run.glob("plan-*.json"))):
        for damage in ("empty", "of another version", "a folder"):
            spoil(tmp_path / "cache" / "runs" / run.name / record, damage)
            for command, words in (
                (analyze, [*given, "--output_dir", "again"]),
                (analyze, [*given, "--output_dir", "again", "--explain_cache", "--limit", "2"]),
                (
                    find("filter_difficulty").main,
                    [*given, "--output_dir", "filtered", "--model_path", "m", "--dry_run"],
                ),
                (CACHE.main, ["--cache_dir", "cache"]),
            ):
                capsys.readouterr()
                code = command(words)
                said = capsys.readouterr().err
                assert "Traceback" not in said, (record, damage, words)
                assert code == 0 or (code == 2 and said.count("error:") == 1), (record, damage, words, said)
            if os.path.exists("again"):
                assert json.loads((tmp_path / "again" / outputs.SUMMARY).read_bytes()) == json.loads(first)
                shutil.rmtree("again")
            shutil.rmtree("cache")
            shutil.copytree("whole", "cache")
