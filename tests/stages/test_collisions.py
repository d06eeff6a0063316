"""collisions: two problems under one data_idx are an error or a warning, one problem under many a warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.rollouts.sizes import Sizes
from tests.commands import Outcome, Row, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]
GOLD = "original_reward_model"


def numbered_twice(problems: int, clashing: int, **other: Any) -> list[Row]:
    """Two rollouts of each problem; the second of the last `clashing` ones is of another problem."""
    rows = list(rollouts(problems, 2))
    return [{**row, **other} if row["sample_idx"] and row["data_idx"] >= problems - clashing else row for row in rows]


OTHERS: dict[str, dict[str, Any]] = {
    "prompts": {"prompt": "Another question"},
    "ground truths": {GOLD: {"style": "rule", "ground_truth": "7"}},
    "data sources": {"original_data_source": "lighteval/MATH"},
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("scattered", [False, True])
def test_rows_that_differ_within_a_problem_are_an_error_from_one_in_a_hundred_on(
    what: str, scattered: bool, tmp_path: Path, analyze: Analyze
) -> None:
    rows = numbered_twice(200, 2, **OTHERS[what])
    rows = rows[::2] + rows[1::2] if scattered else rows
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert outcome.code == 2
    (line,) = outcome.errors
    assert f"the {what} of one data_idx differ in 2 of 200 problems, of data_idx 198 for instance" in line
    assert "renumber the problems" in line
    assert not outcome.folder.exists()


def test_fewer_are_a_warning_with_an_example(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", numbered_twice(200, 1, **OTHERS["prompts"])))
    assert outcome.code == 0, outcome.err
    (said,) = [one for one in outcome.json("summary.json")["warnings"] if "one data_idx" in one]
    assert "the prompts of one data_idx differ in 1 of 200 problems, of data_idx 199 for instance" in said
    assert "'What is 199 + 199?'" in said
    assert "'Another question'" in said


@pytest.mark.parametrize("sizes", [Sizes(), Sizes(batch=1, window=1, largest_window=1, spill_above=1e9)])
def test_scattered_rows_are_compared_with_the_first_of_their_problem_however_they_are_cut(
    sizes: Sizes, tmp_path: Path, analyze: Analyze
) -> None:
    rows = [row for sample in range(10) for row in rollouts(120, 10)[sample::10]]
    rows[3 + 120 * 9] |= {"prompt": "Another question" + 50 * "?"}  # the last rollout of problem 3
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), sizes)
    (said,) = [one for one in outcome.json("summary.json")["warnings"] if "one data_idx" in one]
    assert "differ in 1 of 120 problems, of data_idx 3 for instance: 'What is 3 + 3?' in " in said
    assert "row 3 (counted from 0), 'Another question" + 40 * "?" + "... in " in said
    assert "row 1083 (counted from 0)" in said


@pytest.mark.parametrize("problems", [3, 100])
def test_many_are_said_before_anything_is_scored(problems: int, tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(jsonl(tmp_path / "r.jsonl", numbered_twice(problems, problems, **OTHERS["prompts"])))
    assert outcome.code == 2
    assert "problems looked at, of data_idx 0 for instance" in outcome.errors[0]
    assert "scoring" not in outcome.err


def test_files_that_each_count_from_0_get_the_advice_to_number_them_anew(tmp_path: Path, analyze: Analyze) -> None:
    for rank in range(2):
        rows = [{**row, "prompt": f"{rank}: {row['prompt']}"} for row in rollouts()]
        jsonl(tmp_path / "in" / f"rank{rank}.jsonl", rows)
    outcome = analyze(tmp_path / "in")
    assert outcome.code == 2
    assert "rank1.jsonl, line 1: data_idx 0 with sample_idx 0 occurs twice" in outcome.errors[0]
    assert "they differ in 'prompt', so they are two problems with one data_idx: renumber" in outcome.errors[0]


def test_one_problem_under_many_data_idx_is_a_warning(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "data_idx": 10 * turn + row["data_idx"]} for turn in range(5) for row in rollouts(3, 1)]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert outcome.code == 0, outcome.err
    (said,) = [one for one in outcome.json("summary.json")["warnings"] if "distinct problems" in one]
    assert said.startswith("15 data_idx hold only 3 distinct problems")
    assert "up to 5 times, in data_idx 0 and 10 for instance" in said


def test_distinct_problems_are_not_a_word(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", rollouts(30, 2)))
    assert not [one for one in outcome.json("summary.json")["warnings"] if "data_idx" in one]


@pytest.mark.parametrize(("repeated", "said"), [(2, False), (3, True)])
def test_repeated_problems_are_said_above_one_in_a_hundred(
    repeated: int, said: bool, tmp_path: Path, analyze: Analyze
) -> None:
    rows = rollouts(200, 1)
    first = {name: rows[0][name] for name in ("prompt", GOLD)}
    rows = [{**row, **first} if row["data_idx"] >= 200 - repeated else row for row in rows]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert (f"hold only {200 - repeated} distinct problems" in outcome.err) is said
