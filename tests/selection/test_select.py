"""select_problems as a whole: the manifest reproduces the file, nothing else is replaced, the command."""

from __future__ import annotations

import errno
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import analyzer
from analyzer.commands.select_problems import select_problems
from analyzer.errors import OutputError, StorageError
from analyzer.files import destinations
from tests import processes
from tests.selection.conftest import ROOT, settings

SCRIPT = ROOT / "scripts" / "select_problems.py"


@pytest.mark.parametrize(
    "flags",
    [
        {"where": "0.2 <= pass_rate <= 0.8 and bucket != 'easy'"},
        {"recipe": "openresearcher", "nearest": 0.5, "take": 20, "per": "data_source", "sort": "-pass_rate"},
        {"recipe": "prime_rl_pools", "sort": "random", "seed": 7},
        {"recipe": "dapo", "format": "dpo", "pick": "random", "per_problem": 2},
    ],
)
def test_the_manifest_reproduces_the_file(sample_analysis: Path, tmp_path: Path, flags: dict[str, Any]) -> None:
    output = tmp_path / "train.parquet"
    made = analyzer.select(analysis=sample_analysis, output=output, **flags)
    written = output.read_bytes()
    manifest = yaml.safe_load((tmp_path / "train.manifest.yaml").read_text())
    assert manifest["sha256"] == hashlib.sha256(written).hexdigest()
    assert manifest["rows"] == made.rows == len(pd.read_parquet(output))
    assert manifest["kept"] + sum(manifest["dropped"].values()) == 200
    by_source = manifest["by_data_source"].values()
    assert sum(counts["problems"] for counts in by_source) == 200
    assert sum(counts["kept"] for counts in by_source) == made.kept
    output.unlink()
    again = analyzer.select(**manifest["settings"])
    assert output.read_bytes() == written
    assert again.manifest == made.manifest


def test_parquet_and_jsonl_hold_the_same(sample_analysis: Path, tmp_path: Path) -> None:
    one, two = (
        analyzer.select(analysis=sample_analysis, output=tmp_path / f"o.{ending}", recipe="prime", overwrite=True)
        for ending in ("parquet", "jsonl")
    )
    assert one.problems.to_dict("records") == two.problems.to_dict("records")


