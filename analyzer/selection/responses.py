"""responses: the rollouts that sft, dpo and kto files are made of, gathered by problem.

One pass over rollouts_with_rewards.parquet keeps the candidates in a temporary file; then they are read problem by
problem in the order of the output, whatever their order in the rollouts was.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from analyzer.errors import ConfigError
from analyzer.files import outputs
from analyzer.files.spool import Spool
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.finish import was_cut_off
from analyzer.schema import (
    DATA_IDX,
    FINISH_REASON,
    MAX_TOKENS,
    RESPONSE,
    RESPONSE_TOKENS,
    REWARD,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
    Status,
    least_passing,
    threshold_of,
)
from analyzer.selection.analysis import Analysis
from analyzer.selection.formats._responses import Response

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

_KEPT = (RESPONSE, REWARD, RESPONSE_TOKENS)
_PASSING = "passing"  # column of the temporary file


class Candidates:
    """The rollouts of some problems that may be taken, in a temporary file; a context manager."""

    def __init__(self, analysis: Analysis, kept: IntArray, folder: str) -> None:
        """`kept`: rows of problems.parquet. Raises ConfigError for an analysis without text."""
        import pyarrow as pa

        self._least = least_passing(threshold_of(analysis.summary))
        rollouts = _rollouts(analysis)
        kept_fields = [rollouts.schema.field(name) for name in _KEPT]
        self._spool = Spool(pa.schema([*kept_fields, pa.field(_PASSING, pa.bool_())]), folder)
        self._texts = False
        # Rollouts that were left out, by problem.
        self._unscored, self._cut = (np.zeros(analysis.problems.rows, np.int64) for _ in range(2))
        codes = list(self._gather(analysis, rollouts, kept))
        if rollouts.rows and not self._texts:
            raise ConfigError(
                f"--format sft, dpo and kto take responses, and {analysis.folder} has none: its rollouts are rewards "
                "or counts alone"
            )
        self._spool.finish()
        code = np.concatenate(codes) if codes else np.zeros(0, np.int64)
        # Stable: within a problem the rollouts stay in input order, so the result does not depend on the sort.
        self._order = np.argsort(code, kind="stable")
        # Sorted by problem, the rows of each are a slice: no dictionary of lists for millions of rollouts.
        self._edges = np.searchsorted(code[self._order], np.arange(analysis.problems.rows + 1))

    def __enter__(self) -> Candidates:
        self._spool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.__exit__(None, None, None)

    def left_out(self, problems: IntArray) -> dict[str, int]:
        """Rollouts of these problems that take no part, by reason."""
        return {"unscored": int(self._unscored[problems].sum()), "cut_off": int(self._cut[problems].sum())}

    def of(self, problems: IntArray) -> tuple[list[list[Response]], list[list[Response]]]:
        """The passing and the failing candidates of each of these problems; (problems,) lists each."""
        places = [self._order[self._edges[row] : self._edges[row + 1]] for row in problems]
        sizes = [len(place) for place in places]
        if not sum(sizes):
            return [[] for _ in sizes], [[] for _ in sizes]
        # One read for all problems asked for; then the rows are dealt out again by the sizes.
        rows = self._spool.take(np.concatenate(places))
        responses = map(Response, *(rows.column(name).to_pylist() for name in _KEPT))
        passes = iter(rows.column(_PASSING).to_pylist())
        passing, failing = list[list[Response]](), list[list[Response]]()
        for size in sizes:
            those = [next(responses) for _ in range(size)]
            right = list(itertools.islice(passes, size))
            passing.append([response for response, passed in zip(those, right, strict=True) if passed])
            failing.append([response for response, passed in zip(those, right, strict=True) if not passed])
        return passing, failing

    def _gather(self, analysis: Analysis, rollouts: Dataset, kept: IntArray) -> Iterator[NDArray[np.int64]]:
        """Put the candidates of each batch away; the problems (rows of problems.parquet) they are of."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = analysis.column(DATA_IDX)
        row_of = {name: row for row, name in enumerate(ids.to_pylist())}
        wanted = np.zeros(len(ids) + 1, bool)  # the last is of problems that the analysis has not (--limit)
        wanted[kept] = True
        needed = (DATA_IDX, *_KEPT, REWARD_STATUS, REWARD_PASS_VALUE, FINISH_REASON, MAX_TOKENS)
        columns = [name for name in needed if name in rollouts.schema.names]
        for _, batch in Reader(rollouts.files, columns).batches([(0, rollouts.rows)]):
            table = pa.Table.from_batches([batch])
            # By code, the Python dict is asked once for each problem of the batch and not for each rollout.
            names = table.column(DATA_IDX).combine_chunks().cast(ids.type).dictionary_encode()
            rows = np.array([row_of.get(name, -1) for name in names.dictionary.to_pylist()], np.int64)
            code = rows[names.indices.to_numpy()]
            mine = wanted[code]
            scored = pc.equal(table.column(REWARD_STATUS), str(Status.OK)).to_numpy()
            cut = _cut_off(table)
            # Each rollout is counted for one reason: one without a reward is not counted as cut off, too.
            np.add.at(self._unscored, code[mine & ~scored], 1)
            np.add.at(self._cut, code[mine & scored & cut], 1)
            texts = table.column(RESPONSE).is_valid().to_numpy()
            self._texts = self._texts or bool(texts.any())
            chosen = mine & scored & ~cut & texts
            if chosen.any():
                deciding = table.column(REWARD)
                if REWARD_PASS_VALUE in table.column_names:  # of a sum, one part says what passes
                    deciding = pc.coalesce(table.column(REWARD_PASS_VALUE), deciding)
                taken = table.select(list(_KEPT)).append_column(_PASSING, pc.greater_equal(deciding, self._least))
                # Without a tokenizer nothing is counted: the shortest is then the one of the fewest characters.
                characters = pc.utf8_length(taken[RESPONSE]).cast(taken.schema.field(RESPONSE_TOKENS).type)
                lengths = pc.coalesce(taken[RESPONSE_TOKENS], characters)
                taken = taken.set_column(_KEPT.index(RESPONSE_TOKENS), RESPONSE_TOKENS, lengths)
                taken = taken.filter(pa.array(chosen)).combine_chunks()
                # The text goes to disk at once; in memory stays one number for each candidate.
                for piece in taken.to_batches():
                    self._spool.add(piece)
                yield code[chosen]


