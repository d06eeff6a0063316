"""score: one shard's rollouts in, one small file of scores out. Runs in the workers.

A worker gets the run directory and the number of a shard; it reads its rows window by window,
counts tokens, hands each problem's responses to the reward of its data_source, and commits the scores. Text never
leaves it.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from analyzer.cache import runs, score_files
from analyzer.cache.verdicts import Verdicts
from analyzer.errors import AnalyzerError, InputError, UserError
from analyzer.plan import Plan, ScoringInput, Seal
from analyzer.rewards import GroupReward, leaves
from analyzer.rollouts import dataset, problems
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.json_text import dump_json
from analyzer.rollouts.neighbours import changed
from analyzer.rollouts.sources import cut_off_rows as cut_off
from analyzer.rollouts.windows import ROW, Window, windows
from analyzer.schema import (
    DATA_IDX,
    DATA_SOURCE,
    FINISH_REASON,
    MAX_TOKENS,
    NOT_COUNTED,
    RESPONSE,
    REWARD,
    REWARD_ANSWER,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
    STATUSES,
    TRANSIENT,
    Lengths,
    Problem,
    Score,
    Status,
)
from analyzer.scoring import Scorer, checked
from analyzer.tokens import TokenCounter, TokenizerSpec, load_ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES = {status: code for code, status in enumerate(STATUSES)}
_GOLD = {None: score_files.UNASKED, False: score_files.UNEARNABLE, True: score_files.EARNED}
_UNNAMED = Score(None, Status.INPUT_ERROR, detail="the data_idx is empty or holds NUL")
_NO_RESPONSE = Score(None, Status.INPUT_ERROR, detail="the response is null")


def score_shard(seal: Seal, folder: str, shard: int) -> int:
    """Score one shard of the plan in the run directory `folder` and commit its scores; returns the rollouts scored.

    `seal` says which plan that is. Raises UserError where the run directory holds it no longer, and where this process
    has other versions than the driver.

    Raises InputError for a null ground truth, with its place; RewardError where a reward cannot start;
    StorageError on a full disk. What a response does to its scorer is a status and raises nothing.
    """
    try:
        return _score_shard(seal, folder, shard)
    except AnalyzerError as error:
        if not seal.elsewhere:
            raise
        # What one node does not see is there on the next.
        raise type(error)(f"{error} (on the worker node {platform.node()})") from None


def _score_shard(seal: Seal, folder: str, shard: int) -> int:
    # By thread and not by process: rewards and child processes are not made to be shared, and dask runs several
    # threads.
    worker = _this_thread.worker(folder, seal)
    plan = worker.plan
    path = score_files.shard_path(runs.shards_folder(folder), shard)
    before = score_files.committed(path, plan.fingerprint, shard)
    # Files of scores are replaced as a whole, so one that can be read is complete.
    if before is not None and not before.unsettled:  # another driver has been here
        return 0
    ranges = worker.inputs.shards.of(shard)
    parts = windows(worker.reader, ranges, plan.together, plan.sizes)
    if before is None:
        scores = _joined([worker.score(window) for window in parts])
        unsettled = 0 if plan.keep_rewards else int(_transient(scores.statuses).sum())
        footer = score_files.ShardFooter(
            plan.fingerprint, shard, len(scores.rows), worker.take_counts(), unsettled=unsettled
        )
    else:
        scores, footer = _scored_again(worker, parts, *score_files.read(path))
    # Just before the commit: scores of rows that were written again meanwhile must not be kept under the old
    # fingerprint.
    for file in worker.reader.files_of(ranges):
        dataset.still_same(file)
    score_files.write(path, footer, scores)
    worker.verdicts.sync()
    return len(scores.rows)


def load_modules() -> None:
    """Import what any shard needs: this module, and what arrow and numpy import when they are first asked for it."""
    import numpy.ma  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401


def warm_up(spec: TokenizerSpec) -> None:
    """Load what any shard needs: modules, and what counts tokens."""
    load_modules()
    load_ahead(spec)


def _transient(statuses: NDArray[np.int8]) -> NDArray[np.bool_]:
    return np.isin(statuses, [_CODES[status] for status in TRANSIENT])


def _scored_again(
    worker: _Worker, parts: Iterable[Window], scores: score_files.Scores, footer: score_files.ShardFooter
) -> tuple[score_files.Scores, score_files.ShardFooter]:
    """The scores of a committed shard with its transient failures scored once more, and nothing else.

    A failure that comes twice in a row is taken for the rollout's own: the next run leaves it alone.
    """
    # Rows in a file of scores are in the order of the windows, not of the input, so the places are looked up.
    due = scores.rows[_transient(scores.statuses)]
    if any(isinstance(one, GroupReward) and one.needs_whole_group for one in leaves(worker.plan.rewards.values())):
        due = scores.rows  # what a rollout earns depends on the others of its problem
    new = _joined([worker.score(part) for part in (window.only(due) for window in parts) if len(part.rows)])
    order = np.argsort(scores.rows)
    at = order[np.searchsorted(scores.rows[order], new.rows)]
    # Only a failure of another kind than before is worth a further try; the same one again is the rollout's own.
    unsettled = _transient(new.statuses) & (new.statuses != scores.statuses[at])
    # Empty stands for "none has any", to keep the usual file small.
    extra = _listed(scores.extra)
    for place, text in zip(at, new.extra or [None] * len(at), strict=True):
        extra[place] = text
    merged = scores._replace(
        rewards=_with(scores.rewards, at, new.rewards),
        statuses=_with(scores.statuses, at, new.statuses),
        found=_with(scores.found, at, new.found),
        answers=_with(
            np.array(_listed(scores.answers), dtype=object), at, np.array(new.answers, dtype=object)
        ).tolist(),
        sources=_listed(scores.sources),
        # A ground truth that earned its maximum once can earn it, whatever became of the second try.
        golds=_with(scores.golds, at, np.maximum(scores.golds[at], new.golds)),
        extra=extra if any(extra) else [],
        pass_values=_with(scores.pass_values, at, new.pass_values),
        parts={name: _with(_part(scores, name), at, _part(new, name)) for name in sorted({*scores.parts, *new.parts})},
    )
    counts = worker.take_counts()
    sources = {name: _recounted(count, counts.get(name)) for name, count in footer.sources.items()}
    return merged, footer._replace(sources=sources, tries=footer.tries + 1, unsettled=int(unsettled.sum()))


def _listed(values: Any) -> list[Any]:
    """Values of a column as they were before they were written."""
    listed: list[Any] = values.to_pylist()
    return listed


AnyNumber = TypeVar("AnyNumber", bound=np.generic)


def _with(values: NDArray[AnyNumber], at: NDArray[np.int64], new: NDArray[AnyNumber]) -> NDArray[AnyNumber]:
    values = values.copy()
    values[at] = new
    return values


def _part(scores: score_files.Scores, name: str) -> NDArray[np.float64]:
    return scores.parts[name] if name in scores.parts else np.full(len(scores.rows), np.nan)


def _recounted(count: score_files.SourceCount, new: score_files.SourceCount | None) -> score_files.SourceCount:
    """What there is to say of a data_source whose transient failures, counted as found, have been scored again."""
    if new is None:
        return count
    lasting = {status: example for status, example in count.failed.items() if status not in TRANSIENT}
    # Failures count as found, so those that are scored again leave both counts before the new ones are added.
    rest = count._replace(rows=count.rows - new.rows, found=count.found - new.rows, failed=lasting)
    return rest.plus(new)


def end_worker() -> None:
    """End what this thread holds for its plan: child processes and open files."""
    _this_thread.end()


def _joined(parts: Sequence[score_files.Scores]) -> score_files.Scores:
    extra: list[str | None] = []
    if any(part.extra for part in parts):
        for part in parts:
            extra += part.extra or [None] * len(part.rows)
    return score_files.Scores(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.rewards for part in parts]),
        np.concatenate([part.statuses for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.found for part in parts]),
        extra,
        [answer for part in parts for answer in part.answers],
        [source for part in parts for source in part.sources],
        np.concatenate([part.golds for part in parts]),
        np.concatenate([part.identities for part in parts]),
        np.concatenate([part.pass_values for part in parts]),
        {
            name: np.concatenate([_part(part, name) for part in parts])
            for name in sorted({name for part in parts for name in part.parts})
        },
    )


class _Worker:
    """What one thread holds for one plan: the tokenizer and the scorers, built once."""

    def __init__(self, plan: Plan, inputs: ScoringInput, cache_dir: str) -> None:
        self.plan = plan
        self.verdicts = Verdicts(cache_dir, plan.verdict_parts, plan.versions)
        self.inputs = inputs
        columns = [*plan.all_columns, *([ROW] if plan.spilled else [])]
        self.reader = Reader(inputs.files, columns, held=True, batch_bytes=plan.sizes.batch)
        # What differs from rollout to rollout; the other columns are read once for each problem.
        of_rollouts = (DATA_IDX, RESPONSE, FINISH_REASON, MAX_TOKENS)
        self._common = [name for name in plan.columns if name not in of_rollouts]
        self._counter = TokenCounter(plan.tokenizer)
        self._scorers: dict[int, Scorer] = {}  # by reward: data sources that share one share its child process
        self._counts: dict[str, score_files.SourceCount] = {}

    def close(self) -> None:
        """End the processes of the scorers and close the files."""
        for scorer in self._scorers.values():
            scorer.close()
        self._scorers.clear()
        dataset.close_files()

    def take_counts(self) -> dict[str, score_files.SourceCount]:
        """What was seen of each data_source since the last call."""
        counts, self._counts = dict(sorted(self._counts.items())), {}
        return counts

    def score(self, window: Window) -> score_files.Scores:
        """The scores of one window."""
        if RESPONSE not in window.table.column_names:  # rewards alone
            # Not 0: a length of 0 would be a response, and pull the mean down.
            tokens = np.full(len(window.rows), NOT_COUNTED, dtype=np.int32)
            scored, sources, golds = self._kept(window)
        else:
            column = window.table[RESPONSE]
            absent = column.is_null().to_numpy().tolist() if column.null_count else None
            # Tokens of a missing response are those of an empty text; its status says that there was none.
            column = column.fill_null("") if absent else column
            tokens = self._counter.count_column(column)
            texts: list[str] = column.to_pylist()
            if self.plan.keep_rewards:
                scored, sources, golds = self._kept(window)
                self._count_copies(window, texts, sources)
            else:
                scored, sources, golds = self._graded(window, self._counter.stripped(column, texts), absent, tokens)
        extra: list[str | None] = []
        if any(score.extra for score in scored):
            extra = [_json(score.extra) if score.extra else None for score in scored]
        return score_files.Scores(
            window.rows,
            np.array([np.nan if score.reward is None else score.reward for score in scored], dtype=np.float64),
            np.array([_CODES[score.status] for score in scored], dtype=np.int8),
            tokens,
            np.array([score.found for score in scored], dtype=bool),
            extra,
            [score.answer for score in scored],
            sources,
            np.array(golds, dtype=np.int8),
            problems.identities(window.table, self.plan.problem_columns, self.plan.truth_column),
            np.array([np.nan if score.pass_value is None else score.pass_value for score in scored], dtype=np.float64),
            {
                name: np.array([score.parts.get(name, np.nan) for score in scored], dtype=np.float64)
                for name in sorted({name for score in scored for name in score.parts})
            },
        )

    def _kept(self, window: Window) -> tuple[list[Score], list[str], list[int]]:
        """The rewards that the input brings along, with the answers and data sources beside them."""
        rows = len(window.rows)
        statuses, answers, sources, deciding = (
            window.table[name].to_pylist() if name in window.table.column_names else [None] * rows
            for name in (REWARD_STATUS, REWARD_ANSWER, DATA_SOURCE, REWARD_PASS_VALUE)
        )
        scores = list(map(_kept_score, window.table[REWARD].to_pylist(), statuses, answers, deciding))
        return scores, [str(name or "") for name in sources], [score_files.UNASKED] * rows

    def _count_copies(self, window: Window, texts: list[str], sources: list[str]) -> None:
        """Count the long responses, and those that are equal to another of their problem, of rewards that were kept."""
        problem = np.cumsum(changed(window.table[DATA_IDX].combine_chunks()))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        long = np.flatnonzero(lengths >= score_files.LONG)
        # Of one problem and one length are few, so that few texts are hashed (as in _count).
        _, of, alike = np.unique(
            np.stack([problem[long], lengths[long]]), axis=1, return_inverse=True, return_counts=True
        )
        seen: set[tuple[int, str]] = set()
        copies: list[int] = []
        for row in long[alike[of.reshape(-1)] > 1].tolist():
            pair = (int(problem[row]), texts[row])
            copies += [row] if pair in seen else []
            seen.add(pair)
        rows, of_long, of_copies = (Counter(sources[row] for row in some) for some in (range(len(texts)), long, copies))
        for name, number in rows.items():
            counted = score_files.SourceCount(number, 0, (), {}, of_long[name], of_copies[name])
            self._counts[name] = self._counts.get(name, score_files.NO_ROLLOUTS).plus(counted)

    def _graded(
        self, window: Window, responses: list[str], absent: list[bool] | None, tokens: NDArray[np.int32]
    ) -> tuple[list[Score], list[str], list[int]]:
        """The scores of a window, problem by problem; `responses` are without special tokens.

        `absent`: which of them are null; None for none. `tokens`: their lengths.
        """
        counts, cut = tokens.tolist(), cut_off(window.table, tokens)
        try:
            groups = problems.group(window.table, self._common, self.plan.gold_column, self.plan.data_source or "")
        except problems.NoGroundTruth as error:
            where = dataset.locate(self.plan.files, int(window.rows[error.at]))
            raise InputError(f"{where}: the ground truth in {self.plan.gold_column} {error}") from None
        scores: list[Score] = []
        sources: list[str] = []
        golds: list[int] = []
        starts = groups.starts.tolist()
        for number, problem in enumerate(groups.problems):
            start, stop = starts[number], starts[number + 1]
            if groups.unnamed[number]:
                scores += [_UNNAMED] * (stop - start)
                sources += [problem.data_source] * (stop - start)
                golds += [score_files.UNASKED] * (stop - start)
                continue
            scorer, texts = self._scorer(problem), responses[start:stop]
            if absent is None or not any(absent[start:stop]):
                lengths = Lengths(counts[start:stop], None if cut is None else cut[start:stop])
                part = scorer.score(problem, texts, lengths)
            else:  # a response that is not there is no wrong answer, and no reward is asked about it
                here = [at for at in range(start, stop) if not absent[at]]
                there = [responses[at] for at in here]
                lengths = Lengths([counts[at] for at in here], None if cut is None else [cut[at] for at in here])
                given = iter(scorer.score(problem, there, lengths) if there else [])
                part = [_NO_RESPONSE if absent[at] else next(given) for at in range(start, stop)]
            seen = self._counts.get(problem.data_source, score_files.NO_ROLLOUTS)
            self._counts[problem.data_source] = seen.plus(_count(window.rows[start:stop], part, texts))
            scores += part
            sources += [problem.data_source] * (stop - start)
            golds += [_GOLD[scorer.earns(problem, part)]] * (stop - start)
        return scores, sources, golds

    def _scorer(self, problem: Problem) -> Scorer:
        reward = self.plan.rewards[problem.data_source]
        # By identity: data sources of equal choice share the object (Plan.rewards), and so one child process.
        scorer = self._scorers.get(id(reward))
        if scorer is None:
            scorer = self._scorers[id(reward)] = Scorer(reward, self.plan.limits, self.verdicts.of)
        return scorer


def _count(rows: Any, scores: Sequence[Score], texts: Sequence[str]) -> score_files.SourceCount:
    """What there is to say of the scores of one problem's rollouts; of several without an answer, one is shown."""
    missing = [i for i, score in enumerate(scores) if not score.found]
    failed: dict[str, tuple[int, str]] = {}
    if not all(score.status is Status.OK for score in scores):
        for i, score in enumerate(scores):
            if score.status is not Status.OK:
                failed.setdefault(str(score.status), (int(rows[i]), score.detail))
    # One example for each problem, so that those shown are of several.
    first = tuple(int(rows[i]) for i in missing[:1])
    long = [text for text in texts if len(text) >= score_files.LONG]
    # Nearly all differ in length: only those of one length are compared, for a hash is a pass over the text.
    by_length = Counter(map(len, long))
    alike = [text for text in long if by_length[len(text)] > 1]
    return score_files.SourceCount(
        len(scores), len(scores) - len(missing), first, failed, len(long), len(alike) - len(set(alike))
    )


