"""merge: the reducer. Files of scores in, one value per row out, each row exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.cache import score_files
from analyzer.cache.score_files import NO_ROLLOUTS, SourceCount
from analyzer.cache.texts import Texts
from analyzer.difficulty.answers import NO_MAJORITIES, Majorities, majorities
from analyzer.errors import AnalyzerError
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import PASS_THRESHOLD

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

_ENOUGH_ROWS = 1 << 20  # rollouts whose answers are counted at a time: few enough for memory, many for numpy


class Clashes(NamedTuple):
    """Problems whose rows are not all of one identity."""

    problems: int
    row: int  # global row numbers of two rows of one of them that differ; -1 for none
    other: int


class Merged(NamedTuple):
    """The scores of the analysed rows, in input order; arrays of shape (rollouts,) unless said."""

    codes: NDArray[np.int32]  # the problem of each rollout
    rewards: NDArray[np.float64]  # NaN: not scored
    statuses: NDArray[np.int8]  # position in schema.STATUSES
    tokens: NDArray[np.int32]
    found: NDArray[np.bool_]  # whether an answer was found
    answers: NDArray[np.int32]  # position in `texts`; -1: none
    texts: pa.LargeStringArray  # distinct answers of each shard
    extra: dict[int, str]  # position -> further columns as a JSON object
    sources: dict[str, SourceCount]  # by data_source, sorted
    golds: NDArray[np.int8]  # (problems,) whether the ground truth can earn the maximum: a code of score_files.GOLDS
    source: IntArray  # (problems,) position in source_names
    source_names: tuple[str, ...]  # sorted
    majorities: Majorities  # (problems,) with codes that are positions in `texts`
    identities: NDArray[np.uint64]  # (problems,) of the first row of each: equal where prompt and ground truth are
    clashes: Clashes
    passing: NDArray[np.bool_]  # whether each is scored and passes
    pass_values: NDArray[np.float64]  # what was compared with the threshold where that is not the reward; else NaN
    parts: dict[str, NDArray[np.float64]]  # of sums of rewards: what each part gave, by name; NaN: nothing

    @property
    def deciding(self) -> NDArray[np.float64]:
        """What is compared with the threshold: the reward, or the part of it that decides."""
        return np.where(np.isnan(self.pass_values), self.rewards, self.pass_values)


def merge_shards(folder: str, total: int, numbering: Numbering, threshold: float = PASS_THRESHOLD) -> Merged:
    """Read shards 0 .. total-1 and put every score at its row.

    threshold: the reward from which on a rollout, and so its answer, passes. Raises AnalyzerError (a damaged cache)
    where a row is missing or there twice.
    """
    codes = numbering.row_codes()
    kept = codes >= 0
    codes = codes[kept]
    # With --limit, row numbers are no places among the analysed rows; without it they are, and the array is saved.
    position = np.cumsum(kept) - 1 if not kept.all() else None
    size = len(codes)
    rewards, statuses, tokens = np.full(size, np.nan), np.zeros(size, np.int8), np.zeros(size, np.int32)
    found, answers = np.zeros(size, dtype=bool), np.full(size, -1, np.int32)
    there, passing, pass_values = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool), np.full(size, np.nan)
    parts: dict[str, NDArray[np.float64]] = {}
    golds, source = np.zeros(numbering.problems, np.int8), np.zeros(numbering.problems, np.int64)
    extra: dict[int, str] = {}
    sources: dict[str, SourceCount] = {}
    names: dict[str, int] = {}  # in the order in which they are seen
    texts = Texts()
    counted = _Counted(numbering.problems)
    told = _Told(numbering.problems)
    read = 0
    for shard in range(total):
        scores, footer = score_files.read(score_files.shard_path(folder, shard))
        at = scores.rows if position is None else position[scores.rows]
        rewards[at], statuses[at], tokens[at], there[at] = scores.rewards, scores.statuses, scores.tokens, True
        found[at] = scores.found
        answers[at] = _added(texts, scores.answers)
        of = codes[at]
        # maximum.at, since a problem appears many times in `of`: golds[of] = max(...) would keep the last only.
        np.maximum.at(golds, of, scores.golds)
        known = [names.setdefault(name, len(names)) for name in scores.sources.dictionary.to_pylist()]
        source[of] = np.array(known, np.int64)[scores.sources.indices.to_numpy()]
        pass_values[at] = scores.pass_values
        passing[at] = np.where(np.isnan(scores.pass_values), scores.rewards, scores.pass_values) >= threshold
        for name, values in scores.parts.items():
            parts.setdefault(name, np.full(size, np.nan))[at] = values
        counted.add(of, answers[at], passing[at])
        extra.update((int(row), text) for row, text in zip(at, scores.extra, strict=False) if text is not None)
        read += len(at)
        told.add(of, scores.rows, scores.identities)
        for name, seen in footer.sources.items():
            sources[name] = sources.get(name, NO_ROLLOUTS).plus(seen)
    # Both counts are needed: a row twice and another one missing give the right sum.
    if not read == size == int(there.sum()):
        raise AnalyzerError(
            f"{folder}: {read} scores for {size} rollouts, {int(there.sum())} of them there; {score_files.DAMAGED}"
        )
    ordered = tuple(sorted(names))
    rank = np.array([ordered.index(name) for name in names], np.int64)
    return Merged(
        codes=codes,
        rewards=rewards,
        statuses=statuses,
        tokens=tokens,
        found=found,
        answers=answers,
        texts=texts.array(),
        extra=extra,
        sources=dict(sorted(sources.items())),
        golds=golds,
        source=rank[source] if len(rank) else source,
        source_names=ordered,
        majorities=counted.result(),
        identities=told.identities,
        clashes=told.clashes,
        passing=passing,
        pass_values=pass_values,
        parts=dict(sorted(parts.items())),
    )


class _Told:
    """What the rows of each problem say that it is."""

    def __init__(self, problems: int) -> None:
        self.identities = np.zeros(problems, np.uint64)
        self.clashes = Clashes(0, -1, -1)

    def add(self, codes: NDArray[np.int32], rows: NDArray[np.int64], identities: NDArray[np.uint64]) -> None:
        """The rows of one shard, which holds whole problems: what differs within one differs here."""
        # Windows of scattered rows mix the problems, so the first row of each is found by sorting.
        order = np.lexsort((rows, codes))
        codes, rows, identities = codes[order], rows[order], identities[order]
        starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)])
        self.identities[codes[starts]] = identities[starts]
        differing = np.flatnonzero(identities != self.identities[codes])
        if differing.size:
            problems, row, other = self.clashes
            if row < 0:
                first = starts[np.searchsorted(starts, differing[0], side="right") - 1]
                row, other = int(rows[first]), int(rows[differing[0]])
            self.clashes = Clashes(problems + len(np.unique(codes[differing])), row, other)


def _added(texts: Texts, answers: pa.DictionaryArray) -> NDArray[np.int32]:
    """Add the distinct answers of a shard in ascending order; the position of each rollout's, -1 for none.

    A problem is in one shard, so which of two equally frequent answers comes first does not depend on the shards.
    """
    import pyarrow.compute as pc

    order = pc.sort_indices(answers.dictionary)
    first = texts.add(answers.dictionary.take(order))
    place = np.full(len(order) + 1, -1, np.int32)  # the last one is for null
    place[order.to_numpy()] = first + np.arange(len(order))
    found: NDArray[np.int32] = place[answers.indices.fill_null(len(order)).to_numpy()]
    return found


class _Counted:
    """The answers of whole problems, counted some shards at a time."""

    def __init__(self, problems: int) -> None:
        self._result = Majorities(*(np.full(problems, empty, kind) for empty, kind in NO_MAJORITIES))
        self._held: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []
        self._rows = 0

    def add(self, codes: NDArray[np.int32], answers: NDArray[np.int32], passing: NDArray[np.bool_]) -> None:
        self._held.append((codes, answers, passing))
        self._rows += len(codes)
        if self._rows >= _ENOUGH_ROWS:
            self._count()

    def result(self) -> Majorities:
        self._count()
        return self._result

    def _count(self) -> None:
        if not self._held:
            return
        codes, answers, passing = (np.concatenate(parts) for parts in zip(*self._held, strict=True))
        self._held, self._rows = [], 0
        # Codes and answers are counted from 0 within these shards: majorities packs both into one 64-bit number.
        problems, local = np.unique(codes, return_inverse=True)
        first = max(int(answers.min(where=answers >= 0, initial=np.iinfo(np.int32).max)), 0)
        counted = majorities(local, np.where(answers >= 0, answers - first, -1), passing, len(problems))
        counted = counted._replace(
            answer=np.where(counted.answer >= 0, counted.answer + first, -1),
            wrong=np.where(counted.wrong >= 0, counted.wrong + first, -1),
        )
        for whole, part in zip(self._result, counted, strict=True):
            whole[problems] = part
