"""The training data as prompts: opened, checked, and streamed with their row numbers.

A row of verl's training format, and the prompt it becomes::

    {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "What is 2+3?"}], "reward_model": {...}}
    Prompt(data_idx=0, content=[{"role": "user", "content": "What is 2+3?"}])

A prompt is text or a chat list; a string that holds a chat list as JSON is one too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.errors import InputError
from analyzer.rollouts import dataset, json_columns
from analyzer.rollouts.dataset import Dataset
from analyzer.rollouts.json_text import dump_json
from analyzer.schema import RESPONSE, SAMPLE_IDX

if TYPE_CHECKING:
    import pyarrow as pa

Message = dict[str, Any]
_MEDIA_COLUMNS = ("images", "videos", "audios")
_FIRST = 100  # prompts that are looked at before any is sent


class Prompt(NamedTuple):
    """One prompt; `problem` says why it cannot be asked, and then `content` means nothing."""

    data_idx: int  # row of the training data, from 0 over all its files
    content: str | list[Message]
    problem: str = ""


class TrainingData(NamedTuple):
    """The opened training data."""

    dataset: Dataset
    prompt_key: str
    rows: int  # prompts to sample: all, or the first --limit
    identity: tuple[tuple[int, str, str], ...]  # of each file: size, time mark, sha256 of head and tail
    paths: tuple[str, ...]  # the files as they were given
    notes: tuple[str, ...] = ()  # what the user should know about the columns


def open_data(spec: str, prompt_key: str, limit: int | None, cache_dir: str) -> TrainingData:
    """Open a file, folder, glob or URL; jsonl is converted to parquet below `cache_dir`, once.

    Raises InputError, one line, when there is nothing to read or no usable prompt column.
    """
    import pyarrow as pa

    from analyzer.stages import read  # imports numpy, which --help does without

    opened = read.open_files(spec, cache_dir)
    schema, rows = opened.dataset.schema, opened.dataset.rows
    if {RESPONSE, SAMPLE_IDX} <= set(schema.names):
        raise InputError(
            f"{spec}: these are rollouts (with columns {RESPONSE!r} and {SAMPLE_IDX!r}), not prompts: give the "
            "training data, or analyze them with analyze_rollouts --rollouts"
        )
    _check_prompt_column(schema, prompt_key, spec)
    if rows == 0:
        raise InputError(f"{spec}: has no rows")
    rows = rows if limit is None else min(limit, rows)
    notes = [
        f"the column {name!r} is not sent to the model: prompts are text"
        for name in _MEDIA_COLUMNS
        if name in schema.names and not pa.types.is_null(schema.field(name).type)
    ]
    data = TrainingData(opened.dataset, prompt_key, rows, opened.identity, opened.paths, (*opened.warnings, *notes))
    return data._replace(notes=(*data.notes, *_answered(data)))


def _answered(data: TrainingData) -> list[str]:
    """A note where the first prompts end with an answer, as in data for SFT: the policy would be shown it."""
    asked = list(read_prompts(data, [(0, min(data.rows, _FIRST))]))
    chats = [prompt.content for prompt in asked if isinstance(prompt.content, list)]
    ended = sum(messages[-1]["role"] == "assistant" for messages in chats)
    if not ended:
        return []
    looked_at = f"the first {len(asked)} prompts" if len(asked) < data.rows else f"the {len(asked)} prompts"
    return [
        f"the last message is the assistant's in {ended} of {looked_at}: if that is the answer, the model is shown it; "
        "give a column without it with --prompt_key"
    ]


def _check_prompt_column(schema: pa.Schema, key: str, spec: str) -> None:
    if key not in schema.names:
        raise InputError(
            f"{spec}: there is no column {key!r}; the columns are: {', '.join(schema.names)}; "
            "name the one with the prompts with --prompt_key"
        )
    # Told by type: a file of a million rows is refused before one is read.
    kind = schema.field(key).type
    if not (dataset.is_text(kind) or _is_chat_type(kind)):
        raise InputError(f"{spec}: the column {key!r} must be text or a list of {{role, content}}, it is {kind}")


def _is_chat_type(kind: pa.DataType) -> bool:
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not listed or not pa.types.is_struct(kind.value_type):
        return False
    return {"role", "content"} <= {field.name for field in kind.value_type}


def read_prompts(data: TrainingData, ranges: Sequence[tuple[int, int]]) -> Iterator[Prompt]:
    """The prompts of ascending row ranges [start, stop), a few megabytes in memory at a time."""
    # Held: where one line of a file has text for what is a list in another, the list is sent and not its JSON as text.
    reader = dataset.Reader(data.dataset.files, [data.prompt_key], held=True)
    # The prompt column alone: training data may carry images of megabytes in each row.
    for first, batch in reader.batches(ranges):
        field = batch.schema.field(0)
        for offset, value in enumerate(batch.column(0).to_pylist()):
            yield _prompt(first + offset, _sent(json_columns.decode(value, field)))


def _sent(value: Any) -> Any:
    """A prompt as text or a list of messages: what else a line holds is its JSON as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(message is None or isinstance(message, dict) for message in value):
        numbers = (int, float)  # beside texts in other lines
        return [
            message | {"content": dump_json(message["content"])}
            if message and isinstance(message.get("content"), numbers)
            else message
            for message in value
        ]
    return dump_json(value)


def _prompt(data_idx: int, value: Any) -> Prompt:
    if isinstance(value, str):
        value = _chat_in(value) or value
    if not value:
        return Prompt(data_idx, "", "the prompt is null" if value is None else "the prompt is empty")
    if isinstance(value, str):
        return Prompt(data_idx, value)
    messages: list[Message] = [_without_null(message or {}) for message in value]
    for number, message in enumerate(messages):
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str | list):
            return Prompt(data_idx, "", f"message {number} of the prompt lacks a role or content")
    return Prompt(data_idx, messages)


def _without_null(value: Any) -> Any:
    """A message or a part of one. A struct column gives each every key; those that are null were not there."""
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _chat_in(text: str) -> list[Message] | None:
    # Two cheap looks before parsing: most prompts are plain text, and may begin with a bracket.
    if not text.lstrip().startswith("[") or '"role"' not in text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        return value
    return None
