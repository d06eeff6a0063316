"""The opened input: its rollouts as parquet, and what tells whether its files are still the same."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from analyzer.errors import printable
from analyzer.files import inputs
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.json_columns import FileLine

_EDGE_BYTES = 1 << 16
UNMARKED_WHOLE = 64 << 20
_MODEL = "model"  # column in which generation notes which policy a rollout is of
_ROWS = 8192

Identity = tuple[tuple[int, str, str], ...]
"""Of each input file: size, time mark, sha256 of its head and tail."""


NO_KINDS: Mapping[str, Mapping[str, FileLine]] = MappingProxyType({})


class Input(NamedTuple):
    """The opened input."""

    dataset: Dataset
    paths: tuple[str, ...]  # as the user has them, jsonl or parquet
    identity: Identity
    replaced: int  # lone surrogates that became U+FFFD when jsonl was read
    reading: str = ""  # which conversion from another layout it comes from, "" for none
    notes: tuple[str, ...] = ()  # what it was read as
    warnings: tuple[str, ...] = ()  # what may be wrong with that
    texts: bool = True  # whether there are responses, not rewards alone
    kinds: Mapping[str, Mapping[str, FileLine]] = NO_KINDS  # of jsonl columns: kinds of values, and the first of each

    def print_notes(self) -> None:
        """Print to stderr what the files were read as."""
        for note in self.notes:
            print(printable(note), file=sys.stderr, flush=True)

    def policies(self) -> list[str]:
        """The policies that the first rollouts name in their column `model`; empty if there is none."""
        schema = self.dataset.schema
        if _MODEL not in schema.names or not dataset.is_text(schema.field(_MODEL).type):
            return []  # a struct or a list is something else of that name
        found: set[str] = set()
        # Mixed policies show within thousands of rows; reading the column of all would be another pass.
        for _, batch in Reader(self.dataset.files, [_MODEL]).batches([(0, min(_ROWS, self.dataset.rows))]):
            found.update(str(value) for value in batch.column(0).unique().to_pylist() if value is not None)
        return sorted(found)

    def still_same(self) -> None:
        """Raise InputError when a file was changed or removed since it was opened."""
        still_same(self.paths, self.identity)


def identify(path: str) -> tuple[int, str, str]:
    """Size, mark, and sha256 of the first and last 64 KiB (a parquet footer is in there): no second full read.

    Where a remote store gives no mark (no ETag, no time), a change in the middle would show nowhere: such a file is
    read whole up to UNMARKED_WHOLE bytes, and of a larger one as much as that, in pieces spread evenly over it.
    """
    size, mark = inputs.stat(path)
    digest = hashlib.sha256()
    with inputs.open_binary(path) as file:
        # With a mark that changes when the file is written, the edges are a second opinion. Without one they are all
        # there is.
        for start in _places(size, marked=bool(mark)):
            file.seek(start)
            digest.update(file.read(_EDGE_BYTES))
    return size, mark, digest.hexdigest()


def _places(size: int, *, marked: bool, whole: int = UNMARKED_WHOLE) -> list[int]:
    """Where the pieces of _EDGE_BYTES start that are compared, ascending; they do not overlap."""
    last = max(size - _EDGE_BYTES, _EDGE_BYTES)
    if marked:
        return [0] if size <= _EDGE_BYTES else [0, last]
    if size <= whole:
        return list(range(0, size, _EDGE_BYTES))
    pieces = whole // _EDGE_BYTES
    return [number * last // (pieces - 1) for number in range(pieces)]


def unmarked(opened: Input, whole: int = UNMARKED_WHOLE) -> list[str]:
    """The input files of which not every change can be seen: large ones on a store that gives neither ETag nor time."""
    return [
        path for path, (size, mark, _) in zip(opened.paths, opened.identity, strict=True) if not mark and size > whole
    ]


def still_same(paths: Sequence[str], identity: Identity) -> None:
    """Raise InputError when an input file was changed or removed since its identity was taken."""
    for path, (size, mark, digest) in zip(paths, identity, strict=True):
        inputs.still_same(path, size, mark)
        if not mark and identify(path) != (size, mark, digest):
            raise inputs.changed(path)
