"""merge: the reducer. Files of scores in, one value per row out, each row exactly once.

What is held of each rollout decides how many one driver can take: 20 bytes, of which the reward takes 4 wherever that
is exact, and columns that no rollout has take none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.cache import score_files
from analyzer.cache.score_files import NO_ROLLOUTS, Scores, ShardFooter, SourceCount
from analyzer.cache.texts import Texts
from analyzer.difficulty.answers import NO_MAJORITIES, Majorities, majorities
from analyzer.errors import AnalyzerError
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import PASS_THRESHOLD, least_passing

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    # The places of the rollouts of a shard: a slice where they stand together, as they nearly always do.
    Places = slice | NDArray[np.int64]

_ENOUGH_ROWS = 1 << 20  # rollouts whose answers are counted at a time: few enough for memory, many for numpy
_AHEAD = 2  # shards that are read while another one is put in its place


class Clashes(NamedTuple):
    """Problems whose rows are not all of one identity."""

    problems: int
    row: int  # global row numbers of two rows of one of them that differ; -1 for none
    other: int


class Merged(NamedTuple):
    """The scores of the analyzed rows, in input order; arrays of shape (rollouts,) unless said."""

    codes: NDArray[np.int32]  # the problem of each rollout
    rewards: NDArray[np.floating]  # NaN: not scored; float32 where that holds every reward exactly, else float64
    statuses: NDArray[np.int8]  # position in schema.STATUSES
    tokens: NDArray[np.int32]
    found: NDArray[np.bool_]  # whether an answer was found
    answers: NDArray[np.int32]  # position in `texts`; -1: none
    texts: pa.LargeStringArray  # distinct answers of each shard
    extra: NDArray[np.int32] | None  # position in `extra_texts`, -1: none; None: no rollout has any
    extra_texts: pa.LargeStringArray  # further columns as JSON objects, the distinct ones of each shard
    sources: dict[str, SourceCount]  # by data_source, sorted
    golds: NDArray[np.int8]  # (problems,) whether the ground truth can earn the maximum: a code of score_files.GOLDS
    source: NDArray[np.int32]  # (problems,) position in source_names
    source_names: tuple[str, ...]  # sorted
    majorities: Majorities  # (problems,) with codes that are positions in `texts`
    identities: NDArray[np.uint64]  # (problems,) of the first row of each: equal where prompt and ground truth are
    clashes: Clashes
    passing: NDArray[np.bool_]  # whether each is scored and passes
    pass_values: NDArray[np.float64] | None  # compared with the threshold where not NaN, else the reward is; None: it
    parts: dict[str, NDArray[np.float64]]  # of sums of rewards: what each part gave, by name; NaN: nothing

    @property
    def deciding(self) -> NDArray[np.floating]:
        """What is compared with the threshold: the reward, or the part of it that decides."""
        if self.pass_values is None:
            return self.rewards
        deciding: NDArray[np.floating] = np.where(np.isnan(self.pass_values), self.rewards, self.pass_values)
        return deciding

    def for_files(self) -> Merged:
        """What the output files are made of: without the problem, `found` and `passing` of each rollout (6 of 19 bytes)
        and the identities of problems."""
        none: NDArray[Any] = np.zeros(0, np.int8)
        return self._replace(codes=none, found=none, passing=none, identities=none)


def merge_shards(folder: str, total: int, numbering: Numbering, threshold: float = PASS_THRESHOLD) -> Merged:
    """Read shards 0 .. total-1 and put every score at its row.

    threshold: the reward from which on a rollout, and so its answer, passes. Raises AnalyzerError (a damaged cache)
    where a row is missing or there twice.
    """
    codes = numbering.row_codes()
    # With --limit, row numbers are no places among the analyzed rows; without it they are, and an array is saved.
    position = None
    if (numbering.run_codes < 0).any():
        kept = codes >= 0
        codes, position = codes[kept], np.cumsum(kept) - 1
    rows, problems = _Rows(len(codes)), _Problems(numbering.problems)
    counted = _Counted(numbering.problems)
    sources: dict[str, SourceCount] = {}
    read = 0
    for scores, footer in _read_ahead(folder, total):
        at = _places(scores.rows if position is None else position[scores.rows])
        rows.put(at, scores, threshold)
        problems.add(codes[at], scores)
        counted.add(codes[at], rows.answers[at], rows.passing[at])
        read += len(scores.rows)
        for name, seen in footer.sources.items():
            sources[name] = sources.get(name, NO_ROLLOUTS).plus(seen)
    # Both counts are needed: a row twice and another one missing give the right sum.
    if not read == len(codes) == int(rows.there.sum()):
        raise AnalyzerError(
            f"{folder}: {read} scores for {len(codes)} rollouts, {int(rows.there.sum())} of them there; "
            f"{score_files.DAMAGED}"
        )
    source_names, source = problems.by_name()
    return Merged(
        codes=codes,
        rewards=rows.rewards,
        statuses=rows.statuses,
        tokens=rows.tokens,
        found=rows.found,
        answers=rows.answers,
        texts=rows.texts.array(),
        extra=rows.extra,
        extra_texts=rows.extra_texts.array(),
        sources=dict(sorted(sources.items())),
        golds=problems.golds,
        source=source,
        source_names=source_names,
        majorities=counted.result(),
        identities=problems.identities,
        clashes=problems.clashes,
        passing=rows.passing,
        pass_values=rows.pass_values,
        parts=dict(sorted(rows.parts.items())),
    )


class _Rows:
    """A value for each analyzed rollout, put at its place shard by shard; arrays of shape (rollouts,)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.rewards: NDArray[np.floating] = np.full(size, np.nan, np.float32)
        self.statuses, self.tokens = np.zeros(size, np.int8), np.zeros(size, np.int32)
        self.found, self.answers = np.zeros(size, dtype=bool), np.full(size, -1, np.int32)
        self.there, self.passing = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        # Most runs have none of these, which would be the largest arrays.
        self.pass_values: NDArray[np.float64] | None = None
        self.extra: NDArray[np.int32] | None = None
        self.parts: dict[str, NDArray[np.float64]] = {}
        self.texts, self.extra_texts = Texts(), Texts()

    def put(self, at: Places, scores: Scores, threshold: float) -> None:
        """The scores of one shard, whose rows are at these places."""
        if self.rewards.dtype == np.float32 and not _is_exact(scores.rewards):
            self.rewards = self.rewards.astype(np.float64)
        self.rewards[at], self.statuses[at], self.tokens[at] = scores.rewards, scores.statuses, scores.tokens
        self.there[at], self.found[at] = True, scores.found
        self.answers[at] = _added(self.texts, scores.answers)
        deciding = scores.rewards
        if not (no_value := np.isnan(scores.pass_values)).all():
            self.pass_values = np.full(self._size, np.nan) if self.pass_values is None else self.pass_values
            self.pass_values[at] = scores.pass_values
            deciding = np.where(no_value, scores.rewards, scores.pass_values)
        self.passing[at] = deciding >= least_passing(threshold)
        for name, values in scores.parts.items():
            self.parts.setdefault(name, np.full(self._size, np.nan))[at] = values
        if len(scores.extra.dictionary):
            self.extra = np.full(self._size, -1, np.int32) if self.extra is None else self.extra
            self.extra[at] = _added(self.extra_texts, scores.extra)


