"""Problems: the dialects of the reward information, turned into one record per problem.

The reward information of a row (`original_reward_model` unless named otherwise) is a struct with `ground_truth`, a
JSON string of one, or the bare ground truth. What neighbouring rows have in common is converted once.
"""

from __future__ import annotations

import ast
import hashlib
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.rollouts.json_columns import decode, is_encoded, is_shown_as_text
from analyzer.rollouts.json_text import dump_json, load_json
from analyzer.rollouts.neighbours import changed
from analyzer.schema import DATA_IDX, DATA_SOURCE, DEFAULT_REWARD_FN_KEY, EXTRA_INFO, ORIGINAL, PROMPT, Problem

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


BARE_GOLDS = ("ground_truth", "answer", "solution")
"""Columns of ground truths in data that has no reward_model, with and without the prefix, in this order."""


def gold_column_of(names: Sequence[str], reward_fn_key: str, converted: bool = False) -> str | None:
    """The column of the reward information among the `names` of a file of rollouts; None if there is none.

    converted: the rollouts were read from another program's layout; the column that the conversion made then comes
    first, whatever else the rows hold.
    """
    wanted = [ORIGINAL + reward_fn_key, reward_fn_key]
    if reward_fn_key == DEFAULT_REWARD_FN_KEY:
        bare = [name for bare in BARE_GOLDS for name in (ORIGINAL + bare, bare)]
        wanted = [bare[0], *wanted, *bare] if converted else [*wanted, *bare]
    return next((name for name in wanted if name in names), None)


class Groups(NamedTuple):
    """Neighbouring rows of one problem that also have everything else in common."""

    starts: NDArray[np.int64]  # (groups + 1,) first row of each group, then the number of rows
    problems: list[Problem]  # (groups,)
    unnamed: NDArray[np.bool_]  # (groups,) the data_idx is empty or holds NUL: such rows cannot be scored


class NoGroundTruth(Exception):
    """Raised for a row without a ground truth; `at` is its position in the table, the text says why there is none."""

    def __init__(self, reason: str, at: int = -1) -> None:
        super().__init__(reason)
        self.at = at


def group(table: pa.Table, common: Sequence[str], gold_column: str | None, data_source: str) -> Groups:
    """Group the rows of a table whose rows of one problem stand side by side.

    `common` names the columns that a problem is made of; `data_source`, unless empty, is that of all rows.
    Raises NoGroundTruth where `gold_column` is given and a row has none.
    """
    ids = table[DATA_IDX].combine_chunks()
    differs = changed(ids)
    columns: dict[str, tuple[pa.Array, pa.Field]] = {}
    for name in common:
        column, field = table[name].combine_chunks(), table.schema.field(name)
        columns[name] = ground_truth_part(column, field) if name == gold_column else (column, field)
        differs |= changed(columns[name][0])
    # Only the first row of a group becomes Python objects: with 16 rollouts a problem that is a sixteenth of the rows.
    first = np.flatnonzero(differs)
    values = {name: _python_values(column.take(first), field) for name, (column, field) in columns.items()}
    if gold_column is not None:
        golds = []
        for row, value in zip(first.tolist(), values[gold_column], strict=True):
            try:
                golds.append(ground_truth(value))
            except NoGroundTruth as error:
                raise NoGroundTruth(str(error), row) from None
        values[gold_column] = golds
    problems = _problems(values, len(first), gold_column, data_source)
    if gold_column is not None and is_shown_as_text(columns[gold_column][1]):
        problems = [problem._replace(gold_text=_number_as_text(problem.ground_truth)) for problem in problems]
    names = ids.take(first).to_pylist()
    unnamed = [not isinstance(name, int) and (not name or "\0" in name) for name in names]
    return Groups(np.append(first, table.num_rows), problems, np.array(unnamed, dtype=bool))


def _problems(values: dict[str, list[Any]], number: int, gold_column: str | None, data_source: str) -> list[Problem]:
    nothing = [None] * number
    sources = [data_source] * number if data_source else values[DATA_SOURCE]
    golds = values[gold_column] if gold_column is not None else nothing
    extras = values.get(EXTRA_INFO) or nothing
    if PROMPT not in values:
        return [Problem(*common) for common in zip(sources, golds, extras, strict=True)]
    names = [name for name in values if name.startswith(ORIGINAL)]
    return [
        Problem(*common, values[PROMPT][i], {name.removeprefix(ORIGINAL): values[name][i] for name in names})
        for i, common in enumerate(zip(sources, golds, extras, strict=True))
    ]


def _number_as_text(gold: Any) -> str | None:
    """5 as "5", for rewards that compare texts: its column holds text. None if it is not a finite number."""
    if isinstance(gold, bool) or not isinstance(gold, int | float) or not math.isfinite(gold):
        return None
    return dump_json(gold)


