"""merge: the reducer. Files of scores in, one value per row out, each row exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.cache import score_files
from analyzer.cache.score_files import NO_ROLLOUTS, SourceCount
from analyzer.errors import AnalyzerError
from analyzer.rollouts.numbering import Numbering

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Merged(NamedTuple):
    """The scores of the analysed rows, in input order; arrays of shape (rollouts,)."""

    codes: NDArray[np.int32]  # the problem of each rollout
    rewards: NDArray[np.float64]  # NaN: not scored
    statuses: NDArray[np.int8]  # position in schema.STATUSES
    tokens: NDArray[np.int32]
    found: NDArray[np.bool_]  # whether the reward found an answer
    extra: dict[int, str]  # position -> further columns as a JSON object
    sources: dict[str, SourceCount]  # by data_source, sorted


def merge_shards(folder: str, total: int, numbering: Numbering) -> Merged:
    """Read shards 0 .. total-1 and put every score at its row.

    Raises AnalyzerError (a damaged cache) where a row is missing or there twice.
    """
    codes = numbering.row_codes()
    kept = codes >= 0
    codes = codes[kept]
    position = np.cumsum(kept) - 1 if not kept.all() else None
    size = len(codes)
    rewards, statuses, tokens = np.full(size, np.nan), np.zeros(size, np.int8), np.zeros(size, np.int32)
    found, there = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    extra: dict[int, str] = {}
    sources: dict[str, SourceCount] = {}
    read = 0
    for shard in range(total):
        scores, footer = score_files.read(score_files.shard_path(folder, shard))
        at = scores.rows if position is None else position[scores.rows]
        rewards[at], statuses[at], tokens[at], there[at] = scores.rewards, scores.statuses, scores.tokens, True
        found[at] = scores.found
        extra.update((int(row), text) for row, text in zip(at, scores.extra, strict=False) if text is not None)
        read += len(at)
        for name, seen in footer.sources.items():
            sources[name] = sources.get(name, NO_ROLLOUTS).plus(seen)
    if not read == size == int(there.sum()):
        raise AnalyzerError(
            f"{folder}: {read} scores for {size} rollouts, {int(there.sum())} of them there; {score_files.DAMAGED}"
        )
    return Merged(codes, rewards, statuses, tokens, found, extra, dict(sorted(sources.items())))
