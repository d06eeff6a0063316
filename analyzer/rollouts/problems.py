"""Problems: the dialects of the reward information, turned into one record per problem.

The reward information of a row (`original_reward_model` unless named otherwise) is a struct with `ground_truth`, a
JSON string of one, or the bare ground truth. What neighbouring rows have in common is converted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.rollouts.json_columns import decode, is_encoded, load_json
from analyzer.rollouts.neighbours import changed
from analyzer.schema import DATA_IDX, DATA_SOURCE, EXTRA_INFO, ORIGINAL, PROMPT, Problem

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Groups(NamedTuple):
    """Neighbouring rows of one problem that also have everything else in common."""

    starts: NDArray[np.int64]  # (groups + 1,) first row of each group, then the number of rows
    problems: list[Problem]  # (groups,)
    unnamed: NDArray[np.bool_]  # (groups,) the data_idx is empty or holds NUL: such rows cannot be scored


class NullGroundTruth(Exception):
    """Raised for a row without a ground truth; `at` is its position in the table."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def group(table: pa.Table, common: Sequence[str], gold_column: str | None, data_source: str) -> Groups:
    """Group the rows of a table whose rows of one problem stand side by side.

    `common` names the columns that a problem is made of; `data_source`, unless empty, is that of all rows.
    Raises NullGroundTruth where `gold_column` is given and a row has none.
    """
    ids = table[DATA_IDX].combine_chunks()
    differs = changed(ids)
    columns: dict[str, tuple[pa.Array, pa.Field]] = {}
    for name in common:
        column, field = table[name].combine_chunks(), table.schema.field(name)
        columns[name] = ground_truth_part(column, field) if name == gold_column else (column, field)
        differs |= changed(columns[name][0])
    first = np.flatnonzero(differs)
    values = {name: _python_values(column.take(first), field) for name, (column, field) in columns.items()}
    if gold_column is not None:
        values[gold_column] = [ground_truth(value) for value in values[gold_column]]
        missing = [i for i, gold in enumerate(values[gold_column]) if gold is None]
        if missing:
            raise NullGroundTruth(int(first[missing[0]]))
    problems = _problems(values, len(first), gold_column, data_source)
    return Groups(np.append(first, table.num_rows), problems, _unnamed(ids.take(first)))


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


def is_record(field: pa.Field) -> bool:
    """Whether the reward information of this type is a struct with the ground truth in it."""
    import pyarrow as pa

    return bool(pa.types.is_struct(field.type)) and field.type.get_field_index("ground_truth") >= 0


def ground_truth_part(column: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Field]:
    """The member of the reward information that is the ground truth, where it is a struct with one."""
    import pyarrow.compute as pc

    if is_record(field):
        return pc.struct_field(column, "ground_truth"), column.type.field("ground_truth")
    return column, field


def ground_truth(value: Any) -> Any:
    """The ground truth in one value of the reward information: a struct, a JSON string of one, or the bare thing."""
    if isinstance(value, str) and value.lstrip().startswith("{") and '"ground_truth"' in value:
        try:
            said = load_json(value)
        except (ValueError, RecursionError):
            return value
        value = said if isinstance(said, dict) and "ground_truth" in said else value
    if isinstance(value, dict) and "ground_truth" in value:
        return value["ground_truth"]
    return value


def _python_values(column: pa.Array, field: pa.Field) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [decode(value, field) for value in values] if is_encoded(field) else values


def _unnamed(ids: pa.Array) -> NDArray[np.bool_]:
    import pyarrow as pa

    if pa.types.is_integer(ids.type):
        return np.zeros(len(ids), dtype=bool)
    return np.array([not name or "\0" in name for name in ids.to_pylist()], dtype=bool)
