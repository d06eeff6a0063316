"""Where rollouts arrive: journal, failures and progress bar, the same for a server and a local model."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson
from tqdm import tqdm

from analyzer.errors import ConfigError, printable
from analyzer.files.storage import storage_errors
from analyzer.generation.journal import Answer, Journal
from analyzer.progress import Counter

_HOPELESS_AFTER = 100  # prompts that were asked and failed, before any was answered
_LOOK_AFTER = 8  # answers, and whenever they have doubled


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
        self._answers = 0
        self._thin = 0  # answers with more tokens than bytes of text
        self._told_of_gaps = self._told_of_room = False
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
        self._answers += 1
        # A token has a byte of text or more, but for the one that ends a response.
        self._thin += tokens > sum(len(text.encode()) + 1 for text in answer.texts)
        if self._answers >= _LOOK_AFTER and self._answers & (self._answers - 1) == 0:
            self._look()
        rate = self.tokens / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(len(answer.texts), f"{rate:,.0f} tokens/s")

    def tell(self, note: str) -> None:
        """Say something above the bar."""
        tqdm.write(f"generate_rollouts: {note}", file=sys.stderr)

    def _look(self) -> None:
        """Warn, once each, when the answers so far show that the rollouts will lack text or not fit on the disk."""
        if self._thin * 2 > self._answers and not self._told_of_gaps:
            self._told_of_gaps = True
            self.tell(
                f"{self._thin} of {self._answers} answers have more tokens than their text has bytes: it lacks a part "
                "of what the model generated, such as its reasoning (start the server without --reasoning-parser) or "
                "special tokens (--extra_body '{skip_special_tokens: false}')"
            )
        have = int(self._journal.have.sum())
        to_come = (self._journal.wanted.rollouts - have) * self._journal.size // have
        if (free := shutil.disk_usage(self._journal.folder).free) < to_come and not self._told_of_room:
            self._told_of_room = True
            self.tell(
                f"{self._journal.folder}: the disk has {free / 1e9:.1f} GB left, and the rollouts to come take some "
                f"{to_come / 1e9:.1f} GB; make room, or the run stops when it is full (the same command resumes)"
            )

    def fail(self, data_idx: int, reason: str, unusable: bool = False) -> None:
        """Report that a prompt gets no more rollouts than it has. `unusable`: and never will, as the data has it.

        Raises ConfigError when so many failed before any was answered that going on makes no sense.
        """
        line = {"data_idx": data_idx, "missing": len(self.lacking(data_idx)), "reason": reason}
        with storage_errors(self._failures.name):
            self._failures.write(orjson.dumps(line) + b"\n")
        self.failed += 1
        self.unusable += unusable
        self.first_failure = self.first_failure or printable(f"data_idx {data_idx}: {reason}")
        # Prompts that no model can be asked say nothing of the server: the others may be well.
        if (refused := self.failed - self.unusable) >= _HOPELESS_AFTER and self._empty and not self.kept:
            raise ConfigError(f"the first {refused} prompts all failed; {self.first_failure}")
