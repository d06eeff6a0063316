"""collisions: is each data_idx one problem, and each problem one data_idx?

Files that each number their problems from 0 put two problems under one data_idx: their rollouts are merged, and a pass
rate of 0.5 is that of a problem never solved and one always solved. A training set that repeats its problems puts one
under many. Both show in digests of prompt, ground truth and data source, which the workers take of the rows that they
read for scoring anyway (`problems.identities`) and commit with the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.errors import InputError
from analyzer.plan import Plan
from analyzer.rollouts import dataset, problems
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.numbering import RENUMBER, Numbering
from analyzer.schema import PROMPT
from analyzer.stages.merge import Merged

if TYPE_CHECKING:
    import pyarrow as pa

TOO_MANY = 0.01  # share of the problems from which on rows that differ are an error
REPEATED = 0.01  # share of the data_idx that repeat another one's problem, above which a warning says so
_LOOKED_AT = 32  # problems looked at before anything is scored
_SURELY = 0.1  # share of those that tells that all have TOO_MANY
_SHOWN = 60


def look(plan: Plan, numbering: Numbering) -> None:
    """Raise InputError where the first and last rows of a few problems tell that too many have rows that differ.

    Before hours of scoring; `check` counts all of them afterwards.
    """
    codes = np.unique(np.linspace(0, numbering.problems - 1, _LOOKED_AT, dtype=np.int64))
    # Files that number their problems alike are read one after the other, so the ends of a data_idx lie in different
    # files.
    first, last = numbering.first_rows()[codes], numbering.last_rows()[codes]
    rows = np.unique(np.concatenate([first, last]))
    # A row without a ground truth is refused as that, by its place, and not as one that differs from its neighbours.
    strict, parts = not plan.keep_rewards, []
    for row, batch in _rows(plan, rows.tolist()):
        try:
            parts.append(problems.identities(batch, plan.problem_columns, plan.truth_column, strict=strict))
        except problems.NoGroundTruth as error:
            where = dataset.locate(plan.files, row + error.at)
            raise InputError(f"{where}: the ground truth in {plan.truth_column} {error}") from None
    digests = np.concatenate(parts)
    differ = np.flatnonzero(digests[np.searchsorted(rows, first)] != digests[np.searchsorted(rows, last)])
    # All were looked at: counted as `check` does. Else a sample: an error only where it cannot be chance.
    enough = TOO_MANY * numbering.problems if numbering.problems <= _LOOKED_AT else _SURELY * _LOOKED_AT
    if differ.size >= enough:
        share = f"{differ.size} of {len(codes)} problems looked at"
        raise InputError(_sentence(plan, numbering, share, int(first[differ[0]]), int(last[differ[0]])))


def check(plan: Plan, numbering: Numbering, merged: Merged) -> tuple[str, ...]:
    """Warnings of problems that share a data_idx or have several. Raises InputError for too many of the former."""
    found = []
    clashes = merged.clashes
    if clashes.problems:
        share = f"{clashes.problems} of {numbering.problems} problems"
        sentence = _sentence(plan, numbering, share, clashes.row, clashes.other)
        if clashes.problems >= TOO_MANY * numbering.problems:
            raise InputError(sentence)
        found.append(f"{sentence}.")
    # The lowest bit is set where the prompt is null.
    known = merged.identities[merged.identities % 2 == 0]  # not those without a prompt, which nothing tells apart
    _, where, counts = np.unique(known, return_index=True, return_counts=True)
    repeated = len(known) - len(counts)
    if repeated > REPEATED * numbering.problems:
        most = int(np.lexsort((where, -counts))[0])  # of several the one that comes first
        alike = np.flatnonzero(merged.identities == known[where[most]])[:2]
        names = " and ".join(repr(numbering.ids[int(code)].as_py()) for code in alike)
        noun = "problem" if len(counts) == 1 else "problems"
        found.append(
            f"{len(known)} data_idx hold only {len(counts)} distinct {noun}: the same prompt and ground truth occur "
            f"up to {int(counts[most])} times, in data_idx {names} for instance. Each is measured by its own rollouts "
            "alone; if they are one problem, give its rollouts one data_idx, each with its own sample_idx."
        )
    return tuple(found)


def _sentence(plan: Plan, numbering: Numbering, share: str, row: int, other: int) -> str:
    """What differs between two rows of one data_idx, `row` before `other`, where they are, and what to do."""
    values = [
        {name: _shown(batch, name, plan) for name in plan.problem_columns}
        for _, batch in _rows(plan, [row, other])
        for batch in [batch.slice(at, 1) for at in range(batch.num_rows)]
    ]
    # Values are compared as shown, cut short: where they differ further on none does, and the prompt is named.
    names = [name for name in plan.problem_columns if values[0][name] != values[1][name]]
    name = PROMPT if PROMPT in names or not names else names[0]
    what = {PROMPT: "prompts", plan.truth_column: "ground truths"}.get(name, "data sources")
    code = int(numbering.row_codes()[row])
    one, two = (f"{values[i][name]} in {dataset.locate(plan.files, at)}" for i, at in enumerate((row, other)))
    return (
        f"the {what} of one data_idx differ in {share}, of data_idx {numbering.ids[code].as_py()!r} for instance: "
        f"{one}, {two}; these are different problems, whose rollouts would be mixed: {RENUMBER}"
    )


def _rows(plan: Plan, rows: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    reader = Reader(plan.files, list(plan.problem_columns), held=True)
    return reader.batches([(row, row + 1) for row in rows])


def _shown(batch: pa.RecordBatch, name: str, plan: Plan) -> str:
    """The value of a single row, for a person."""
    column, field = batch.column(name), batch.schema.field(name)
    if name == plan.truth_column:
        column, field = problems.ground_truth_part(column, field)
    text = " ".join(repr(column[0].as_py()).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
