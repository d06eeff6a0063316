from __future__ import annotations

from typing import Any

import pytest

from analyzer.rewards._common.spelling import same, unwrapped


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("18", "18", True),
        ("1,000", "1000.0", True),
        ("0.5", "\\frac{1}{2}", True),
        ("\\frac12", "1/2", True),
        ("50\\%", "0.5", True),  # in doubt: a percentage and its fraction
        ("x+1", "1+x", True),
        ("\\{1, 2\\}", "2,1", True),
        ("\\text{Paris}", "paris.", True),
        (["Paris", "City of Light"], ["paris"], True),
        ({"target": ["a", "b"]}, {"target": "B"}, True),
        (5, "5", True),
        ("18", "19", False),
        ("-5", "5", False),
        ("1/2", "2", False),
        ("x+1", "x+2", False),
        ("Paris", "Rome", False),
        (["Paris"], ["Rome"], False),
        ("x" * 2000, "y" * 2000, False),
        ("ab" * 600, "ba" * 600, False),  # of texts as long as programs the order of letters counts
    ],
)
def test_ground_truths_are_the_same_in_whatever_notation(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is same(other, one) is equal


@pytest.mark.parametrize(
    ("gold", "inside"),
    [
        ('["5"]', ["5"]),
        ("[5]", ["5"]),
        (["5"], ["5"]),
        ("\\boxed{5}", ["5"]),
        ("$\\boxed{5}$", ["5"]),
        ("<answer> \\boxed{5} </answer>", ["\\boxed{5}", "5"]),
        ("He has 9.\n#### 18", ["18"]),
        ('"5"', ["5"]),
        ("$5$", ["5"]),
        ("Answer: 5", ["5"]),
        ("1,000", ["1000"]),
        (" 5\n", ["5"]),
        (5, ["5"]),
        ("5", []),
        ("x + y", []),
        ('["5", "6"]', []),
        ("[1, 2)", []),
        ({"target": ["5"]}, []),
        (None, []),
        (True, []),
        ("x" * 5000, []),
    ],
)
def test_what_is_wrapped_round_a_ground_truth_comes_off_layer_by_layer(gold: Any, inside: list[str]) -> None:
    assert unwrapped(gold) == inside
