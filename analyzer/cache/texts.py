"""texts: more short texts than memory should hold, kept in a file without a name and read back where they are needed.

Ten million rollouts have some millions of distinct answers. Their bytes go to a temporary file that is mapped into
memory, so that the system may drop what is not being read; what stays are eight bytes for each text.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY = 32 << 20


class Texts:
    """Texts numbered from 0 in the order in which they are added."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        """in_memory: bytes of text up to which no file is made."""
        self._in_memory = in_memory
        self._file: IO[bytes] = io.BytesIO()
        self._is_on_disk = False
        self._ends: list[np.ndarray] = [np.zeros(1, np.int64)]
        self.count = 0

    def add(self, texts: pa.Array) -> int:
        """Add a pyarrow string array without nulls; returns the number of its first text. Raises OSError."""
        import pyarrow as pa

        # 32-bit offsets end at 2 GB of text; all answers of a run can be more.
        texts = texts.cast(pa.large_string())
        _, offsets, data = texts.buffers()
        first = self.count
        # A slice shares the buffers of its array: offsets must be taken from its own start, and are not counted from 0.
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        start, stop = int(ends[0]), int(ends[-1])
        # Most runs have few answers: they never need a file, nor a folder for temporary files that can be written to.
        if not self._is_on_disk and self._file.tell() + stop - start > self._in_memory:
            # Unlinked as it is made: a run that is killed leaves nothing behind.
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `array`
            file.write(self._file.getbuffer())  # type: ignore[attr-defined]
            self._file, self._is_on_disk = file, True
        self._ends.append(ends[1:] - start + self._file.tell())
        if data is not None:
            self._file.write(memoryview(data)[start:stop])
        self.count += len(texts)
        return first

    def array(self) -> pa.LargeStringArray:
        """All texts; nothing may be added afterwards."""
        import pyarrow as pa

        self._file.flush()
        size = self._file.tell()
        if self._is_on_disk:
            data = pa.py_buffer(mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ))
            self._file.close()  # the mapping holds it
        else:
            data = pa.py_buffer(self._file.getvalue())  # type: ignore[attr-defined]
        offsets = np.concatenate(self._ends)
        return pa.Array.from_buffers(pa.large_string(), self.count, [None, pa.py_buffer(offsets), data])
