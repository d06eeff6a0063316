"""Files of scores: what a worker commits for one shard, small and without any text.

One row per rollout: ``{"row": 17, "reward": 1.0, "status": 0, "tokens": 64, "found": true, "extra": null}``.
The footer names the run and the shard and counts rows per data_source, so that a file that is torn, foreign or of
another run is never taken for a finished shard. It also names the statuses that the codes in `status` stand for: a code
means the same status in every version of the program, wherever that status stands in schema.STATUSES by then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import AnalyzerError
from analyzer.files import storage
from analyzer.schema import STATUSES, Status

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

UNASKED, UNEARNABLE, EARNED = GOLDS = range(3)
"""What is known of a ground truth; of a problem that is scored in parts, the highest of its codes holds."""
_PART = "part:"  # columns of the parts of sums
_META = b"analyzer.shard"
_SEAL = b"analyzer.seal"  # key in the footer; its value is _MARK and the sha256 of the file with _BLANK in its place
_MARK, _BLANK = b"seal:sha256:", b"0" * 64
EXAMPLES = 2
LONG = 200  # characters from which on two independent samples are not equal by chance
DAMAGED = "the cache is damaged; remove this run with `analyze-rollouts cache --prune --run NAME` and run again"


class Scores(NamedTuple):
    """The scores of one shard, arrays of shape (rollouts,)."""

    rows: NDArray[np.int64]  # global row numbers
    rewards: NDArray[np.float64]  # NaN: not scored
    statuses: NDArray[np.int8]  # position in schema.STATUSES; in the file, position in the footer's own table
    tokens: NDArray[np.int32]
    found: NDArray[np.bool_]  # whether an answer was found
    # The next three are lists of str or None when they are written, and pa.DictionaryArrays when they are read.
    extra: Any  # further columns as a JSON object; the list may be empty
    answers: Any  # the answer found in each response
    sources: Any  # data_source of each rollout, "" where it is not known
    golds: NDArray[np.int8]  # whether the problem's ground truth can earn the maximum: a code of GOLDS
    identities: NDArray[np.uint64]  # of the problem that each row says it is of (problems.identities)
    pass_values: NDArray[np.float64]  # compared with the pass threshold in place of the reward; NaN: the reward is
    parts: Mapping[str, NDArray[np.float64]]  # of sums of rewards: what each part gave; NaN: nothing


class SourceCount(NamedTuple):
    """What a shard saw of one data_source."""

    rows: int
    found: int
    missing: tuple[int, ...]  # the first rows without an answer, at most EXAMPLES
    failed: dict[str, tuple[int, str]]  # status -> the first row of that status, and why it has no reward
    long: int = 0  # responses of LONG characters or more
    repeated: int = 0  # ... that are equal to an earlier one of the same problem

    def plus(self, other: SourceCount) -> SourceCount:
        """Both together; which comes first does not matter."""
        failed = dict(self.failed)
        for status, example in other.failed.items():
            # The first row, whichever order the shards come in.
            failed[status] = min(failed.get(status, example), example)
        missing = tuple(sorted({*self.missing, *other.missing})[:EXAMPLES])
        return SourceCount(
            self.rows + other.rows,
            self.found + other.found,
            missing,
            dict(sorted(failed.items())),
            self.long + other.long,
            self.repeated + other.repeated,
        )


NO_ROLLOUTS = SourceCount(0, 0, (), {})


class ShardFooter(NamedTuple):
    """What a file of scores says of itself."""

    fingerprint: str
    shard: int
    rows: int
    sources: dict[str, SourceCount]
    tries: int = 1  # how often its rollouts were scored
    unsettled: int = 0  # rollouts that the next run scores again: transient failures that have not come twice
    statuses: tuple[str, ...] = ()  # what the codes in the file stand for; filled in by `write`


def write(path: str, footer: ShardFooter, scores: Scores) -> None:
    """Write a file of scores atomically. Raises StorageError on a full or failing disk."""
    import pyarrow as pa

    table = pa.table(
        {
            "row": scores.rows,
            "reward": pa.array(scores.rewards, from_pandas=True),
            "status": scores.statuses,
            "tokens": scores.tokens,
            "found": scores.found,
            "extra": pa.array(scores.extra or [None] * len(scores.rows), type=pa.string()),
            "answer": pa.array(scores.answers, type=pa.string()),
            "source": pa.array(scores.sources, type=pa.string()),
            "gold": scores.golds,
            "identity": scores.identities,
            "pass_value": pa.array(scores.pass_values, from_pandas=True),
            **{_PART + name: pa.array(values, from_pandas=True) for name, values in scores.parts.items()},
        }
    )
    fields = {**footer._asdict(), "statuses": STATUSES}
    table = table.replace_schema_metadata({_META: orjson.dumps(fields, default=list)})
    storage.write_bytes(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a parquet file, with their own sha256 in the footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_SEAL: _MARK + _BLANK})
    data: bytes = sink.getvalue().to_pybytes()
    # From the end: the footer stands there, and the same bytes may be in an answer.
    start = data.rindex(_MARK + _BLANK) + len(_MARK)
    return data[:start] + hashlib.sha256(data).hexdigest().encode() + data[start + len(_BLANK) :]


def _unbroken(path: str) -> bytes | None:
    """The bytes of a file of scores, None where it is not there or not to the bit as it was written.

    Checksums of pages would not do: what describes the pages, and the footer, have none.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    # The digest was taken while blanks stood in its place, so they are put back to check it. Without a mark the slice
    # is of the wrong bytes, and differs.
    start = data.rfind(_MARK) + len(_MARK)
    blank = data[:start] + _BLANK + data[start + len(_BLANK) :]
    return data if data[start : start + len(_BLANK)] == hashlib.sha256(blank).hexdigest().encode() else None


