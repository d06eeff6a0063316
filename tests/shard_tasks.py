"""Stand-ins for `score_shard` that commit empty shards and, before that, do what a shard may do to its worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from analyzer.errors import InputError

POISON = 3


def commit(job_path: str, shard: int) -> int:
    """Commit a shard, and note who did."""
    folder = Path(job_path).parent
    with open(folder / "log", "a") as log:
        log.write(f"{shard} {os.getpid()}\n")
    (folder / "shards" / f"shard-{shard:06d}.parquet").touch()
    return 1


def commit_slowly(job_path: str, shard: int) -> int:
    """Commit a shard after some work."""
    time.sleep(0.3)
    return commit(job_path, shard)


def kill_worker_once(job_path: str, shard: int) -> int:
    """The worker of one shard is killed, once."""
    mark = Path(job_path).parent / "killed"
    if shard == POISON and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return commit(job_path, shard)


def kill_worker_always(job_path: str, shard: int) -> int:
    """The worker of one shard is killed each time."""
    if shard == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(job_path, shard)


def raise_error(job_path: str, shard: int) -> int:
    """One shard is the user's fault."""
    if shard == POISON:
        raise InputError("rollouts.parquet, row 7: response is null")
    return commit(job_path, shard)


def do_nothing(job_path: str, shard: int) -> int:
    """Return without a commit."""
    return 0


def end() -> None:
    """Nothing to let go of."""