def _kept_score(reward: Any, status: str | None, answer: Any = None, pass_value: Any = None) -> Score:
    """The reward of an input row (a number or null) as it is; a status of another program counts as none."""
    if status in STATUSES and status != Status.OK:
        return Score(None, Status(status))
    text = answer if isinstance(answer, str) else None
    if reward is None:
        return Score(None, Status.ABSTAIN)
    # A value that is not a finite number decides nothing; then the reward itself is compared with the threshold.
    decides = float(pass_value) if isinstance(pass_value, int | float) and np.isfinite(pass_value) else None
    return checked(Score(float(reward), answer=text, pass_value=decides))


def _json(extra: Any) -> str:
    return dump_json(dict(extra))  # orjson takes no integer past 64 bits, and functions return them


class _ThisThread(threading.local):
    """This thread's worker; a new plan ends the one before it."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] = ("", "", 0)
        self._worker: _Worker | None = None

    def worker(self, folder: str, seal: Seal) -> _Worker:
        # A worker of a running cluster outlives the cache: a run directory that was removed and made again has other
        # files.
        file = os.path.join(folder, seal.file)
        made = os.stat(file).st_mtime_ns if os.path.exists(file) else 0
        key = (folder, seal.sha256, made)
        if self._worker is None or self._key != key:
            self.end()
            plan = Plan.load(folder, seal)  # each thread its own: a reward may hold state
            # Scores are kept under the driver's versions, so those of a worker must be the same.
            if seal.elsewhere and (differs := plan.differs_here()):
                raise UserError(
                    f"{sys.executable} has {differs}: start the workers of the cluster from the environment of the "
                    "driver, and run the same command again"
                )
            self._key, self._worker = key, _Worker(plan, plan.scoring_input(folder), runs.cache_of(folder))
        self._worker.take_counts()  # of a shard that failed half-way
        return self._worker

    def end(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._key, self._worker = ("", "", 0), None


_this_thread = _ThisThread()
