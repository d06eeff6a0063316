"""trl: prompt and solution, as TRL's GRPOTrainer and RLOOTrainer with accuracy_reward read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class Trl(Format):
    """The prompt stays a text or a chat list; every other column goes to the reward functions by its name."""

    name = "trl"
    reads = "TRL GRPOTrainer, RLOOTrainer: prompt (text or chat list), solution; the rest goes to the reward functions"
    gold_column = "solution"

    def rows(self, table: pa.Table) -> pa.Table:
        columns = {}
        if self.context.json_chats:
            columns[PROMPT] = _columns.chat(table)
        if "solution" not in table.column_names:
            columns["solution"] = _columns.ground_truth(table)
        return _columns.replaced(_columns.without_made(table, keep=("solution",)), columns)
