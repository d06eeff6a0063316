"""Contest programs: which outputs and values count as the expected ones, as LiveCodeBench and PRIME compare them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzer.rewards.code.contest import same_value


@pytest.mark.parametrize(
    ("packed", "expected", "same"),
    [
        (5, 5, True),
        (5, [5], True),
        (5, [6], False),
        (5, [], False),
        ("a", ["a"], True),
        ("a", ["b"], False),
        (["l", 1, 2], [1, 2], True),
        (["l", 1, 2], [[1, 2]], True),
        (["t", 1, 2], [1, 2], True),
        (["l", ["t", 1, 2], ["t", 3, 4]], [[[1, 2], [3, 4]]], True),
        (["l", ["t", 1, 2], ["t", 3, 5]], [[[1, 2], [3, 4]]], False),
        (["l"], [1], False),
        (None, [None], True),
    ],
)
def test_a_value_counts_as_it_is_as_a_list_and_alone_in_a_list(packed: Any, expected: Any, same: bool) -> None:
    assert same_value(json.dumps(packed).encode(), expected) is same


@pytest.mark.parametrize("packed", [b"", b"[", b"[" * 10_000, b"nan"])
def test_what_is_no_json_is_no_value(packed: bytes) -> None:
    assert same_value(packed, 5) is False
