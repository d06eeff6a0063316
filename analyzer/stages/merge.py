"""merge: the reducer. Files of scores in, one value per row out, each row exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer import shards
from analyzer.errors import AnalyzerError
from analyzer.shards import EXAMPLES, SourceCount

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Merged(NamedTuple):
    """The scores of all analysed rows, in input order; arrays of shape (rows of the input,)."""

    rewards: NDArray[np.float64]  # NaN: not scored
    statuses: NDArray[np.int8]  # position in schema.STATUSES
    tokens: NDArray[np.int32]
    there: NDArray[np.bool_]  # whether the row is analysed
    extra: dict[int, str]  # row -> further columns as a JSON object
    sources: dict[str, SourceCount]  # by data_source, sorted


def merge_shards(folder: str, count: int, rows: int, kept: Sequence[tuple[int, int]]) -> Merged:
    """Read shards 0 .. count-1 and put every score at its row.

    `kept`: the row ranges that must be there. Raises AnalyzerError (a bug, or a damaged cache) where a row is missing
    or there twice.
    """
    rewards = np.full(rows, np.nan)
    statuses = np.zeros(rows, dtype=np.int8)
    tokens = np.zeros(rows, dtype=np.int32)
    there = np.zeros(rows, dtype=bool)
    extra: dict[int, str] = {}
    sources: dict[str, SourceCount] = {}
    total = 0
    for shard in range(count):
        path = shards.shard_path(folder, shard)
        scores, footer = shards.read(path), shards.read_footer(path)
        at = scores.rows
        rewards[at], statuses[at], tokens[at], there[at] = scores.rewards, scores.statuses, scores.tokens, True
        extra.update((int(row), text) for row, text in zip(at, scores.extra, strict=False) if text is not None)
        total += len(at)
        for name, seen in (footer.sources if footer else {}).items():
            sources[name] = _added(sources.get(name), seen)
    wanted = sum(stop - start for start, stop in kept)
    complete = sum(int(np.count_nonzero(there[start:stop])) for start, stop in kept)
    if not total == wanted == complete:
        raise AnalyzerError(
            f"{folder}: {total} scores for {wanted} rows, {complete} of them there; the cache is damaged, "
            "remove this run with `analyze-rollouts cache` and run again"
        )
    return Merged(rewards, statuses, tokens, there, extra, dict(sorted(sources.items())))


def _added(one: SourceCount | None, other: SourceCount) -> SourceCount:
    if one is None:
        return other
    missing = tuple(sorted([*one.missing, *other.missing])[:EXAMPLES])
    return SourceCount(one.rows + other.rows, one.found + other.found, missing)
