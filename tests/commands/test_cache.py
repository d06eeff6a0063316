"""analyze-rollouts cache: what it lists, and that it removes what it is told to and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.commands.analyze_rollouts import analyze_rollouts
from tests.commands import Outcome, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]


@pytest.fixture
def cache(analyze: Analyze, tmp_path: Path) -> Path:
    """A cache of two runs and one converted input."""
    analyze(jsonl(tmp_path / "rollouts.jsonl", rollouts()))
    analyze(parquet(tmp_path / "rollouts.parquet", rollouts()), output_dir=tmp_path / "other")
    return tmp_path / "cache"


def listed(cache: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    assert analyze_rollouts(["cache", "--cache_dir", str(cache), *flags]) == 0
    return capsys.readouterr().out.splitlines()


def age(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))


def test_it_lists_runs_and_converted_inputs(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(cache, capsys)
    assert lines[0].startswith(f"{cache}: 2 runs, 1 converted input, ")
    assert sum("1 shard," in line for line in lines[1:]) == 2
    assert sum("jsonl input as parquet" in line for line in lines[1:]) == 1


def test_it_says_of_each_run_which_input_and_reward_it_is_of(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "\n".join(listed(cache, capsys))
    assert f"1 shard, {tmp_path}/rollouts.jsonl, reward gsm8k" in said
    assert f"1 shard, {tmp_path}/rollouts.parquet, reward gsm8k" in said


def test_it_lists_the_verdicts_of_a_reward_and_removes_them(
    analyze: Analyze, tmp_path: Path, capsys: pytest.CaptureFixture[str], warm_zygotes: None
) -> None:
    row = rollouts(1, 1)[0] | {"response": r"$\sqrt{12}$", "original_reward_model": {"ground_truth": r"2\sqrt{3}"}}
    analyze(parquet(tmp_path / "rollouts.parquet", [row]), reward_fn="math_verify")
    lines = listed(tmp_path / "cache", capsys)
    assert ", 1 verdict log, " in lines[0]
    assert sum("verdicts of math_verify, for all runs" in line for line in lines) == 1
    (folder,) = (tmp_path / "cache" / "verdicts").iterdir()
    age(folder, 31)
    assert listed(tmp_path / "cache", capsys, "--prune")[-1] == "1 removed, 1 kept"
    assert not folder.exists()


def test_prune_removes_what_was_not_used_for_long(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, young = sorted((cache / "runs").iterdir())
    age(old, 31)
    assert listed(cache, capsys, "--prune")[-1] == "1 removed, 2 kept"
    assert (old.exists(), young.exists()) == (False, True)


def test_a_run_that_is_used_again_is_not_old(
    analyze: Analyze, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in [*(cache / "runs").iterdir(), *(cache / "inputs").iterdir()]:
        age(folder, 31)
    analyze(tmp_path / "rollouts.jsonl", bucketing_strategy="pass_rate", overwrite=True)
    assert listed(cache, capsys, "--prune")[-1] == "1 removed, 2 kept"
    assert "nothing is scored again" in analyze(tmp_path / "rollouts.jsonl", overwrite=True).err


def test_prune_removes_one_by_its_name(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = sorted((cache / "runs").iterdir())
    assert listed(cache, capsys, "--prune", "--run", one.name[:8])[-1] == "1 removed, 2 kept"
    assert (one.exists(), other.exists()) == (False, True)


def test_an_empty_cache_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 runs" in listed(tmp_path / "nowhere", capsys)[0]