def read_footer(path: str) -> ShardFooter | None:
    """The footer of a file of scores, None where there is no whole file of scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _unbroken(path)
    if data is None:
        return None
    meta = pq.read_metadata(pa.BufferReader(data))
    return _footer(meta.metadata.get(_META), meta.num_rows)


def committed(path: str, fingerprint: str, shard: int) -> ShardFooter | None:
    """The footer of a file that is there, is not torn, and is of this run and shard; else None.

    The file must be this user's, or that of the owner of the run's folder: nobody else may put scores there.
    """
    if not storage.is_trusted(path, os.path.dirname(os.path.dirname(path))):
        return None
    footer = read_footer(path)
    return footer if footer and (footer.fingerprint, footer.shard) == (fingerprint, shard) else None


def _footer(raw: bytes | None, rows: int) -> ShardFooter | None:
    """The footer, None for one that is missing, damaged, or of a program with statuses that this one does not know."""
    if raw is None:
        return None
    try:
        fields: dict[str, Any] = orjson.loads(raw)
        # Written by a newer version: what a status means that this one does not know, it cannot say.
        if not set(fields["statuses"]) <= set(STATUSES):
            return None
        sources = {
            name: SourceCount(
                rows, found, tuple(missing), {status: (row, why) for status, (row, why) in failed.items()}, *repeats
            )
            for name, (rows, found, missing, failed, *repeats) in fields["sources"].items()
        }
        footer = ShardFooter(**{**fields, "sources": sources, "statuses": tuple(fields["statuses"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return footer if footer.rows == rows else None


def read(path: str) -> tuple[Scores, ShardFooter]:
    """Read a file of scores and its footer. Raises AnalyzerError where it is not whole."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _unbroken(path)
    if data is None:
        raise AnalyzerError(f"{path}: {DAMAGED}")
    # Not read_table, which takes a millisecond more to begin.
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    footer = _footer(table.schema.metadata.get(_META), table.num_rows)
    if footer is None:
        raise AnalyzerError(f"{path}: {DAMAGED}")
    # From a code in the file to the code of the same status here.
    here = np.array([STATUSES.index(Status(name)) for name in footer.statuses], dtype=np.int8)
    scores = Scores(
        table["row"].to_numpy(),
        table["reward"].to_numpy(),
        here[table["status"].to_numpy()],
        table["tokens"].to_numpy(),
        np.asarray(table["found"].to_numpy(), dtype=bool),
        table["extra"].combine_chunks().dictionary_encode(),
        table["answer"].combine_chunks().dictionary_encode(),
        table["source"].combine_chunks().dictionary_encode(),
        table["gold"].to_numpy(),
        table["identity"].to_numpy(),
        table["pass_value"].to_numpy(),
        {name.removeprefix(_PART): table[name].to_numpy() for name in table.column_names if name.startswith(_PART)},
    )
    return scores, footer


def shard_path(folder: str | os.PathLike[str], shard: int) -> str:
    """Where the scores of a shard lie in a run's folder of shards."""
    return os.path.join(folder, f"shard-{shard:06d}.parquet")
