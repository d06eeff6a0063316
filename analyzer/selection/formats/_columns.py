"""Columns that several formats make from a training row: chat prompts, the ground truth as text, the data source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from analyzer.errors import ConfigError
from analyzer.rollouts.dataset import is_text
from analyzer.schema import DIFFICULTY, GROUND_TRUTH, MADE, PROMPT

if TYPE_CHECKING:
    import pyarrow as pa

DATA_IDX = DIFFICULTY + "data_idx"
SOURCE = "data_source"
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")  # columns of what a prompt holds beside its text


def message_type() -> pa.DataType:
    """The type of a message that is made here."""
    import pyarrow as pa

    return pa.struct([("role", pa.string()), ("content", pa.string())])


def is_chat(kind: pa.DataType) -> bool:
    """Whether a column holds lists of messages."""
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(listed and pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("content") >= 0)


def chat(table: pa.Table) -> pa.Array:
    """The prompts as chat lists: those that are stay as they are, a text is what the user says."""
    import pyarrow as pa

    column = table.column(PROMPT).combine_chunks()
    if is_chat(column.type):
        return column
    values = column.to_pylist()
    # Only where a text may be a chat is each one parsed; else arrow wraps them all at once.
    if any(may_be_chat(value) for value in values):
        return pa.array([chat_of(value) for value in values], pa.list_(message_type()))
    return one_message("user", column)


def one_message(role: str, texts: pa.Array) -> pa.Array:
    """Each text as a chat of one message of that role."""
    import pyarrow as pa

    texts = texts.cast(pa.string())
    messages = pa.StructArray.from_arrays([pa.repeat(role, len(texts)), texts], fields=list(message_type()))
    # Offsets 0, 1, 2, ...: each list holds one message, and no Python object is made for any.
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), messages)


def may_be_chat(value: Any) -> bool:
    """Whether a text looks like a chat list as JSON."""
    return isinstance(value, str) and value.lstrip().startswith("[") and '"role"' in value


def chat_of(text: str | None) -> list[dict[str, Any]]:
    """The chat list that a text holds as JSON; else the text as what the user says.

    Raises ConfigError for a chat with more than text in it, which a column of chats that are made here cannot hold.
    """
    if text is not None and may_be_chat(text):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        # A text that merely begins like a chat, code for instance, stays what the user says.
        if isinstance(value, list) and all(isinstance(m, dict) and m.get("role") in _ROLES for m in value):
            parts = next((m for m in value if not isinstance(m.get("content"), str)), None)
            if parts is not None:
                raise ConfigError(
                    "a prompt is a chat as JSON text with more than text in it (a message of "
                    f"{parts['role']} has {type(parts.get('content')).__name__} as its content): write it as a list of "
                    "messages in the training data"
                )
        if isinstance(value, list) and all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in value):
            return [{"role": str(message.get("role", "user")), "content": message["content"]} for message in value]
    return [{"role": "user", "content": text}]


def ground_truth_name(schema: pa.Schema) -> str | None:
    """The column with the ground truth as flat text; None where the training data has none."""
    made: list[str] = [field.name for field in schema if (field.metadata or {}).get(MADE) == GROUND_TRUTH]
    if made:
        return made[0]
    return next((name for name in ("label", "solution") if name in schema.names), None)


def need_ground_truth(schema: pa.Schema, name: str) -> None:
    """Raise ConfigError where there is no ground truth to give to format `name`."""
    if ground_truth_name(schema) is None:
        raise ConfigError(f"--format {name} needs the ground truth, and the analyzed rollouts have none")


def ground_truth(table: pa.Table) -> pa.Array:
    """The ground truth as flat text."""
    import pyarrow as pa

    return table.column(str(ground_truth_name(table.schema))).combine_chunks().cast(pa.string())


def every_ground_truth(table: pa.Table, name: str) -> pa.Array:
    """The ground truth as flat text, for a format that needs that of every row. Raises ConfigError for a null."""
    gold = ground_truth(table)
    if gold.null_count:
        column = ground_truth_name(table.schema)
        first = table.column(DATA_IDX)[gold.is_null().index(True).as_py()]
        raise ConfigError(
            f"--format {name} needs the ground truth of every problem, and that of {first} is missing: leave such "
            f"problems out with --where '{column} is not null'"
        )
    return gold


def refuse_media(schema: pa.Schema, name: str) -> None:
    """Raise ConfigError where a format that writes text alone would lose images, videos or sounds of the prompts."""
    import pyarrow as pa

    media = next((n for n in _MEDIA if n in schema.names and not pa.types.is_null(schema.field(n).type)), None)
    if media is not None:
        raise ConfigError(
            f"--format {name} holds text alone, and prompts have more in the column {media!r}: choose another format, "
            "or leave the column out of the training data"
        )


def need_source(schema: pa.Schema, given: str | None, name: str) -> None:
    """Raise ConfigError where no data source is known."""
    if SOURCE not in schema.names and given is None:
        raise ConfigError(
            f"--format {name} needs a data_source, and the training data has no such column: analyze with "
            "--data_source NAME"
        )


def sources(table: pa.Table, given: str | None) -> pa.Array:
    """The data source of each row: its own, else the one that is given for all."""
    import pyarrow as pa

    if SOURCE in table.column_names and is_text(table.schema.field(SOURCE).type):
        column = table.column(SOURCE).combine_chunks().cast(pa.string())
        return column if given is None else column.fill_null(given)
    # As text also if there is none: the type of a column must not depend on its values.
    return pa.repeat(pa.scalar(given, pa.string()), table.num_rows)


def replaced(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with these columns in the place of those of the same name; new ones before the first metric."""
    import pyarrow as pa

    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        field = pa.field(name, values.type)
        if at >= 0:
            table = table.set_column(at, field, values)
        else:
            table = table.add_column(first_metric(table.schema), field, values)
    return table


def first_metric(schema: pa.Schema) -> int:
    """The place of the first column that the analysis made."""
    return next((at for at, name in enumerate(schema.names) if name.startswith(DIFFICULTY)), len(schema.names))


def metrics(table: pa.Table) -> pa.Table:
    """The columns that the analysis made."""
    return table.select([name for name in table.column_names if name.startswith(DIFFICULTY)])


def without_made(table: pa.Table, keep: Iterable[str] = ()) -> pa.Table:
    """The table without the flat ground truths that the analysis added, but for those of these names."""
    made = [field.name for field in table.schema if (field.metadata or {}).get(MADE) == GROUND_TRUTH]
    return table.drop_columns([name for name in made if name not in keep])
