"""What every measure needs: inputs, the program, the peers, fresh folders, and runs side by side."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import inputs
import processes
from inputs import Source
from processes import Run

PEERS = Path(__file__).parent / "peers"


class Settings(NamedTuple):
    """How much is measured, and on what."""

    quick: bool
    cores: int
    repeats: int
    verl_python: str | None  # an interpreter that can import verl


class Row(NamedTuple):
    """One line of the table."""

    measure: str
    value: float
    unit: str  # "x": the program against a peer; "s", "GB"
    first_bar: float | None
    goal: float | None
    more_is_better: bool
    detail: str

    def reached(self) -> str:
        """Which of the two is reached."""
        if self.first_bar is None or self.goal is None:
            return ""
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.goal:
            return "goal"
        return "first bar" if sign * self.value >= sign * self.first_bar else "missed"


class Side(NamedTuple):
    """One of the things that are measured side by side."""

    run: Callable[[], Run]
    start: Callable[[], Run]  # the same with next to nothing to do
    key: str  # sides of one key have one start


class Bench:
    """Runs jobs and peers in folders of their own below one temporary folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self._starts: dict[str, float] = {}

    def sized(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.settings.quick else full

    # ------------------------------------------------------------ the program

    def job(self, rollouts: Path, *flags: str, n_jobs: int | None = None, memory: bool = False) -> Run:
        """The whole job with a fresh cache and a fresh output folder, both removed after."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return processes.run(self.command(rollouts, folder, *flags, n_jobs=n_jobs), memory)

    def command(self, rollouts: Path, folder: str, *flags: str, n_jobs: int | None = None) -> list[str]:
        """A job whose cache and outputs lie in `folder`."""
        settings = {
            "rollouts": rollouts,
            "model_path": inputs.tokenizer(),
            "cache_dir": f"{folder}/cache",
            "output_dir": f"{folder}/output",
            "n_jobs": n_jobs or self.settings.cores,
            "max_unscored": 1,
        }
        given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "analyzer", *given, *flags]

    def program(self, source: Source, rollouts: Path, *flags: str, n_jobs: int | None = None) -> Side:
        """The whole job as a side."""
        first = self.part(source, 0)
        key = " ".join(("job", first.name, *flags))
        return Side(
            lambda: self.job(rollouts, *flags, n_jobs=n_jobs),
            lambda: self.job(first, "--limit", "1", *flags, n_jobs=n_jobs),
            key,
        )

    # ------------------------------------------------------------ the peers

    def peer(self, name: str, source: Source, rollouts: Path, *args: object, verl: bool = False) -> Side:
        """A peer of benchmarks/peers as a side; `verl`: run where verl is, if it is anywhere."""
        python = (self.settings.verl_python if verl else None) or sys.executable
        script = str(PEERS / f"{name}.py")

        def run(path: Path) -> Run:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                words = [folder if word is FOLDER else str(word) for word in args]
                return processes.run([python, script, str(path), *words])

        return Side(lambda: run(rollouts), lambda: run(self.part(source, 0)), name)

    # ------------------------------------------------------------ inputs

    def copies(self, source: Source, rows: int | None = None, text_bytes: int | None = None) -> Path:
        """An input of copies of a source, made once."""
        path = self.folder / f"{source.name}-{rows or text_bytes}.parquet"
        if not path.exists():
            processes.say(f"making {path.name}")
            inputs.write(inputs.table_of(source), path, rows, text_bytes)
        return path

    def part(self, source: Source, every: int) -> Path:
        """An input of every n-th problem of a source, 0 for the first alone: for what takes long, and for starts."""
        path = self.folder / f"{source.name}-every-{every}.parquet"
        if not path.exists():
            table = inputs.every_nth_problem(inputs.table_of(source), every)
            inputs.write(table, path, table.num_rows)
        return path

    # ------------------------------------------------------------ side by side

    def rounds(self, sides: Mapping[str, Side]) -> Rounds:
        """One run of each side in turn, again and again."""
        taken: dict[str, list[float]] = {name: [] for name in sides}
        said: dict[str, dict[str, Any]] = {}
        starts = {name: self._start(side) for name, side in sides.items()}
        for _ in range(self.settings.repeats):
            for name, side in sides.items():
                run = side.run()
                taken[name].append(run.seconds - starts[name])
                said[name] = json.loads(run.stdout) if run.stdout.startswith("{") else {}
        return Rounds(taken, starts, said)

    def _start(self, side: Side) -> float:
        if side.key not in self._starts:
            self._starts[side.key] = statistics.median(side.start().seconds for _ in range(self.settings.repeats))
        return self._starts[side.key]


FOLDER = object()
"""Stands for a fresh folder among the arguments of a peer."""


class Rounds(NamedTuple):
    """Seconds of each side without its start, one for each round."""

    taken: dict[str, list[float]]
    starts: dict[str, float]
    said: dict[str, dict[str, Any]]  # what a peer printed: rollouts, mean_reward, engine

    def ratio(self, one: str, other: str, scale: float = 1.0) -> float:
        """The median over the rounds of how often `one` fits into `other` times `scale`."""
        pairs = zip(self.taken[one], self.taken[other], strict=True)
        return statistics.median(scale * theirs / ours for ours, theirs in pairs)

    def seconds(self, name: str) -> float:
        """The median of a side."""
        return statistics.median(self.taken[name])

    def told(self, *names: str) -> str:
        """The medians and the starts taken off them."""
        return ", ".join(f"{name} {self.seconds(name):.2f} s (start {self.starts[name]:.2f} s)" for name in names)
