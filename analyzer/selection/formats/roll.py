"""roll: id, messages as JSON text, tag, ground_truth and difficulty, as ROLL's RLVR pipeline reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from analyzer.schema import DIFFICULTY
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa

_DIFFICULTY = DIFFICULTY + "pass_rate"


@register
class Roll(Format):
    """`tag` is the data source, by which ROLL chooses the domain (tag_2_domain); `difficulty` is the pass rate."""

    name = "roll"
    reads = "ROLL RLVR pipeline: jsonl with id, messages (JSON text), tag, ground_truth, difficulty"
    endings = (".jsonl",)

    def check(self, schema: pa.Schema) -> None:
        _columns.need_ground_truth(schema, self.name)
        _columns.refuse_media(schema, self.name)

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        messages = [orjson.dumps(value).decode() for value in _columns.chat(table).to_pylist()]
        made = {
            "id": table.column(_columns.DATA_IDX).cast(pa.string()),
            "messages": pa.array(messages, pa.string()),
            "tag": _columns.sources(table, self.context.data_source),
            "ground_truth": _columns.every_ground_truth(table, self.name),
            "difficulty": table.column(_DIFFICULTY),
        }
        rest = _columns.metrics(table)
        return pa.table({**made, **{name: rest.column(name) for name in rest.column_names}})
