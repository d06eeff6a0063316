"""The real command as a process of its own, to be killed and watched."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.grading.processes import gone, marked
from tests.processes import PIPE, Process

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "sample"
PATIENCE = 120.0  # seconds that anything here may take on a busy machine

SLOW_REWARD = """
import time

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    time.sleep({seconds})
    return float(ground_truth in solution_str) + len(solution_str) / 1e6
"""
"""A reward that takes a while and says something of the response, so that a score at the wrong row would be seen."""


def slow_reward(folder: Path, seconds: float = 0.008) -> str:
    """The --reward_fn for SLOW_REWARD, written to a file in `folder`."""
    path = folder / "slow.py"
    path.write_text(SLOW_REWARD.format(seconds=seconds))
    return f"{path}:compute_score"


class Driver:
    """A run of the command, in a session of its own and marked, so that all its processes can be found."""

    def __init__(self, *flags: str, rollouts: Path, output: Path, cache: Path, brief: bool = True) -> None:
        """`brief`: it ends without taking its modules apart, in which nothing of ours is called (see Process)."""
        self.mark = f"TEST_RUN={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.cache = cache
        paths = ["--rollouts", str(rollouts), "--output_dir", str(output), "--cache_dir", str(cache)]
        self.process = Process(
            ["-m", "analyzer", *paths, "--model_path", str(SAMPLE / "tokenizer"), *flags],
            cwd=ROOT,
            env={**os.environ, name: value},
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            brief=brief,
        )

    def end(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and what it wrote to stderr."""
        try:
            _, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            _, err = self.process.communicate()
            raise AssertionError(f"still running after {PATIENCE:g} s: {err}") from None
        return self.process.wait(), err

    def stop(self, number: signal.Signals) -> float:
        """Signal the driver alone; the seconds until it has ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL the driver, and no other process of the run."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, while the driver runs."""
        until = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"the driver ended too soon: {self.end()}")
            if time.monotonic() > until:
                self.process.kill()
                raise AssertionError(f"it did not come to this: {self.end()}")
            time.sleep(0.01)

    def committed(self) -> int:
        """Shards committed in its cache, by whomever."""
        return len(list(self.cache.glob("runs/*/shards/shard-*.parquet")))

    def processes(self) -> list[int]:
        """The other live processes of the run."""
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def commands(self) -> list[str]:
        """The command lines of the other live processes of the run."""
        return [command(pid) for pid in self.processes()]

    def workers(self) -> list[int]:
        """The processes that score, of whatever backend."""

        def scores(pid: int, words: str) -> bool:
            forked = "analyzer.workers.fork_server" in words and parent(pid) != self.process.pid  # loky's
            return forked or "multiprocessing.spawn" in words or words.startswith("ray::PoolActor")

        return [pid for pid in self.processes() if scores(pid, command(pid))]

    def zygote(self) -> int:
        """The process in which the reward is loaded, and from which those are forked that grade."""
        (found,) = (
            pid
            for pid in self.processes()
            if "analyzer.grading.zygote" in command(pid) and parent(pid) == self.process.pid
        )
        return found

    def leaves_nothing(self, seconds: float = 3.0) -> bool:
        """Whether no process of the run is left after so long."""
        return gone(self.mark, seconds)

    def leaves_rays_agents(self, seconds: float = 3.0) -> bool:
        """Whether nothing is left but ray's two agents, which do no work and wait a minute for their head."""
        until = time.monotonic() + seconds
        while any(command(pid) and not command(pid).endswith("Agent") for pid in self.processes()):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


def command(pid: int) -> str:
    """The command line of a process, empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """The parent of a process, 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def outputs(folder: Path) -> dict[str, str]:
    """File name -> sha256 of all outputs but the timings, hidden leftovers included."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in ("timings.json", "provenance.json", "report.html")
    }


def many_shards(folder: Path, problems: int = 25) -> Path:
    """Of the embedded sample so many problems of 8 samples, with a column so wide that each problem is a shard.

    Few rollouts in as many shards as a long run has. In files of two, or they would first be gathered from a block of
    4 MB, which is decoded from its start.
    """
    folder.mkdir()
    rollouts = pq.read_table(SAMPLE / "rollouts.parquet").slice(0, 8 * problems)
    rollouts = rollouts.append_column("notes", pa.array(f"{row:010000}" for row in range(len(rollouts))))
    for first in range(0, problems, 2):
        path = folder / f"part-{first:02}.parquet"
        pq.write_table(rollouts.slice(8 * first, 16), path, use_dictionary=False)
    return folder
