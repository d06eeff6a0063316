"""swift: messages and solution, as ms-swift's GRPO with its accuracy reward reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class Swift(Format):
    """No `prompt` beside `messages`: ms-swift would take it for a second question."""

    name = "swift"
    reads = "ms-swift: messages (chat list), solution"
    gold_column = "solution"

    def check(self, schema: pa.Schema) -> None:
        super().check(schema)
        _columns.refuse_media(schema, self.name)

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        own = "solution" in table.column_names
        solution = table.column("solution") if own else _columns.ground_truth(table)
        made = {"messages": _columns.chat(table), "solution": solution}
        if _columns.SOURCE in table.column_names:
            made[_columns.SOURCE] = table.column(_columns.SOURCE)
        rest = _columns.metrics(table)
        return pa.table({**made, **{name: rest.column(name) for name in rest.column_names}})
