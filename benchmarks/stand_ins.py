"""Stand-ins for real rollouts where ../shared is absent, made from the embedded sample (examples/make_sample.py).

They have the shape of the real ones - length, form of the answer, how often answers repeat - and not their variety:
ratios measured on them tell how the program does on this machine, and no more than that.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

THINKING = 60  # responses of the sample in one long one
COPIES = 20


def as_it_is(sample: pa.Table) -> pa.Table:
    """Short rollouts that end in "#### N"."""
    return sample


def long(sample: pa.Table) -> pa.Table:
    """Rollouts of some 15,000 characters: the thinking is the responses of other rollouts, the end is their own."""
    texts = [text.partition("####")[0] for text in sample["response"].to_pylist()]
    ends = [text[-300:] for text in sample["response"].to_pylist()]
    around = texts + texts
    return _responses(sample, ["".join(around[i : i + THINKING]) + end for i, end in enumerate(ends)])


def boxed(sample: pa.Table) -> pa.Table:
    """Rollouts whose answer is a number in a box, many of a problem's the same."""
    once = _responses(sample, [_boxed(text, "{}") for text in sample["response"].to_pylist()])
    return pa.concat_tables([_moved(once, 200 * copy) for copy in range(COPIES // 2)])


def symbolic(sample: pa.Table) -> pa.Table:
    """Two rollouts a problem whose answer is an expression, written in another way than the ground truth."""
    two = sample.filter(pa.array([i < 2 for i in sample["sample_idx"].to_pylist()]))
    parts = []
    for copy in range(COPIES // 4):
        form = f"\\frac{{{{{{}}}}}}{{{{{copy + 2}}}}}-{copy + 3}x^{{{{2}}}}"
        part = _responses(_moved(two, 200 * copy), [_boxed(text, form) for text in two["response"].to_pylist()])
        golds = [f"-{copy + 3}x^2+{row['ground_truth']}/{copy + 2}" for row in two["original_reward_model"].to_pylist()]
        parts.append(_set(part, "original_reward_model", [{"style": "rule", "ground_truth": gold} for gold in golds]))
    return pa.concat_tables(parts)


def _boxed(text: str, form: str) -> str:
    thinking, _, answer = text.partition("####")
    return f"{thinking}\\boxed{{{form.format(answer.strip())}}}" if answer else text


def _responses(table: pa.Table, texts: list[str]) -> pa.Table:
    return _set(table, "response", texts)


def _moved(table: pa.Table, by: int) -> pa.Table:
    return _set(table, "data_idx", [number + by for number in table["data_idx"].to_pylist()])


def _set(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
