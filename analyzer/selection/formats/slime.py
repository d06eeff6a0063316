"""slime: prompt, label and metadata, for --input-key prompt --label-key label --apply-chat-template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class Slime(Format):
    """The prompt is a chat list, since slime gives it to the chat template as it is."""

    name = "slime"
    reads = "slime Dataset: prompt (chat list), label (text), metadata{data_source, index}"
    gold_column = "label"

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        columns = {PROMPT: _columns.chat(table)}
        if "label" not in table.column_names:
            columns["label"] = _columns.ground_truth(table)
        if "metadata" not in table.column_names:
            parts = {
                "data_source": _columns.sources(table, self.context.data_source),
                "index": table.column(_columns.DATA_IDX).combine_chunks(),
            }
            fields = [pa.field(name, values.type) for name, values in parts.items()]
            columns["metadata"] = pa.StructArray.from_arrays(list(parts.values()), fields=fields)
        return _columns.replaced(_columns.without_made(table, keep=("label",)), columns)
