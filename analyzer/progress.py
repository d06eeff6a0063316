"""How far a run is, on stderr, and how long its stages took."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Clock:
    """Wall-clock seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._running[stage] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = _since(self._running.pop(stage))

    def write(self, path: Path) -> None:
        """Write the seconds of each stage, and of the whole, so far as JSON: the last stage is the writing itself."""
        running = {stage: _since(start) for stage, start in self._running.items()}
        seconds = self.seconds | running | {"total": _since(self._start)}
        path.write_text(json.dumps({"seconds": seconds}, indent=2) + "\n")


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


class Bar:
    """A tqdm bar that counts rollouts; says so when scores are reused."""

    def __init__(
        self,
        rows: NDArray[np.int64],
        wanted: Sequence[int],
        missing: Sequence[int],
        shown: bool,
        again: Mapping[int, int],
    ) -> None:
        """`rows`: the rollouts of each shard, (shards,); `again`: of a missing shard, those that are scored again."""
        from tqdm import tqdm

        self._left = {shard: again.get(shard, int(rows[shard])) for shard in missing}
        self.scored = sum(self._left.values())
        self.reused = int(rows[list(wanted)].sum()) - self.scored
        retried = sum(again.values())
        if shown and self.reused:
            left = f"{self.scored - retried} are left to score" if self.scored > retried else "nothing is scored again"
            if retried:
                left = "" if self.scored == retried else f"{left}, "
                left += f"{retried} that had no reward (timeout, memory or crash) are scored again"
            print(f"{self.reused} rollouts are scored already; {left}", file=sys.stderr)
        self._bar = tqdm(
            total=self.scored + self.reused,
            initial=self.reused,
            unit=" rollouts",
            unit_scale=True,
            desc="scoring",
            file=sys.stderr,
            disable=not shown or not self.scored,
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
        )

    def committed(self, shard: int) -> None:
        """One shard more is done."""
        self._bar.update(self._left[shard])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