def _read_ahead(folder: str, total: int) -> Iterator[tuple[Scores, ShardFooter]]:
    """The files of scores in their order; hashing and decoding, in a thread, take as long as what is done here."""
    paths = (score_files.shard_path(folder, shard) for shard in range(total))
    with ThreadPoolExecutor(1) as thread:
        waiting = [thread.submit(score_files.read, path) for path in itertools.islice(paths, _AHEAD)]
        while waiting:
            done = waiting.pop(0).result()
            waiting += [thread.submit(score_files.read, path) for path in itertools.islice(paths, 1)]
            yield done


def _places(rows: NDArray[np.int64]) -> Places:
    """Ascending neighbours as a slice: copying them is several times faster than looking each up."""
    size = len(rows)
    if size and rows[-1] - rows[0] == size - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _is_exact(rewards: NDArray[np.float64]) -> bool:
    """Whether 32 bits hold each of the rewards."""
    with np.errstate(over="ignore"):
        return np.array_equal(rewards.astype(np.float32).astype(np.float64), rewards, equal_nan=True)


class _Problems:
    """What the rows of each problem say of it; arrays of shape (problems,)."""

    def __init__(self, problems: int) -> None:
        self.golds = np.zeros(problems, np.int8)
        self.identities = np.zeros(problems, np.uint64)
        self.clashes = Clashes(0, -1, -1)
        self._source = np.zeros(problems, np.int32)
        self._names: dict[str, int] = {}  # position in the order in which they are seen, which `_source` holds

    def add(self, codes: NDArray[np.int32], scores: Scores) -> None:
        """The rows of one shard, of the problems `codes`."""
        # maximum.at, since a problem appears many times in `codes`: golds[codes] = max(...) would keep the last only.
        np.maximum.at(self.golds, codes, scores.golds)
        known = [self._names.setdefault(name, len(self._names)) for name in scores.sources.dictionary.to_pylist()]
        self._source[codes] = np.array(known, np.int32)[scores.sources.indices.to_numpy()]
        self._compare(codes, scores.rows, scores.identities)

    def by_name(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The data sources, sorted, and the position in them of each problem's."""
        names = tuple(sorted(self._names))
        rank = np.array([names.index(name) for name in self._names], np.int32)
        return names, rank[self._source]

    def _compare(self, codes: NDArray[np.int32], rows: NDArray[np.int64], identities: NDArray[np.uint64]) -> None:
        """Find rows of one problem that differ; a shard holds whole problems, so what differs at all differs here."""
        # Windows of scattered rows mix the problems, so the first row of each is found by sorting.
        if (codes[1:] < codes[:-1]).any() or (rows[1:] < rows[:-1]).any():
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
