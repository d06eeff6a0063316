"""Inputs after public reports of people who trusted a summary: each must be said, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Outcome

Analyze = Callable[..., Outcome]
Shared = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["boxed", "empty", "jsonlist", "tag"])
def test_a_data_source_that_cannot_be_earned_does_not_hide_behind_a_good_one(
    shared: Shared, analyze: Analyze, kind: str
) -> None:
    outcome = analyze(shared(f"cases/mixed_src_{kind}.jsonl"))
    said = [warning for warning in outcome.json("summary.json")["warnings"] if "rewards are low" in warning]
    (low,) = said
    assert low.startswith("rewards are low for math_dapo (pass rate 0.000, 0.500 in the other data sources)")
    assert 'beside the answer "5"' in low
    assert ("(it is empty)" if kind == "empty" else "rewrite the ground truths") in low


def test_a_guess_in_a_thought_that_was_cut_off_earns_nothing(shared: Shared, analyze: Analyze) -> None:
    outcome = analyze(shared("cases/trunc_mcq.jsonl"), reward_fn="multiple_choice")
    assert set(outcome.table()["reward"].to_pylist()) == {0.0}
    (cut,) = [warning for warning in outcome.json("summary.json")["warnings"] if "cut off" in warning]
    assert "of these 0 of 50 pass" in cut


@pytest.mark.parametrize("name", ["rm_nogt", "rm_str"])
def test_a_record_without_a_ground_truth_is_one_clear_line(shared: Shared, analyze: Analyze, name: str) -> None:
    outcome = analyze(shared(f"cases/{name}.jsonl"))
    assert outcome.code == 2
    (line,) = outcome.errors
    assert "line 2: the ground truth in original_reward_model is " in line
