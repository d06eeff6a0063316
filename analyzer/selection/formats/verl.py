"""verl: a chat prompt, data_source, reward_model and extra_info, as verl's RLHFDataset and its reward managers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.errors import ConfigError
from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa

REWARD_MODEL, EXTRA_INFO = "reward_model", "extra_info"


def is_verl(schema: pa.Schema) -> bool:
    """Whether training rows are verl's already."""
    import pyarrow as pa

    if not {PROMPT, _columns.SOURCE, REWARD_MODEL} <= set(schema.names):
        return False
    reward_model = schema.field(REWARD_MODEL).type
    return (
        _columns.is_chat(schema.field(PROMPT).type)
        and pa.types.is_struct(reward_model)
        and reward_model.get_field_index("ground_truth") >= 0
    )


@register
class Verl(Format):
    """Rows that are verl's stay untouched, so that the file can be concatenated with others; any other is made so.

    But for a data_source that is null, where --data_source has named the one of all.
    """

    name = "verl"
    reads = "verl RLHFDataset: prompt (chat list), data_source, reward_model{style, ground_truth}, extra_info{index}"

    def check(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        if not is_verl(schema):
            _columns.need_ground_truth(schema, self.name)
            _columns.need_source(schema, self.context.data_source, self.name)
            known = EXTRA_INFO in schema.names
            if known and not pa.types.is_struct(kind := schema.field(EXTRA_INFO).type) and not pa.types.is_null(kind):
                raise ConfigError(
                    f"--format verl needs {EXTRA_INFO} as a struct, and in the training data it is {kind}: parse it "
                    "there, or leave the column out"
                )

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        if is_verl(table.schema):
            rows, given = _columns.without_made(table), self.context.data_source
            kind = table.schema.field(_columns.SOURCE).type
            # By its type where it holds nothing but nulls: the columns must not depend on which rows are converted.
            if given is None or not (pa.types.is_null(kind) or table.column(_columns.SOURCE).null_count):
                return rows
            sources = _columns.sources(table, given)
            return _columns.replaced(rows, {_columns.SOURCE: sources if pa.types.is_null(kind) else sources.cast(kind)})
        gold = _columns.every_ground_truth(table, self.name)
        reward_model = pa.StructArray.from_arrays(
            [pa.repeat("rule", len(gold)), gold],
            fields=[pa.field("style", pa.string()), pa.field("ground_truth", pa.string())],
        )
        columns = {
            PROMPT: _columns.chat(table),
            _columns.SOURCE: _columns.sources(table, self.context.data_source),
            REWARD_MODEL: reward_model,
        }
        if EXTRA_INFO not in table.column_names or pa.types.is_null(table.schema.field(EXTRA_INFO).type):
            index = table.column(_columns.DATA_IDX).combine_chunks()
            columns[EXTRA_INFO] = pa.StructArray.from_arrays([index], fields=[pa.field("index", index.type)])
        return _columns.replaced(_columns.without_made(table), columns)
