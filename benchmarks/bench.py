"""What every measure needs: inputs, the program, the peers, fresh folders, and runs side by side."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import inputs
import processes
from inputs import Source
from processes import Run

PEERS = Path(__file__).parent / "peers"
_STARTS = 3  # at the least: a start varies by a second, and is taken off every run


class Settings(NamedTuple):
    """How much is measured, and on what."""

    quick: bool
    cores: int
    repeats: int
    verl_python: str | None  # an interpreter that can import verl


class Bars(NamedTuple):
    """What to reach."""

    first: float
    goal: float
    more_is_better: bool = True

    def reached(self, value: float) -> str:
        """Which of the two is reached."""
        sign = 1 if self.more_is_better else -1
        if sign * value >= sign * self.goal:
            return "goal"
        return "first bar" if sign * value >= sign * self.first else "missed"


class Row(NamedTuple):
    """One line of the table."""

    measure: str
    value: float
    unit: str  # "x": the program against a peer; "s", "GB"
    bars: Bars | None
    detail: str
    by_cpu: float | None = None  # the same ratio by CPU time, which a busy machine leaves alone


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
        self._starts: dict[str, Taken] = {}

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
        key = " ".join(("job", *flags))
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
        taken: dict[str, list[Taken]] = {name: [] for name in sides}
        said: dict[str, dict[str, Any]] = {}
        starts = {name: self._start(side) for name, side in sides.items()}
        for _ in range(self.settings.repeats):
            for name, side in sides.items():
                run = side.run()
                taken[name].append(Taken(run.seconds - starts[name].seconds, run.cpu - starts[name].cpu))
                said[name] = json.loads(run.stdout) if run.stdout.startswith("{") else {}
        return Rounds(taken, starts, said)

    def _start(self, side: Side) -> Taken:
        if side.key not in self._starts:
            rounds = self.settings.repeats if self.settings.quick else max(_STARTS, self.settings.repeats)
            self._starts[side.key] = _median([side.start() for _ in range(rounds)])
        return self._starts[side.key]


FOLDER = object()
"""Stands for a fresh folder among the arguments of a peer."""


class Taken(NamedTuple):
    """Seconds of a run."""

    seconds: float
    cpu: float


def _median(runs: Sequence[Taken | Run]) -> Taken:
    return Taken(statistics.median(run.seconds for run in runs), statistics.median(run.cpu for run in runs))


class Ratio(NamedTuple):
    """How much less one side takes than another, by the clock and by CPU time."""

    clock: float
    cpu: float

    def scaled(self, by: float) -> Ratio:
        """Both times a number."""
        return Ratio(self.clock * by, self.cpu * by)


class Rounds(NamedTuple):
    """What each side took without its start, one for each round."""

    taken: dict[str, list[Taken]]
    starts: dict[str, Taken]
    said: dict[str, dict[str, Any]]  # what a peer printed: rollouts, mean_reward, engine

    def ratio(self, one: str, other: str) -> Ratio:
        """The median over the rounds of what `other` took over what `one` took."""
        pairs = list(zip(self.taken[one], self.taken[other], strict=True))
        return Ratio(
            statistics.median(theirs.seconds / ours.seconds for ours, theirs in pairs),
            statistics.median(theirs.cpu / ours.cpu for ours, theirs in pairs),
        )

    def median(self, name: str) -> Taken:
        """The medians of a side."""
        return _median(self.taken[name])

    def told(self, *names: str) -> str:
        """The medians and the starts taken off them."""
        return ", ".join(
            f"{name} {self.median(name).seconds:.2f} s (CPU {self.median(name).cpu:.2f} s, "
            f"start {self.starts[name].seconds:.2f} s)"
            for name in names
        )
