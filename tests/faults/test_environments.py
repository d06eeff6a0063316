"""Odd environments: each is coped with, or gets its one true line and its exit code.

Mounts are made in a namespace of their own, which takes root or user namespaces.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.errors import EXIT_OK, EXIT_USER
from tests import processes
from tests.commands import SAMPLE, SCRIPT, TOKENIZER, Outcome, flags, known_tokenizer
from tests.faults.drivers import many_shards, slow_reward

OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}
SHM = "/dev/shm cannot be used ({}), which parallel workers need: one process scores all shards"


def words_for(tmp_path: Path, **values: object) -> list[str]:
    given = {"rollouts": SAMPLE, "model_path": TOKENIZER, "output_dir": tmp_path / "out", "n_jobs": 2}
    return [str(SCRIPT), *flags(**{**given, "cache_dir": tmp_path / "cache", **values})]


def after(first: str, tmp_path: Path, **values: object) -> Outcome:
    """The command in a process that does something `first`, in Python."""
    known_tokenizer(tmp_path / "cache")
    done = processes.run(processes.after(first, words_for(tmp_path, **values)), env=OFFLINE)
    return Outcome(done.returncode, done.stdout, done.stderr, tmp_path / "out")


def with_mounts(mounts: str, tmp_path: Path, **values: object) -> Outcome:
    """The command where a shell has mounted something, in a mount namespace of its own."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    # What unshare(1) does: a namespace, and no mount in it is seen outside. A shell finds it at /proc/PID/ns/mnt.
    first = f"""
import ctypes, subprocess
assert ctypes.CDLL(None, use_errno=True).unshare(0x20000) == 0, ctypes.get_errno()
subprocess.run(["sh", "-c", "mount --make-rprivate / && " + {mounts!r}], check=True)
"""
    return after(first, tmp_path, **values)


SHARED_MEMORY = {
    "read-only": ("mount -t tmpfs -o ro none /dev/shm", "Read-only file system"),
    "full": (
        "mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero > /dev/shm/full",
        "No space left on device",
    ),
    "missing": ("mount --rbind {devices} /dev", "No such file or directory"),
}


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder outside /dev/shm, where those of pytest are if there is room."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("kind", SHARED_MEMORY)
def test_without_shared_memory_one_process_scores_all_and_says_so(on_disk: Path, kind: str) -> None:
    before, why = SHARED_MEMORY[kind]
    devices = on_disk / "dev"
    devices.mkdir()
    for name in ("null", "zero", "urandom", "random"):
        (devices / name).touch()
        before = before if kind != "missing" else f"mount --bind /dev/{name} {devices}/{name} && {before}"
    rollouts = many_shards(on_disk / "rollouts", problems=10)
    outcome = with_mounts(before.replace("{devices}", str(devices)), on_disk, rollouts=rollouts)
    assert outcome.code == EXIT_OK, outcome.err
    assert SHM.format(why) in outcome.err
    assert "serial mode" not in outcome.err
    assert (on_disk / "out" / "summary.json").exists()


@pytest.mark.parametrize("names", [["stdout"], ["stderr"], ["stdin", "stdout", "stderr"]], ids="-".join)
def test_a_closed_stream_ends_no_run_and_spoils_no_file(tmp_path: Path, names: list[str]) -> None:
    as_python_starts = (
        f"import os, sys\nfor name in {names!r}:\n    os.close(['stdin', 'stdout', 'stderr'].index(name))"
    )
    as_python_starts += "\n    setattr(sys, name, None); setattr(sys, f'__{name}__', None)"
    outcome = after(as_python_starts, tmp_path, n_jobs=1, limit=20)
    assert (outcome.code, outcome.errors) == (EXIT_OK, [])
    assert outcome.json("summary.json")["total_problems"] == 20


@pytest.mark.faults
def test_closed_streams_end_no_run_and_spoil_no_file(tmp_path: Path) -> None:
    """Closed by a shell, so that Python starts without them."""
    known_tokenizer(tmp_path / "cache")
    line = f"exec {shlex.join([sys.executable, *words_for(tmp_path, n_jobs=1, limit=20)])} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=120, env=OFFLINE)
    outcome = Outcome(done.returncode, done.stdout, done.stderr, tmp_path / "out")
    assert (outcome.code, outcome.errors) == (EXIT_OK, [])
    assert outcome.json("summary.json")["total_problems"] == 20


def test_256_open_files_are_enough(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    reward = slow_reward(tmp_path, seconds=0)  # in processes of its own, which hold sockets
    outcome = after(limit, tmp_path, rollouts=many_shards(tmp_path / "rollouts"), reward_fn=reward)
    assert (outcome.code, outcome.errors) == (EXIT_OK, [])


def test_a_read_only_cache_that_holds_the_whole_run_is_enough(tmp_path: Path) -> None:
    first = after("", tmp_path)
    cache = tmp_path / "cache"
    read_only = f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache}"
    again = with_mounts(read_only, tmp_path, output_dir=tmp_path / "second")
    assert again.code == EXIT_OK, again.err
    assert "nothing is scored again" in again.err
    assert Outcome(0, "", "", tmp_path / "second").files() == first.files()
    other = with_mounts(read_only, tmp_path, reward_fn="exact_match", output_dir=tmp_path / "third")
    assert (other.code, len(other.errors)) == (EXIT_USER, 1)
    assert "read-only file system" in other.errors[0]
    assert "free some space" not in other.errors[0]


def test_a_read_only_output_folder_is_named_as_that(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    outcome = with_mounts(f"mount -t tmpfs -o ro none {out}", tmp_path)
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert f"{out} cannot be written to (read-only file system)" in outcome.errors[0]
