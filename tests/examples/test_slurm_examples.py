"""The SLURM examples, run by bash as SLURM would run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import processes
from tests.commands import known_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SLURM = ROOT / "examples" / "slurm"


def environment(tmp_path: Path) -> dict[str, str]:
    """What the scripts are given: names of files, SLURM's variables, and `scontrol` and `analyze-rollouts` on PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    command = f'#!/bin/sh\nexec {processes.python(tools)} {ROOT / "scripts" / "analyze_rollouts.py"} "$@"\n'
    for name, text in {"analyze-rollouts": command, "scontrol": f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    known_tokenizer(tmp_path / "cache")
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "ROLLOUTS": str(ROOT / "examples" / "sample" / "rollouts.parquet"),
        "MODEL": str(ROOT / "examples" / "sample" / "tokenizer"),
        "OUTPUT": str(tmp_path / "out"),
        "CACHE": str(tmp_path / "cache"),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_JOB_ID": "17",
    }


def test_the_tasks_of_the_array_score_and_the_merge_writes(tmp_path: Path) -> None:
    given = environment(tmp_path)
    for task in ("1", "2"):
        subprocess.run(
            ["bash", SLURM / "array.sbatch"], env=given | {"SLURM_ARRAY_TASK_ID": task}, check=True, capture_output=True
        )
        assert not (tmp_path / "out" / "summary.json").exists()
    merged = subprocess.run(["bash", SLURM / "merge.sbatch"], env=given, check=True, capture_output=True, text=True)
    assert "nothing is scored again" in merged.stderr
    assert (tmp_path / "out" / "summary.json").exists()


def test_a_preempted_job_stops_in_order_and_is_queued_again(tmp_path: Path) -> None:
    given = environment(tmp_path)
    with subprocess.Popen(["bash", SLURM / "requeue.sbatch"], env=given, stderr=subprocess.PIPE, text=True) as job:
        while not list((tmp_path / "cache").glob("runs/*/plan-*.json")):
            time.sleep(0.02)
            assert job.poll() is None
        job.send_signal(signal.SIGUSR1)
        _, errors = job.communicate(timeout=120)
    assert job.returncode in (0, 75)  # 0: it had all but ended
    if job.returncode == 75:
        assert "stopped by SIGUSR1; the same command resumes" in errors
        assert (tmp_path / "asked").read_text() == "requeue 17\n"


def test_a_cancelled_job_is_not_queued_again(tmp_path: Path) -> None:
    """SLURM sends SIGTERM to every process of the job; after a preemption it queues the job by itself."""
    given = environment(tmp_path)
    with subprocess.Popen(
        ["bash", SLURM / "requeue.sbatch"], env=given, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        while not list((tmp_path / "cache").glob("runs/*/plan-*.json")):
            time.sleep(0.02)
            assert job.poll() is None
        os.killpg(job.pid, signal.SIGTERM)
        job.communicate(timeout=120)
    assert job.returncode in (0, 75)
    assert not (tmp_path / "asked").exists()


def test_a_job_warned_before_its_run_can_listen_is_queued_again(tmp_path: Path) -> None:
    given = environment(tmp_path)
    deaf = tmp_path / "bin" / "analyze-rollouts"
    deaf.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 60\n")
    with subprocess.Popen(["bash", SLURM / "requeue.sbatch"], env=given) as job:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
            assert job.poll() is None
        job.send_signal(signal.SIGUSR1)
    assert job.returncode == 75
    assert (tmp_path / "asked").read_text() == "requeue 17\n"


@pytest.mark.parametrize("script", ["array", "merge", "requeue"])
def test_what_follows_the_name_of_a_script_goes_to_the_command(tmp_path: Path, script: str) -> None:
    given = environment(tmp_path) | {"SLURM_ARRAY_TASK_ID": "1"}
    (tmp_path / "bin" / "analyze-rollouts").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/flags\n')
    subprocess.run(["bash", SLURM / f"{script}.sbatch", "--reward_fn", "gsm8k"], env=given, check=True)
    assert (tmp_path / "flags").read_text().endswith(" --reward_fn gsm8k\n")


WITHOUT_THE_ANALYSIS = """
import json, runpy, sys, time
from pathlib import Path
from analyzer.commands import analyze_rollouts
def analyze(words):
    while not Path(sys.argv[1], "job").exists():
        time.sleep(0.02)
    print(json.dumps(words))
    return 3
analyze_rollouts.analyze_rollouts = analyze
sys.exit(runpy.run_path(sys.argv[2])["main"](["--rollouts", "r"]))
"""


def test_the_dask_example_asks_for_jobs_and_names_the_analysis_their_scheduler(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    given = environment(tmp_path)
    batch = f"#!/bin/sh\ncp $1 {tmp_path}/copy; mv {tmp_path}/copy {tmp_path}/job\necho Submitted batch job 17\n"
    for name, text in {"sbatch": batch, "scancel": f"#!/bin/sh\necho $1 > {tmp_path}/cancelled\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    done = processes.run(["-c", WITHOUT_THE_ANALYSIS, tmp_path, SLURM / "dask_cluster.py"], env=given)
    assert done.returncode == 3, done.stderr
    *flags, address = json.loads(done.stdout)
    assert flags == ["--rollouts", "r", "--backend", "dask", "--dask_scheduler"]
    asked = (tmp_path / "job").read_text()
    assert f" {address} " in asked
    assert "#SBATCH --cpus-per-task=8" in asked
    assert (tmp_path / "cancelled").read_text() == "17\n"


@pytest.mark.slow
def test_the_dask_example_asks_for_jobs_and_writes(tmp_path: Path) -> None:
    """`sbatch` here keeps a copy of the script, as SLURM does, and starts it beside the test; `scancel` ends it."""
    pytest.importorskip("dask_jobqueue")
    given = environment(tmp_path)
    batch = f"""#!/bin/sh
cp "$1" {tmp_path}/job.$$
setsid sh {tmp_path}/job.$$ > {tmp_path}/job.log 2>&1 &
echo Submitted batch job $!
"""
    for name, text in {"sbatch": batch, "scancel": "#!/bin/sh\nkill -KILL -- -$1\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    flags = [f"--rollouts={given['ROLLOUTS']}", f"--model_path={given['MODEL']}"]
    flags += [f"--output_dir={given['OUTPUT']}", f"--cache_dir={given['CACHE']}"]
    done = processes.run(
        [SLURM / "dask_cluster.py", *flags],
        env=given
        | {
            # An interpreter of its own, which ends with its job: a forked worker of dask's hung as it was told to.
            "DASK_JOBQUEUE__SLURM__PYTHON": sys.executable,
            # One worker, and no process beside it that would start it again.
            "DASK_JOBQUEUE__SLURM__WORKER_EXTRA_ARGS": "['--nworkers', '1', '--no-nanny']",
        },
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "summary.json").exists()


def test_a_job_that_ends_is_not_queued_again(tmp_path: Path) -> None:
    words = ["bash", str(SLURM / "requeue.sbatch"), "--limit", "20", "--no_report"]
    done = subprocess.run(words, env=environment(tmp_path), capture_output=True, check=False)
    assert done.returncode == 0
    assert not (tmp_path / "asked").exists()