def test_nothing_else_is_replaced(sample_analysis: Path, tmp_path: Path) -> None:
    output = tmp_path / "train.parquet"
    output.write_bytes(b"my training data")
    flags: dict[str, Any] = {"analysis": sample_analysis, "output": output, "recipe": "prime"}
    with pytest.raises(OutputError, match="has other settings; give another name, or --overwrite"):
        analyzer.select(**flags)
    assert output.read_bytes() == b"my training data"
    analyzer.select(**flags, overwrite=True)
    before = output.read_bytes()
    analyzer.select(**flags)  # of the same settings: it may be written again
    with pytest.raises(OutputError, match="has other settings"):
        analyzer.select(**flags | {"recipe": "dapo"})
    assert output.read_bytes() == before
    with pytest.raises(OutputError, match="is a file of the analysis"):
        analyzer.select(**flags | {"output": sample_analysis / "problems.parquet"}, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.manifest.yaml", "train.parquet"]


@pytest.mark.parametrize("failing", range(2, 7))
def test_the_same_command_goes_on_wherever_writing_failed(
    sample_analysis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    flags: dict[str, Any] = {
        "analysis": sample_analysis,
        "output": tmp_path / "train.parquet",
        "control": tmp_path / "control.parquet",
        "recipe": "prime",
    }
    calls = itertools.count(1)

    def until_the_disk_is_full(call: Callable[..., None]) -> Callable[..., None]:
        def limited(*arguments: Any) -> None:
            if next(calls) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            call(*arguments)

        return limited

    with monkeypatch.context() as patch:
        for name in ("write", "move_in"):  # three of the output, three of its control
            patch.setattr(destinations._Local, name, until_the_disk_is_full(getattr(destinations._Local, name)))
        with pytest.raises(StorageError, match="free some space and run the same command again"):
            analyzer.select(**flags)
    analyzer.select(**flags)
    assert not any("unfinished" in yaml.safe_load(manifest.read_text()) for manifest in tmp_path.glob("*.yaml"))


def test_a_selection_that_fails_leaves_nothing(sample_analysis: Path, tmp_path: Path) -> None:
    code = select_problems(
        ["--analysis", str(sample_analysis), "--output", str(tmp_path / "o.parquet"), "--where", "pass_rate > 1"]
    )
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_the_script_prints_the_report(sample_analysis: Path, tmp_path: Path) -> None:
    words = ["--analysis", str(sample_analysis), "--output", str(tmp_path / "o.jsonl"), "--recipe", "skywork"]
    words += ["--sort", "-pass_rate", "--control", str(tmp_path / "c.jsonl")]
    done = processes.run([SCRIPT, *words], check=True)
    assert done.stdout.count("=" * 60) == 3
    for part in (
        "Rule: 1 <= passes <= num_scored - 1",
        "Skywork-OR1",
        "Problems kept: 158 of 200",
        "At n = 8 the rule keeps 1 to 7 passes of 8: the same set as",
        "If you resampled, about",
        "  of 16: 0.",
        "o.jsonl, 158 rows, format rows",
        "c.jsonl, 42 rows, format rows",
    ):
        assert part in done.stdout
    assert done.stderr == ""
    table = pd.read_json(tmp_path / "o.jsonl", lines=True, dtype=False)
    assert table["difficulty_pass_rate"].is_monotonic_decreasing


@pytest.fixture
def in_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "--analysis is required"),
        (["--analysis", "A"], "--output is required"),
        (["--analysis", "nowhere", "--output", "o.parquet"], "there is no summary.json"),
        (["--analysis", "A", "--output", "o.parquet", "--wher", "x"], "there is no flag or key 'wher'"),
        (["--analysis", "A", "--output", "o.parquet", "--where", "pas_rate > 0"], "did you mean 'pass_rate'"),
        (["--analysis", "A", "--output", "o.parquet", "--sort", "-pas_rate"], "did you mean 'pass_rate'"),
        (["--analysis", "A", "--output", "o.parquet", "--weights", "no.yaml"], "no.yaml: cannot be read"),
        (["--analysis", "A", "--output", "o.parquet", "--control", "o.parquet"], "is the same file as --output"),
        (["--analysis", "A", "--output", "o.parquet", "--pick", "longest"], "--pick"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    sample_analysis: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert select_problems([str(sample_analysis) if word == "A" else word for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert error in shown.err
    assert len(shown.err.splitlines()) == 1


def test_the_list_of_recipes_needs_no_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    assert select_problems(["--recipe", "list"]) == 0
    assert re.search(r"^open_r1 +0\.1 < pass_rate < 0\.6$", capsys.readouterr().out, re.MULTILINE)


def test_a_dry_run_says_the_same_and_writes_nothing(sample_analysis: Path, tmp_path: Path) -> None:
    flags: dict[str, Any] = {"analysis": sample_analysis, "recipe": "prime"}
    dry = analyzer.select(**flags, dry_run=True)
    assert dry.output is None
    wet = analyzer.select(**flags, output=tmp_path / "o.parquet")
    lines = wet.report.splitlines()
    assert [line for line in lines if not line.startswith("Written")] == dry.report.splitlines()


def test_tokens_are_those_of_the_kept_and_of_all_responses(sample_analysis: Path) -> None:
    table = pd.read_parquet(sample_analysis / "rollouts_with_rewards.parquet")
    tokens, rate = table.response_tokens, table.groupby("data_idx").reward.transform("mean")
    kept = tokens[rate < 0.3]
    found = analyzer.select(analysis=sample_analysis, dry_run=True, where="pass_rate < 0.3").manifest["tokens"]
    assert found["share_kept"] == pytest.approx(kept.sum() / tokens.sum(), abs=1e-4)
    means = found["mean_before"], found["mean_after"]
    assert means == pytest.approx((tokens.mean(), kept.mean()), abs=0.051)
    assert means[0] != means[1]


def test_an_output_behind_a_url(sample_analysis: Path) -> None:
    import fsspec

    made = analyzer.select(analysis=sample_analysis, output="memory://selected/train.parquet", recipe="prime")
    fs = fsspec.filesystem("memory")
    assert sorted(name.rpartition("/")[2] for name in fs.ls("/selected", detail=False)) == [
        "train.manifest.yaml",
        "train.parquet",
    ]
    assert len(fs.cat_file("/selected/train.parquet")) == made.manifest["bytes"]


def test_settings_are_checked_as_flags_are() -> None:
    with pytest.raises(analyzer.errors.ConfigError, match="--take 0: must be 1 or more"):
        settings(take=0)