def _rollouts(analysis: Analysis) -> Dataset:
    if outputs.ROLLOUTS not in analysis.files:
        raise _without_text(analysis)
    file, schema = dataset.describe(os.path.join(analysis.folder, outputs.ROLLOUTS))
    if not {DATA_IDX, REWARD_STATUS, *_KEPT} <= set(schema.names):
        raise _without_text(analysis)
    return Dataset((file,), schema)


def _without_text(analysis: Analysis) -> ConfigError:
    return ConfigError(
        f"--format sft, dpo and kto take responses from {outputs.ROLLOUTS}, and {analysis.folder} was written without "
        "it (--outputs problems): run analyze_rollouts again with --outputs all, nothing is scored again"
    )


def _cut_off(table: pa.Table) -> NDArray[np.bool_]:
    """(rows,) whether each response ends at its token limit, as far as the rollouts tell."""
    import pyarrow.compute as pc

    if FINISH_REASON in table.column_names:
        return was_cut_off(table.column(FINISH_REASON))
    if MAX_TOKENS in table.column_names:
        limit = table.column(MAX_TOKENS)
        reached = pc.and_(pc.greater(limit, 0), pc.greater_equal(table.column(RESPONSE_TOKENS), limit))
        return np.asarray(reached.fill_null(False).to_numpy(), bool)
    return np.zeros(table.num_rows, bool)
