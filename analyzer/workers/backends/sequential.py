"""sequential: all shards one after another in this process. No protection from a shard that kills it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from analyzer.workers.backends import Backend, Cluster, Task, register


@register
class Sequential(Cluster):
    """This process alone, one shard after another."""

    name = "sequential"

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__(1)
        self._end = end

    @classmethod
    @contextlib.contextmanager
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
        yield cls(end)

    def run(self, tasks: Iterable[Task], at_once: int) -> None:
        # The thread that calls this is the worker here, and it outlives no call: nobody else could let go for it.
        try:
            super().run(tasks, at_once)
        finally:
            self._end()

    def settings(self, at_once: int) -> Mapping[str, Any]:
        return {"n_jobs": 1}
