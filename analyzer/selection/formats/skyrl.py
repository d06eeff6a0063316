"""skyrl: prompt, env_class and reward_spec; what else a row has becomes the env_extras of SkyRL's environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa

_GSM8K, _AIME = "gsm8k", "aime"  # the environments of skyrl_gym that grade mathematics


@register
class SkyRl(Format):
    """`env_class` is that of the training row; else gsm8k for such data sources and aime, boxed answers, for others."""

    name = "skyrl"
    reads = (
        "SkyRL PromptDataset: prompt (chat list), env_class, reward_spec{method, ground_truth}; the rest: env_extras"
    )

    def check(self, schema: pa.Schema) -> None:
        _columns.need_ground_truth(schema, self.name)

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = {PROMPT: _columns.chat(table)}
        if "env_class" not in table.column_names:
            known = _columns.sources(table, self.context.data_source).fill_null("")
            is_gsm8k = pc.match_substring(known, _GSM8K, ignore_case=True)
            columns["env_class"] = pc.if_else(is_gsm8k, pa.scalar(_GSM8K), pa.scalar(_AIME))
        if "reward_spec" not in table.column_names:
            gold = _columns.every_ground_truth(table, self.name)
            columns["reward_spec"] = pa.StructArray.from_arrays(
                [pa.repeat("rule", len(gold)), gold],
                fields=[pa.field("method", pa.string()), pa.field("ground_truth", pa.string())],
            )
        return _columns.replaced(_columns.without_made(table), columns)
