from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards._common.boxed import closing_brace, last_box


def closing_brace_by_the_definition(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if text[index] == "}" and depth == 0:
            return index
    return -1


@given(st.text(alphabet="{}a"), st.integers(0, 5))
def test_the_closing_brace_is_where_the_count_comes_back_to_zero(text: str, start: int) -> None:
    assert closing_brace(text, start) == closing_brace_by_the_definition(text, start)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("", None),
        ("\\boxed 5", None),
        ("\\boxed{5}", "5"),
        ("\\boxed{1}\\boxed{\\frac{1}{2}} {", "\\frac{1}{2}"),
        ("\\boxed{1} \\boxed{2", None),
        ("\\boxed{}", ""),
        ("".join(f"\\boxed{{{n}}}" for n in range(1000)), "999"),
        ("\\boxed{" * 100_000, None),
        ("\\boxed{" * 100_000 + "}" * 100_000, ""),
        ("\\boxed{" + "{" * 300_000 + "}" * 300_000 + "}", "{" * 300_000 + "}" * 300_000),
        ("\\boxed{" + "}" * 500_000, ""),
    ],
    ids=range(11),
)
def test_the_last_box_is_the_answer_or_there_is_none(text: str, box: str | None) -> None:
    assert last_box(text) == box
