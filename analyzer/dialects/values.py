"""Values of other layouts as ours hold them: rewards as numbers, chats as the response text, why a response ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.dialects.lookup import Column, is_list, is_text, item_of, python_values
from analyzer.errors import InputError, printable
from analyzer.rollouts.finish import CUT_OFF, says_finish
from analyzer.rollouts.json_columns import is_encoded
from analyzer.rollouts.json_text import dump_json
from analyzer.schema import FINISH_REASON

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

RowName = Callable[[int], str]
"""A row of a batch as a person finds it."""

_REWARD_WORDS = {
    **{"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0},  # inspect's letters: correct, incorrect, partial, no answer
    **{"true": 1.0, "false": 0.0, "correct": 1.0, "incorrect": 0.0, "yes": 1.0, "no": 0.0},
}
_NO_REWARD = frozenset({"", "n/a", "na", "none", "null", "nan"})
SHOWN = 40  # characters of a value in a message


def text_of(column: Column) -> pa.Array:
    """Values as text, by which those of two files are compared: 7 and "7" are the same."""
    import pyarrow as pa

    if is_text(column.array.type) and not is_encoded(column.field):
        return column.array.cast(pa.string())
    values = python_values(column)
    # 7.0 is 7: a column with a missing value has become floats.
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def message_text(value: Any) -> str | None:
    """The text of a response: itself, or the content of the assistant's last message. None where it is neither."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return content_text(value["content"]) if "content" in value else None
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        return None
    # The last message of the assistant: tool calls and their results come before it.
    spoken = [message for message in value if message.get("role") == "assistant"]
    return content_text(spoken[-1].get("content")) if spoken else None


def asked(column: Column) -> Column:
    """Chats without the first answer and what follows it: what was asked, of messages that hold the response, too."""
    import pyarrow as pa

    array, field = column
    chats = array.to_pylist()
    for at, chat in enumerate(python_values(column)):
        if isinstance(chat, list):
            roles = [message.get("role") if isinstance(message, dict) else None for message in chat]
            answers = (n for n, role in enumerate(roles) if role == "assistant" and "user" in roles[:n])
            first = next(answers, len(roles))
            chats[at] = dump_json(chat[:first]) if is_text(array.type) else chats[at][:first]
    return Column(pa.array(chats, array.type), field)


def unanswered(column: Column, responses: pa.Array) -> tuple[Column, int]:
    """Chats without a last message that is the response itself, and how many had one. Other messages may be a start."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array, field = column
    kind = array.type.value_type if is_list(array.type) else array.type
    if not is_list(array.type) or not pa.types.is_struct(kind) or kind.get_field_index("role") < 0:
        return column, 0
    if not pc.any(pc.equal(pc.struct_field(item_of(array, -1), "role"), "assistant")).as_py():
        return column, 0  # nearly always, and then no row is looked at
    chats, answered = array.to_pylist(), 0
    for at, (chat, response) in enumerate(zip(python_values(column), responses.to_pylist(), strict=True)):
        last = chat[-1] if chat else {}
        if last.get("role") == "assistant" and response and content_text(last.get("content")) == response:
            chats[at] = chats[at][:-1]
            answered += 1
    return Column(pa.array(chats, array.type), field), answered


def content_text(content: Any) -> str:
    """The content of a chat message as text: the text parts of a list of parts joined."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def said_in(response: Mapping[str, Any]) -> str:
    """The last message of a response of OpenAI's Responses API: reasoning and calls of tools come before it."""
    spoken = [item for item in response["output"] if item.get("type", "message") == "message"]
    return content_text(spoken[-1].get("content")) if spoken else ""


def why_it_ended(response: Mapping[str, Any]) -> str | None:
    """The finish_reason of a response of OpenAI's Responses API."""
    why = response.get("incomplete_details")
    if isinstance(why, dict) and why.get("reason") == "max_output_tokens":
        return "length"
    return "stop" if response.get("status") == "completed" else None


def rewards_of(column: Column | None, path: str, row: RowName) -> NDArray[np.float64]:
    """(rows,) rewards as numbers, NaN for none: numbers, truth values, texts of them, C/I/P/N, a list of one.

    Raises InputError, with its place, for anything else.
    """
    import pyarrow as pa

    if column is None:
        raise InputError(f"{row(0)}: there is no {path!r}")
    array = column.array
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if any(fits(array.type) for fits in number):
        values = array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array
        return np.asarray(values.cast(pa.float64()).fill_null(math.nan).to_numpy(zero_copy_only=False), np.float64)
    found = np.full(len(array), math.nan)
    for at, value in enumerate(python_values(column)):
        number_of = _reward(value)
        if number_of is None:
            shown = printable(repr(value)[:SHOWN])
            hint = f"; name the part that is the reward, such as reward: {path}.NAME" if isinstance(value, dict) else ""
            raise InputError(
                f"{row(at)}: the reward in {path} must be a number, true or false, or C, I, P, N: {shown}{hint}"
            )
        found[at] = number_of
    return found


def _reward(value: Any) -> float | None:
    """A reward as a number, NaN for null; None if it is not a reward."""
    # Several trainers write a list with one reward per reward function.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    # "nan" reads as a float too, but stands for a missing value in every CSV.
    if text in _NO_REWARD:
        return math.nan
    try:
        return _REWARD_WORDS[text] if text in _REWARD_WORDS else float(text)
    except ValueError:
        return None


def finish_reasons(column: Column) -> Column:
    """finish_reason with `length` for a response that was cut off, whatever the program calls it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array, field = column
    field = pa.field(FINISH_REASON, pa.string())
    if pa.types.is_boolean(array.type):  # is_truncated
        return Column(
            pa.array([None if v is None else "length" if v else "stop" for v in array.to_pylist()]).cast(pa.string()),
            field,
        )
    if pa.types.is_null(array.type):
        return Column(array.cast(pa.string()), field)
    if pa.types.is_struct(array.type) and says_finish(array.type):  # SGLang: {"type": "length", "length": 512}
        array = pc.struct_field(array, "type")
    if not is_text(array.type):
        return column
    # A handful of reasons: they are translated once each, not once per row.
    encoded = array.cast(pa.string()).dictionary_encode()
    names = ["length" if name.strip().lower() in CUT_OFF else name for name in encoded.dictionary.to_pylist()]
    return Column(pa.array(names, pa.string()).take(encoded.indices), field)
