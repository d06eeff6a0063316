"""Files of scores: what a worker commits for one shard, small and without any text.

One row per rollout: ``{"row": 17, "reward": 1.0, "status": 0, "tokens": 64, "found": true, "extra": null}``.
The footer names the run and the shard and counts rows per data_source, so that a file that is torn, foreign or of
another run is never taken for a finished shard. It also names the statuses that the codes in `status` stand for: a code
means the same status in every version of the program, wherever that status stands in schema.STATUSES by then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import AnalyzerError
from analyzer.files import storage
from analyzer.schema import STATUSES, Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_META = b"analyzer.shard"
EXAMPLES = 2
DAMAGED = "the cache is damaged; remove this run with `analyze-rollouts cache --prune --run NAME` and run again"


class Scores(NamedTuple):
    """The scores of one shard, arrays of shape (rollouts,)."""

    rows: NDArray[np.int64]  # global row numbers
    rewards: NDArray[np.float64]  # NaN: not scored
    statuses: NDArray[np.int8]  # position in schema.STATUSES; in the file, position in the footer's own table
    tokens: NDArray[np.int32]
    found: NDArray[np.bool_]  # whether an answer was found
    extra: list[str | None]  # further columns as a JSON object, None for none; empty when no rollout has any


class SourceCount(NamedTuple):
    """What a shard saw of one data_source."""

    rows: int
    found: int
    missing: tuple[int, ...]  # the first rows without an answer, at most EXAMPLES
    failed: dict[str, tuple[int, str]]  # status -> the first row of that status, and why it has no reward

    def plus(self, other: SourceCount) -> SourceCount:
        """Both together; which comes first does not matter."""
        failed = dict(self.failed)
        for status, example in other.failed.items():
            failed[status] = min(failed.get(status, example), example)
        missing = tuple(sorted({*self.missing, *other.missing})[:EXAMPLES])
        return SourceCount(self.rows + other.rows, self.found + other.found, missing, dict(sorted(failed.items())))


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
    """Write a file of scores whole or not at all. Raises StorageError on a full or failing disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "row": scores.rows,
            "reward": pa.array(scores.rewards, from_pandas=True),
            "status": scores.statuses,
            "tokens": scores.tokens,
            "found": scores.found,
            "extra": pa.array(scores.extra or [None] * len(scores.rows), type=pa.string()),
        }
    )
    said = {**footer._asdict(), "statuses": STATUSES}
    table = table.replace_schema_metadata({_META: orjson.dumps(said, default=list)})
    with storage.atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_footer(path: str) -> ShardFooter | None:
    """The footer of a file of scores, None where there is no whole file of scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    return _footer((meta.metadata or {}).get(_META), meta.num_rows)


def committed(path: str, fingerprint: str, shard: int) -> ShardFooter | None:
    """The footer of a file that is there, is not torn, and is of this run and shard; else None.

    The file must be this user's, or that of the owner of the run's folder: nobody else may put scores there.
    """
    if not storage.is_trusted(path, os.path.dirname(os.path.dirname(path))):
        return None
    footer = read_footer(path)
    return footer if footer and (footer.fingerprint, footer.shard) == (fingerprint, shard) else None


def _footer(raw: bytes | None, there: int) -> ShardFooter | None:
    """The footer, None for one that is missing, damaged, or of a program with statuses that this one does not know."""
    if raw is None:
        return None
    try:
        said: dict[str, Any] = orjson.loads(raw)
        if not set(said["statuses"]) <= set(STATUSES):
            return None
        sources = {
            name: SourceCount(
                rows, found, tuple(missing), {status: (row, why) for status, (row, why) in failed.items()}
            )
            for name, (rows, found, missing, failed) in said["sources"].items()
        }
        footer = ShardFooter(**{**said, "sources": sources, "statuses": tuple(said["statuses"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return footer if footer.rows == there else None


def read(path: str) -> tuple[Scores, ShardFooter]:
    """Read a file of scores and its footer. Raises AnalyzerError where it is not whole."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise AnalyzerError(f"{path}: {DAMAGED} ({' '.join(str(error).split())})") from None
    footer = _footer((table.schema.metadata or {}).get(_META), table.num_rows)
    if footer is None:
        raise AnalyzerError(f"{path}: {DAMAGED}")
    # From a code in the file to the code of the same status here.
    here = np.array([STATUSES.index(Status(name)) for name in footer.statuses], dtype=np.int8)
    extra = table["extra"]
    scores = Scores(
        table["row"].to_numpy(),
        table["reward"].to_numpy(),
        here[table["status"].to_numpy()],
        table["tokens"].to_numpy(),
        np.asarray(table["found"].to_numpy(), dtype=bool),
        extra.to_pylist() if extra.null_count < len(extra) else [],
    )
    return scores, footer


def shard_path(folder: str | os.PathLike[str], shard: int) -> str:
    """Where the scores of a shard lie in a run's folder of shards."""
    return os.path.join(folder, f"shard-{shard:06d}.parquet")