def identities(
    table: pa.Table | pa.RecordBatch, columns: Sequence[str], gold_column: str | None, *, strict: bool = False
) -> NDArray[np.uint64]:
    """(rows,) 64 bits of a digest of what makes a problem: equal where prompt, ground truth and the like are equal.

    `columns`: those that make a problem, in their held form; of `gold_column` the ground truth alone counts. Odd where
    the prompt is null, so that nothing tells the problem from others. Neighbours that are the same cost one comparison,
    not a digest each.

    Raises NoGroundTruth for a row without one that can be read where that is `strict`.
    """
    differs = np.zeros(table.num_rows, dtype=bool)
    parts: list[tuple[pa.Array, pa.Field]] = []
    for name in columns:
        column, field = table.column(name), table.schema.field(name)
        column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        parts.append(ground_truth_part(column, field) if name == gold_column else (column, field))
        differs |= changed(parts[-1][0])
    first = np.flatnonzero(differs)
    values = [_python_values(column.take(first), field) for column, field in parts]
    if gold_column is not None and gold_column in columns:
        at = list(columns).index(gold_column)
        values[at] = [_or_itself(value, row, strict) for row, value in zip(first.tolist(), values[at], strict=True)]
    digests = [
        hashlib.blake2b(repr(row).encode(errors="surrogatepass"), digest_size=8).digest()
        for row in zip(*values, strict=True)
    ]
    found = np.frombuffer(b"".join(digests), dtype="<u8") & ~np.uint64(1)
    if PROMPT in columns:
        found |= np.array([prompt is None for prompt in values[list(columns).index(PROMPT)]], dtype=np.uint64)
    return np.repeat(found, np.diff(np.append(first, table.num_rows)))


def _or_itself(value: Any, row: int, strict: bool) -> Any:
    """The ground truth in a value; without one NoGroundTruth where that is `strict`, else the value as it is."""
    try:
        return ground_truth(value)
    except NoGroundTruth as error:
        if strict:
            raise NoGroundTruth(str(error), row) from None
        return value  # rewards that came with the input need no ground truth that can be read


def is_record(field: pa.Field) -> bool:
    """Whether the reward information of this type is a struct with the ground truth in it."""
    import pyarrow as pa

    # A struct of other members is a bare ground truth, the test cases of a program for instance.
    return bool(pa.types.is_struct(field.type)) and field.type.get_field_index("ground_truth") >= 0


def ground_truth_part(column: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Field]:
    """The member of the reward information that is the ground truth, where it is a struct with one."""
    import pyarrow.compute as pc

    if is_record(field):
        return pc.struct_field(column, "ground_truth"), column.type.field("ground_truth")
    return column, field


def ground_truth(value: Any) -> Any:
    """The ground truth in one value of the reward information: a struct, a JSON string of one, or the bare thing.

    Raises NoGroundTruth where it is null, and for a record without one, as a struct or as text. A text that begins as
    a record and cannot be read is not a bare ground truth: no answer would ever be equal to it.
    """
    if isinstance(value, str) and _is_record(value):
        try:
            value = load_json(value)
        except (ValueError, RecursionError):
            raise NoGroundTruth(_unreadable(value)) from None
    elif isinstance(value, str) and value.startswith('"') and _is_record(value[1:].replace('\\"', '"')):
        raise NoGroundTruth(f"is JSON in JSON: {_shown(value)}; it was written with json.dumps twice, write it once")
    if isinstance(value, dict) and ("ground_truth" in value or "style" in value):
        if "ground_truth" not in value:
            raise NoGroundTruth(
                f"is missing: {_shown(str(value))} has no ground_truth; fill it in or leave the row out"
            )
        value = value["ground_truth"]
    if value is None:
        raise NoGroundTruth("is null; fill it in or leave the row out")
    return value


# Spaces are bounded: this is matched against texts of any length, once a row.
_STYLE = re.compile(r"""\s{0,99}\{\s{0,99}["']style["']\s{0,99}:""")


def _is_record(text: str) -> bool:
    """Whether a text is meant to be {"style": ..., "ground_truth": ...}, well written or not."""
    named = '"ground_truth"' in text or "'ground_truth'" in text
    return (named and text.lstrip().startswith("{")) or _STYLE.match(text) is not None


def _unreadable(text: str) -> str:
    """Why a record that is text cannot be read, and what to do about it."""
    try:
        # literal_eval runs nothing of the text. Its length is bounded because a syntax tree is many times as large.
        meant = ast.literal_eval(text) if len(text) < _LONGEST_REPR else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        meant = None
    if isinstance(meant, dict):
        return f"is the text of a Python dict, not JSON: {_shown(text)}; write it with json.dumps, or as a struct"
    return f"is in a text that is not JSON, perhaps cut off: {_shown(text)}; write it with json.dumps, or as a struct"


_LONGEST_REPR = 100_000


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _python_values(column: pa.Array, field: pa.Field) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [decode(value, field) for value in values] if is_encoded(field) else values
