"""What every measure needs: inputs, the program, the peers, fresh folders, and runs side by side."""

from __future__ import annotations

import json
import shutil
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
    """What to reach, with the start-up counted as a user waits for it, unless it is said to be taken off."""

    first: float
    goal: float
    more_is_better: bool = True
    without_start: bool = False

    def reached(self, row: Row) -> str:
        """Which of the two is reached; a row without a second figure is judged by its first."""
        judged = row.without_start if self.without_start and row.without_start is not None else row.value
        sign = 1 if self.more_is_better else -1
        if sign * judged >= sign * self.goal:
            return "goal"
        return "first bar" if sign * judged >= sign * self.first else "missed"


class Row(NamedTuple):
    """One line of the table. A measure that starts no process of its own has a value and nothing beside it."""

    measure: str
    value: float  # of the whole command, start-up counted
    unit: str  # "x": the program against a peer; "s", "GB"
    bars: Bars | None
    detail: str
    by_cpu: float | None = None  # the same ratio by CPU time, which a busy machine leaves alone
    without_start: float | None = None  # the same with the start-up of both sides taken off
    spread: tuple[float, float] | None = None  # lowest and highest value of the rounds, of the figure with bars


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

    def job(
        self,
        rollouts: Path,
        *flags: str,
        n_jobs: int | None = None,
        memory: bool = False,
        cache: Path | None = None,
        proven: bool = False,
    ) -> Run:
        """The whole job with a fresh cache that knows the tokenizer, and a fresh output folder, both removed after.

        cache: of an earlier run, a copy of which is then used. proven: the tokenizer is known from these very rollouts,
        and not from others, so that its counts of them need no proof.
        """
        known = self._known_tokenizer(rollouts if proven else inputs.SAMPLE / "rollouts.parquet")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            if cache is not None:
                shutil.copytree(cache, f"{folder}/cache")
            shutil.copytree(known, f"{folder}/cache/tokenizers", dirs_exist_ok=True)
            return processes.run(self.command(rollouts, folder, *flags, n_jobs=n_jobs), memory)

    def _known_tokenizer(self, rollouts: Path) -> Path:
        """What a cache knows of the tokenizer once rollouts have been planned with it; not part of any figure."""
        folder = self.folder / "known" / rollouts.stem
        if not folder.exists():
            processes.run([*self.command(rollouts, str(folder)), "--reward_fn", "exact_match", "--dry_run"])
        return folder / "cache" / "tokenizers"

    def command(
        self, rollouts: Path, folder: str, *flags: str, n_jobs: int | None = None, tokenizer: str | None = None
    ) -> list[str]:
        """A job whose cache and outputs lie in `folder`."""
        settings = {
            "rollouts": rollouts,
            "model_path": tokenizer or inputs.tokenizer(),
            "cache_dir": f"{folder}/cache",
            "output_dir": f"{folder}/output",
            "n_jobs": n_jobs or self.settings.cores,
            "max_unscored": 1,
        }
        given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "analyzer", *given, *flags]

    def program(
        self, source: Source, rollouts: Path, *flags: str, n_jobs: int | None = None, cache: Path | None = None
    ) -> Side:
        """The whole job as a side."""
        first = self.part(source, 0)
        key = " ".join(("job", *flags, "known" if cache else ""))
        return Side(
            lambda: self.job(rollouts, *flags, n_jobs=n_jobs, cache=cache),
            lambda: self.job(first, "--limit", "1", *flags, n_jobs=n_jobs, cache=cache, proven=True),
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

    def checkpoints(self, source: Source) -> tuple[Path, Path]:
        """Inputs of an earlier checkpoint and of a later one, on the same problems."""
        paths = [self.folder / f"{source.name}-{name}.parquet" for name in ("earlier", "later")]
        for path, table in zip(paths, inputs.of_checkpoints(inputs.table_of(source)), strict=True):
            inputs.write(table, path, table.num_rows)
        return paths[0], paths[1]

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
        printed: dict[str, dict[str, Any]] = {}
        starts = {name: self._start(side) for name, side in sides.items()}
        for _ in range(self.settings.repeats):
            for name, side in sides.items():
                run = side.run()
                taken[name].append(Taken(run.seconds, run.cpu))
                printed[name] = json.loads(run.stdout) if run.stdout.startswith("{") else {}
        return Rounds(taken, starts, printed)

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


class Rounds(NamedTuple):
    """What each side took, start-up counted, one for each round."""

    taken: dict[str, list[Taken]]
    starts: dict[str, Taken]
    printed: dict[str, dict[str, Any]]  # what a peer printed: rollouts, mean_reward, engine

    def row(
        self,
        measure: str,
        over: tuple[str, str],
        bars: Bars | None,
        detail: str = "",
        scale: float = 1.0,
    ) -> Row:
        """A line whose ratio is what the first of `over` took over what the second took: medians of the rounds.

        scale: how many times what the first has done, but for its start-up, is to be counted: a peer that takes long
        does a part of the work, and has one process where the program has several.
        """
        one, other = over
        whole = self._ratios(one, other, scale, 1, lambda taken: taken.seconds)
        without = self._ratios(one, other, scale, 0, lambda taken: taken.seconds)
        by_cpu = self._ratios(one, other, scale, 1, lambda taken: taken.cpu)
        judged = without if bars is not None and bars.without_start else whole
        details = "; ".join(filter(None, (self.seconds_of(one, other), detail)))
        median = statistics.median
        spread = (min(judged), max(judged))
        return Row(measure, median(whole), "x", bars, details, median(by_cpu), median(without), spread)

    def _ratios(self, one: str, other: str, scale: float, starts: int, unit: Callable[[Taken], float]) -> list[float]:
        """One ratio a round; starts: 1 where the start-ups count, 0 where they are taken off."""
        first, second = unit(self.starts[one]), unit(self.starts[other])
        pairs = zip(map(unit, self.taken[one]), map(unit, self.taken[other]), strict=True)
        return [
            (starts * first + (theirs - first) * scale) / (ours - second + starts * second) for theirs, ours in pairs
        ]

    def median(self, name: str) -> Taken:
        """The medians of a side, start-up counted."""
        return _median(self.taken[name])

    def seconds_of(self, *names: str) -> str:
        """The medians, and the starts that are part of them."""
        return ", ".join(
            f"{name} {self.median(name).seconds:.2f} s (CPU {self.median(name).cpu:.2f} s, "
            f"start {self.starts[name].seconds:.2f} s)"
            for name in names
        )
