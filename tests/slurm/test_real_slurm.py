"""The SLURM examples on whatever SLURM is there: `make test-slurm`, with `sbatch` on PATH and room for one
job of 8 cores and 16 GB."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analyzer.files.outputs import SUMMARY
from tests.commands import parquet, rollouts

ROOT = Path(__file__).resolve().parents[2]
SLURM = ROOT / "examples" / "slurm"
SMALL = ("--cpus-per-task=2", "--mem=2G")

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="no sbatch on PATH: this needs a SLURM"),
]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """The variables of the scripts; the folder must be one that the nodes see (pytest's --basetemp)."""
    commands = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "ROLLOUTS": str(parquet(tmp_path / "rollouts.parquet", rollouts(6_000, 5))),
        "MODEL": str(ROOT / "examples" / "sample" / "tokenizer"),
        "OUTPUT": str(tmp_path / "out"),
        "CACHE": str(tmp_path / "cache"),
    }


def submit(script: str, given: dict[str, str], *options: str, flags: tuple[str, ...] = ()) -> str:
    """The number of the job."""
    line = ["sbatch", "--parsable", *SMALL, *options, str(SLURM / script), *flags]
    folder = Path(given["OUTPUT"]).parent
    return subprocess.run(line, env=given, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def plain(given: dict[str, str], flags: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The outputs of a run without SLURM."""
    folder = Path(given["OUTPUT"]).parent / "plain"
    line = ["analyze-rollouts", "--rollouts", given["ROLLOUTS"], "--model_path", given["MODEL"], *flags]
    line += ["--output_dir", str(folder), "--cache_dir", str(folder) + "_cache"]
    subprocess.run(line, env=given, check=True, capture_output=True)
    return outputs(folder)


def outputs(folder: Path) -> dict[str, bytes]:
    """All but the files that name the command, its folders and the time."""
    own = ("timings.json", "provenance.json", "report.html")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in own}


def wait_for(path: Path, pattern: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {path}"
        time.sleep(0.1)


def state(job: str) -> str:
    shown = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)["JobState"]


def test_an_array_and_its_merge_give_the_bytes_of_a_plain_run(given: dict[str, str]) -> None:
    out = Path(given["OUTPUT"])
    array = submit("array.sbatch", given, "--array=1-2")
    submit("merge.sbatch", given, f"--dependency=afterany:{array}", "--wait")
    assert "nothing is scored again" in next(out.parent.glob("analyze-merge-*.log")).read_text()
    assert outputs(out) == plain(given)


def test_a_warned_job_is_queued_again_and_a_cancelled_one_is_not(given: dict[str, str]) -> None:
    flags = ("--reward_fn", "math_verify")
    cache, out = Path(given["CACHE"]), Path(given["OUTPUT"])
    job = submit("requeue.sbatch", given, flags=flags)
    wait_for(cache, "runs/*/shards/*.parquet")
    before = {path: path.stat().st_mtime_ns for path in cache.glob("runs/*/shards/*.parquet")}
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)
    deadline = time.monotonic() + 10
    while state(job) != "PENDING":
        assert time.monotonic() < deadline, state(job)
        time.sleep(0.1)
    subprocess.run(["scancel", job], check=True)
    assert state(job) == "CANCELLED"
    submit("requeue.sbatch", given, "--wait", flags=flags)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / SUMMARY).exists()
    assert outputs(out) == plain(given, flags)


def test_a_dask_cluster_of_jobs_gives_the_bytes_of_a_plain_run(given: dict[str, str]) -> None:
    pytest.importorskip("dask_jobqueue")
    out = Path(given["OUTPUT"])
    line = [sys.executable, str(SLURM / "dask_cluster.py"), "--rollouts", given["ROLLOUTS"]]
    line += ["--model_path", given["MODEL"], "--output_dir", str(out), "--cache_dir", given["CACHE"]]
    subprocess.run(line, env=given, cwd=out.parent, check=True, capture_output=True)
    assert outputs(out) == plain(given)
