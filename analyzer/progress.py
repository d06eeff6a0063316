"""How far a run is, on stderr, and how long its stages took."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from analyzer.errors import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm


SILENT_SECONDS = 1.0
"""A stage that takes longer says what it does."""
LINE_SECONDS = 10.0
"""Between two lines of progress, where stderr is not a terminal."""
_STAGES = {
    "read": "opening the rollouts",
    "plan": "finding the problems, the tokenizer and the rewards",
    "merge": "merging the scores",
    "metrics": "computing the metrics of each problem",
    "bucket": "putting problems into buckets",
    "estimate": "estimating how sure the buckets are",
    "audit": "checking whether ground truths score the maximum",
    "summary": "summing up",
    "write": "writing the outputs",
}
YELLOW, RED = "33", "31"


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Text in a colour where the stream is a terminal that shows them; NO_COLOR in the environment turns them off."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain or not text else f"\x1b[{colour}m{text}\x1b[0m"


class Clock:
    """Wall-clock seconds of each stage; within a context one that takes over a second says on stderr what it does.

    `shown`: whether it does.
    """

    def __init__(self, shown: bool = False, silent_seconds: float = SILENT_SECONDS) -> None:
        self.seconds: dict[str, float] = {}
        self._silent_seconds = silent_seconds
        self._shown = shown
        self._running: dict[str, float] = {}
        self._start = time.perf_counter()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._running[stage] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = _since(self._running.pop(stage))

    def __enter__(self) -> Self:
        # A thread, since a stage that is slow is mostly inside one call: a file of a slow disk, an import. One for all
        # stages: to start one for each takes a small run 5 % more CPU time.
        if self._shown:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        said: set[tuple[str, float]] = set()
        wait = self._silent_seconds
        while not self._ended.wait(wait):
            wait = self._silent_seconds
            for stage, start in list(self._running.items()):
                left = start + self._silent_seconds - time.perf_counter()
                if left > 0:
                    wait = min(wait, left)
                elif stage in _STAGES and (stage, start) not in said:
                    said.add((stage, start))
                    _say(f"{_STAGES[stage]} ...")

    def write(self, path: Path) -> None:
        """Write the seconds of each stage, and of the whole, so far as JSON: the last stage is the writing itself."""
        running = {stage: _since(start) for stage, start in self._running.items()}
        seconds = self.seconds | running | {"total": _since(self._start)}
        path.write_text(json.dumps({"seconds": seconds}, indent=2) + "\n")


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _say(line: str) -> None:
    """One line on stderr; nothing where it is closed meanwhile."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


class Counter:
    """Counts rollouts on stderr: a bar in a terminal, plain lines elsewhere, numbers in full (28,380 and not 28.4k)."""

    def __init__(
        self, what: str, total: int, done: int = 0, *, shown: bool = True, line_seconds: float = LINE_SECONDS
    ) -> None:
        self._line_seconds = line_seconds
        self._what, self._total, self._first, self._done = what, total, done, done
        self._note = ""
        self._shown = shown
        self._start = self._line_at = time.monotonic()
        self._bar = _bar(what, total, done) if shown and sys.stderr.isatty() else None

    def update(self, more: int, note: str = "") -> None:
        """Count some more; note: what is said behind the numbers."""
        self._done, self._note = self._done + more, note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(more)
        elif self._shown and time.monotonic() - self._line_at >= self._line_seconds:
            self._line_at = time.monotonic()
            _say(self._line())

    def close(self) -> None:
        """End with the last state."""
        if self._bar is not None:
            self._bar.close()
        elif self._shown:
            _say(self._line())

    def _line(self) -> str:
        seconds = time.monotonic() - self._start
        rate = (self._done - self._first) / max(seconds, 1e-9)
        left = f", {duration((self._total - self._done) / rate)} left" if rate > 0 and self._done < self._total else ""
        note = f", {self._note}" if self._note else ""
        return (
            f"{self._what}: {self._done:,} of {self._total:,} rollouts in {duration(seconds)}, {rate:,.0f} a second"
            f"{note}{left}"
        )


def _bar(what: str, total: int, done: int) -> tqdm:  # type: ignore[type-arg]  # generic to its stubs alone
    from tqdm import tqdm

    class Full(tqdm):  # type: ignore[type-arg]
        """A bar with numbers in full; tqdm's own choice is 28380 or 28.4k."""

        @property
        def format_dict(self) -> Any:
            values = super().format_dict
            rate = values["rate"] or (values["n"] - values["initial"]) / max(values["elapsed"], 1e-9)
            return {**values, "speed": f"{rate:,.0f}"}

    shape = "{desc}: {percentage:3.0f}%|{bar}| {n:,}/{total:,} [{elapsed}<{remaining}, {speed} a second{postfix}]"
    return Full(
        total=total, initial=done, desc=what, bar_format=shape, file=sys.stderr, dynamic_ncols=True, smoothing=0.05
    )


def duration(seconds: float) -> str:
    """Seconds for a person: '9 s', '2 min 5 s', '3 h 20 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600:,} h {whole % 3600 // 60} min"


class Bar:
    """A bar that counts rollouts; says so when scores are reused."""

    def __init__(
        self,
        rows: NDArray[np.int64],
        wanted: Sequence[int],
        missing: Sequence[int],
        shown: bool,
        again: Mapping[int, int],
    ) -> None:
        """`rows`: the rollouts of each shard, (shards,); `again`: of a missing shard, those that are scored again."""
        self._left = {shard: again.get(shard, int(rows[shard])) for shard in missing}
        self.scored = sum(self._left.values())
        self.reused = int(rows[list(wanted)].sum()) - self.scored
        retried = sum(again.values())
        if shown and self.reused:
            left = (
                counted(self.scored - retried, "is left", "are left")
                if self.scored > retried
                else "nothing is scored again"
            )
            if retried:
                left = "" if self.scored == retried else f"{left}, "
                left += f"{retried:,} that had no reward (timeout, memory or crash) will be scored again"
            print(f"{counted(self.reused, 'rollout is', 'rollouts are')} already scored; {left}", file=sys.stderr)
        self._bar = Counter("scoring", self.scored + self.reused, self.reused, shown=shown and bool(self.scored))

    def committed(self, shard: int) -> None:
        """One shard more is done."""
        self._bar.update(self._left[shard])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
