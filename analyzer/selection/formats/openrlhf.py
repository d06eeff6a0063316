"""openrlhf: prompt, label and datasource, for --data.input_key prompt --data.label_key label with its chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class OpenRlhf(Format):
    """Chat prompts need --data.apply_chat_template; `label` reaches the reward function as text."""

    name = "openrlhf"
    reads = "OpenRLHF PromptDataset: prompt (chat list), label (text), datasource"
    gold_column = "label"

    def rows(self, table: pa.Table) -> pa.Table:
        columns = {PROMPT: _columns.chat(table)}
        if "label" not in table.column_names:
            columns["label"] = _columns.ground_truth(table)
        if _columns.SOURCE in table.column_names or self.context.data_source is not None:
            columns["datasource"] = _columns.sources(table, self.context.data_source)
        return _columns.replaced(_columns.without_made(table, keep=("label",)), columns)
