"""rows: the rows of problems.parquet as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.selection.formats import Format, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class Rows(Format):
    """The training row, the flat ground truth, the metrics."""

    name = "rows"
    reads = "the training data's own columns, solution and label, difficulty_*"

    def rows(self, table: pa.Table) -> pa.Table:
        return table
