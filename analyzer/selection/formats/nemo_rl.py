"""nemo_rl: input and output as flat text, as NeMo-RL's ResponseDataset reads them for its math environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.errors import ConfigError
from analyzer.schema import PROMPT
from analyzer.selection.formats import Format, _columns, register

if TYPE_CHECKING:
    import pyarrow as pa


@register
class NemoRl(Format):
    """NeMo-RL puts `input` into one user message and keeps a system prompt in its own configuration."""

    name = "nemo_rl"
    reads = "NeMo-RL ResponseDataset: jsonl with input (text of the user) and output (the ground truth)"
    endings = (".jsonl",)

    def check(self, schema: pa.Schema) -> None:
        _columns.need_ground_truth(schema, self.name)
        _columns.refuse_media(schema, self.name)

    def check_prompts(self, table: pa.Table) -> None:
        for value in _columns.chat(table).to_pylist():
            _user_text(value)

    def rows(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        texts = [_user_text(value) for value in _columns.chat(table).to_pylist()]
        made = {"input": pa.array(texts, pa.string()), "output": _columns.every_ground_truth(table, self.name)}
        if _columns.SOURCE in table.column_names:
            made[_columns.SOURCE] = table.column(_columns.SOURCE)
        rest = _columns.metrics(table)
        return pa.table({**made, **{name: rest.column(name) for name in rest.column_names}})


def _user_text(messages: list[dict[str, object]] | None) -> str | None:
    if not messages:
        return None
    if len(messages) == 1 and not isinstance(messages[0]["content"], str):
        raise ConfigError("--format nemo_rl takes prompts of text, and one has a message of several parts (images?)")
    if len(messages) != 1:
        raise ConfigError(
            f"--format nemo_rl takes prompts of one user message, and one has {len(messages)} messages "
            f"({', '.join(str(message.get('role')) for message in messages)}): give a system prompt to NeMo-RL with "
            f"data.system_prompt_file and leave it out of the column {PROMPT!r}"
        )
    return str(messages[0]["content"])
