"""Stand-ins for `score_shard` that commit empty shards and, before that, do what a shard may do to its worker."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from analyzer.errors import InputError

POISON = 3
loaded_by: list[int] = []  # the processes that have loaded in this one, or in the one that it was forked from


def commit(folder: str, shard: int) -> int:
    """Commit a shard, and note who did."""
    run = Path(folder)
    with open(run / "log", "a") as log:
        log.write(f"{shard} {os.getpid()}\n")
    (run / "shards" / f"shard-{shard:06d}.parquet").touch()
    return 1


def commit_slowly(folder: str, shard: int) -> int:
    """Commit a shard after some work."""
    time.sleep(0.15)
    return commit(folder, shard)


def commit_as_the_driver_ends(folder: str, shard: int) -> int:
    """Commit a shard; the driver, which has ended meanwhile, has removed its marks."""
    shutil.rmtree(Path(folder) / "marks")
    return commit(folder, shard)


def kill_worker_once(folder: str, shard: int) -> int:
    """The worker of one shard is killed, once."""
    mark = Path(folder) / "killed"
    if shard == POISON and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return commit(folder, shard)


def kill_worker_always(folder: str, shard: int) -> int:
    """The worker of one shard is killed each time."""
    if shard == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(folder, shard)


def raise_error(folder: str, shard: int) -> int:
    """One shard is the user's fault."""
    if shard == POISON:
        raise InputError("rollouts.parquet, row 7: response is null")
    return commit(folder, shard)


def do_nothing(folder: str, shard: int) -> int:
    """Return without a commit."""
    return 0


def look_at_an_array(folder: str) -> None:
    """Note whether pandas is imported once a value of arrow's was looked at."""
    import pyarrow as pa

    pa.array([0]).to_numpy()
    (Path(folder) / "pandas").write_text(str("pandas" in sys.modules))


def end() -> None:
    """Nothing to let go of."""


def warm(folder: str) -> None:
    """Note which process was there before the first shard."""
    (Path(folder) / f"warm-{os.getpid()}").touch()
    time.sleep(0.3)  # so that one worker does not take all of these tasks


def load() -> None:
    """What `commit_as_loaded` needs."""
    loaded_by.append(os.getpid())


def load_with_a_thread() -> None:
    """What leaves a thread behind, and so cannot be forked."""
    load()
    threading.Thread(target=time.sleep, args=[60], daemon=True).start()


def commit_as_loaded(folder: str, shard: int) -> int:
    """Commit a shard after some work, and note which processes have loaded for it."""
    with open(Path(folder) / "loaded", "a") as log:
        log.write(" ".join(map(str, [os.getpid(), *loaded_by])) + "\n")
    return commit_slowly(folder, shard)


def kill_what_forks_once(folder: str, shard: int) -> int:
    """The process that the workers were forked from is killed, once."""
    mark = Path(folder) / "killed"
    if shard == POISON and not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
    return commit_slowly(folder, shard)


class EndsItsWorker:
    """A task that ends the worker that receives it, before any shard is begun."""

    def __reduce__(self) -> tuple[Callable[[int], NoReturn], tuple[int]]:
        return os._exit, (1,)

    def __call__(self, folder: str, shard: int) -> int:
        return commit(folder, shard)


def in_two_steps() -> Callable[[str], list[object]]:
    """The first step of a call."""
    return answered_by


def answered_by(told: str) -> list[object]:
    """The parent of this process, and what it was told."""
    return [os.getppid(), told]
