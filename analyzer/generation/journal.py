"""The journal of an unfinished generation: what was answered, appended as it comes, safe against any kill.

One line per answer::

    crc32 data_idx first count {"texts": [...], "finish_reasons": [...], "response_tokens": [...], "prompt_tokens": 25}

`first` is the sample_idx of its first text and `count` how many there are, so that the file can be looked through
without parsing the texts; the checksum covers all that follows it. A line torn by a kill or a power cut is the last
one and is cut off when the journal is opened again; a line damaged by the disk is passed over, and its rollouts alone
are generated again.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import OutputError
from analyzer.files.storage import storage_errors
from analyzer.generation.wanted import Wanted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

_SYNC_SECONDS = 5.0


class Answer(NamedTuple):
    """Rollouts of one prompt that came together."""

    data_idx: int
    first: int  # sample_idx of texts[0]
    texts: list[str]
    finish_reasons: list[str | None]
    response_tokens: list[int | None]
    prompt_tokens: int | None

    @property
    def stop(self) -> int:
        """The sample_idx after the last one here."""
        return self.first + len(self.texts)


def tokens_of(value: Any) -> int | None:
    """A count of tokens; None for anything that cannot be one, and that no column of int64 could hold."""
    return value if type(value) is int and 0 <= value < 1 << 40 else None


def reason_of(value: Any) -> str | None:
    """A finish_reason; None if it is not text."""
    return value if isinstance(value, str) else None


def held(path: Path) -> bool:
    """Whether a process writes to the journal there."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class Journal:
    """The journal file `path`, held by one process at a time; `have` counts the rollouts of each prompt in it."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        """Open or make the journal of the rollouts `wanted`. Raises OutputError when another process holds it."""
        import numpy as np

        self._path = path
        # O_APPEND: each write lands at the end, whatever this process believes the end to be.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # flock goes with the descriptor, so the kernel lets go of it however the process dies.
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise OutputError(f"{path.parent}: another process is writing to it; wait until it ends") from None
        self.wanted = wanted
        self.have: NDArray[np.int32] = np.zeros(len(wanted.first), np.int32)  # (prompts,)
        self._index = array("q")  # data_idx, position, for each line
        self._end = 0
        self.damaged_lines = 0
        self.torn_bytes = self._replay()
        self._synced = time.monotonic()
        self._syncing = ThreadPoolExecutor(1, "journal")  # a busy disk must not hold up the requests in flight
        self._sync: Future[None] | None = None

    def _replay(self) -> int:
        """Take in what an earlier process wrote; returns how many bytes at the end were torn, and cuts them off."""
        position, damaged = 0, 0
        with open(self._path, "rb") as file:
            for line in file:
                head = _head(line)
                if head is None:
                    damaged += 1
                else:
                    self._note(*head, position)
                    # Damage with whole lines behind it was not left by a kill: what is behind it counts.
                    self._end, self.damaged_lines = position + len(line), damaged
                position += len(line)
        # Cut off at once: an append after a torn line would make one bad line of two.
        torn = os.fstat(self._fd).st_size - self._end
        os.truncate(self._fd, self._end)
        return torn

    def _note(self, data_idx: int, first: int, count: int, position: int) -> None:
        # Only what goes on where the last one ended counts: a line that was written twice, by whatever cause, is
        # passed over.
        if data_idx < len(self.have) and first == self.wanted.first[data_idx] + self.have[data_idx]:
            self.have[data_idx] += count
            self._index.extend((data_idx, position))

    def append(self, answer: Answer) -> None:
        """Add an answer: it survives the death of this process at once, a power cut within seconds.

        Raises StorageError when the disk is full; the torn line is cut off at the next start.
        """
        body = orjson.dumps(
            {
                "texts": answer.texts,
                "finish_reasons": answer.finish_reasons,
                "response_tokens": answer.response_tokens,
                "prompt_tokens": answer.prompt_tokens,
            }
        )
        framed = b"%d %d %d %s\n" % (answer.data_idx, answer.first, len(answer.texts), body)
        # The checksum in front, of fixed width, so it is found in a line that has lost its end.
        line = b"%08x %s" % (zlib.crc32(framed), framed)
        with storage_errors(self._path):
            self._write(line)
            # fsync in the background, not per line: a power cut loses seconds, a kill loses nothing, as the
            # page cache is the kernel's.
            is_syncing = self._sync is not None and not self._sync.done()
            if time.monotonic() - self._synced >= _SYNC_SECONDS and not is_syncing:
                if self._sync:
                    self._sync.result()  # raises what that flush raised
                self._synced = time.monotonic()
                self._sync = self._syncing.submit(os.fsync, self._fd)
        self._note(answer.data_idx, answer.first, len(answer.texts), self._end)
        self._end += len(line)

    def _write(self, line: bytes) -> None:
        """One system call as a rule; a disk that is nearly full takes a part and then says so."""
        rest = memoryview(line)
        while rest:
            # A write to a nearly full disk may be short without an error; the next call then says ENOSPC.
            rest = rest[os.write(self._fd, rest) :]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._path.parent

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._end

    def missing(self) -> list[tuple[int, int]]:
        """Ascending ranges [start, stop) of data_idx that have fewer rollouts than wanted."""
        import numpy as np

        # False at both ends, so that every run has an edge on either side.
        short = np.concatenate(([False], self.have < self.wanted.samples, [False])).astype(np.int8)
        edges = np.flatnonzero(np.diff(short))
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

    def clear(self) -> None:
        """Forget all answers."""
        os.ftruncate(self._fd, 0)
        self.have[:] = 0
        self._index = array("q")
        self._end = 0

    def ordered(self) -> Iterator[Answer]:
        """All answers by (data_idx, first), read one at a time."""
        import numpy as np

        index: IntArray = np.array(self._index, dtype=np.int64).reshape(-1, 2)  # (answers, 2)
        # By the descriptor: another process may have made the folder anew, and the journal there is not ours.
        with open(os.dup(self._fd), "rb") as file:
            # Stable: answers of one prompt stay in the order of their first sample.
            for row in np.argsort(index[:, 0], kind="stable"):
                data_idx, position = index[row].tolist()
                file.seek(position)
                line = file.readline()
                head = _head(line)
                if head is None or head[0] != data_idx:
                    raise OutputError(f"{self._path}: damaged at byte {position}; run again to generate what was lost")
                # Four blanks in front of the JSON, which holds blanks itself.
                yield _answer(data_idx, head[1], orjson.loads(line.split(b" ", 4)[4]))

    def flush(self) -> None:
        """Bring all answers to the disk. Raises StorageError."""
        with storage_errors(self._path):
            os.fsync(self._fd)

    def close(self) -> None:
        """Flush to the disk and let go."""
        self._syncing.shutdown()
        self.flush()
        os.close(self._fd)


def _answer(data_idx: int, first: int, body: dict[str, Any]) -> Answer:
    """A line's answer. What an earlier version took from a server unseen must not end a run at its last step."""
    return Answer(
        data_idx,
        first,
        body["texts"],
        list(map(reason_of, body["finish_reasons"])),
        list(map(tokens_of, body["response_tokens"])),
        tokens_of(body["prompt_tokens"]),
    )


def _head(line: bytes) -> tuple[int, int, int] | None:
    """data_idx, first and count of a line; None where it is torn or damaged."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        _, data_idx, first, count, _ = line.split(b" ", 4)
        return int(data_idx), int(first), int(count)
    except ValueError:
        return None
