"""finish_reason: how inference programs say that a response was cut off at its token limit.

    "length" (OpenAI, vLLM, TRL)   "max_tokens" (Anthropic)   "MAX_TOKENS" (Gemini)   {"type": "length"} (SGLang)

A reason that is not recognised would make a cut response look like a wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

CUT_OFF = frozenset({"length", "max_tokens", "max_tokens_reached", "max_output_tokens", "max_new_tokens", "max_length"})
CUT_OFF |= {"model_length", "truncated"}
_MEMBER = "type"  # of a struct, as SGLang has it


def says_finish(kind: pa.DataType) -> bool:
    """Whether a column of this type can say why responses ended: texts, or structs with the reason in `type`."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        at = kind.get_field_index(_MEMBER)
        return at >= 0 and says_finish(kind.field(at).type)
    if pa.types.is_dictionary(kind):
        return says_finish(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def was_cut_off(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """(rows,) whether finish_reason says that the response was cut off; False where it says nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type) or not says_finish(column.type):
        return np.zeros(len(column), dtype=bool)
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, _MEMBER)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    # A handful of reasons: each is looked at once, not once per row.
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    cut = [reason is not None and reason.strip().lower() in CUT_OFF for reason in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices, len(cut)).to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = np.array([*cut, False], dtype=bool)[codes]
    return found
