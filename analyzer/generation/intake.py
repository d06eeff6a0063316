"""Where rollouts arrive: journal, failures and progress bar, the same for a server and a local model."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson

from analyzer.errors import ConfigError
from analyzer.files.storage import storage_errors
from analyzer.generation.journal import Answer, Journal
from analyzer.progress import Counter

_HOPELESS_AFTER = 100  # prompts that were asked and failed, before any was answered


class Intake:
    """Takes rollouts and failures of the prompts; a context manager that shows the bar while it is open."""

    def __init__(self, journal: Journal, failures: Path) -> None:
        self._journal = journal
        self._failures: IO[bytes] = open(failures, "wb")  # noqa: SIM115  # closed by __exit__
        self.failed = 0
        self.unusable = 0  # of these, prompts that no server can be asked: the data must be corrected
        self.kept = 0
        self.tokens = 0
        self.first_failure = ""
        # Only a run that starts from nothing gives up early: where some prompts were answered before, the rest
        # may be the hard ones.
        self._empty = not journal.have.any()
        self._began = time.monotonic()
        self._bar = Counter("generating", journal.wanted.rollouts, int(journal.have.sum()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._failures.flush()
        # What failed is the list that a user acts on; it is small.
        os.fsync(self._failures.fileno())
        self._failures.close()

    def lacking(self, data_idx: int) -> range:
        """The sample_idx of the rollouts that a prompt lacks."""
        wanted = self._journal.wanted
        first = int(wanted.first[data_idx])
        return range(first + int(self._journal.have[data_idx]), first + int(wanted.samples[data_idx]))

    def keep(self, answer: Answer, tokens: int) -> None:
        """Keep rollouts; `tokens` is what the model generated for them. Raises StorageError."""
        self._journal.append(answer)
        self.kept += len(answer.texts)
        self.tokens += tokens
        rate = self.tokens / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(len(answer.texts), f"{rate:,.0f} tokens/s")

    def fail(self, data_idx: int, reason: str, unusable: bool = False) -> None:
        """Report that a prompt gets no more rollouts than it has. `unusable`: and never will, as the data has it.

        Raises ConfigError when so many failed before any was answered that going on makes no sense.
        """
        line = {"data_idx": data_idx, "missing": len(self.lacking(data_idx)), "reason": reason}
        with storage_errors(self._failures.name):
            self._failures.write(orjson.dumps(line) + b"\n")
        self.failed += 1
        self.unusable += unusable
        self.first_failure = self.first_failure or f"data_idx {data_idx}: {reason}"
        # Prompts that no model can be asked say nothing of the server: the others may be well.
        if (refused := self.failed - self.unusable) >= _HOPELESS_AFTER and self._empty and not self.kept:
            raise ConfigError(f"the first {refused} prompts all failed; {self.first_failure}")
