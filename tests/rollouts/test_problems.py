"""The reward information in every spelling: a ground truth is read, or its absence is one clear error, never a -1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.rollouts.problems import NoGroundTruth, ground_truth
from tests.commands import Outcome, changed, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]
GOLD = "original_reward_model"
RECORD = {"style": "rule", "ground_truth": "4"}


@pytest.mark.parametrize(
    ("value", "gold"),
    [
        (RECORD, "4"),
        (json.dumps(RECORD), "4"),
        ('\n {"extra": {"a": 1}, "ground_truth": "4"}', "4"),
        ('{"ground_truth": {"style": 1}}', {"style": 1}),
        ("4", "4"),
        ('{"target": ["a"]}', '{"target": ["a"]}'),  # ground truths that are structs themselves
        ('{"inputs": ["1"], "outputs": ["2"]}', '{"inputs": ["1"], "outputs": ["2"]}'),
        ({"target": ["a"]}, {"target": ["a"]}),
        ("{1, 2}", "{1, 2}"),
        ('{"answer": 5', '{"answer": 5'),
        ("\\{ x : style \\}", "\\{ x : style \\}"),
    ],
)
def test_a_ground_truth_is_read_from_a_record_or_taken_as_it_is(value: Any, gold: Any) -> None:
    assert ground_truth(value) == gold


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is null"),
        ({"style": "rule", "ground_truth": None}, "is null"),
        ('{"style": "rule", "ground_truth": null}', "is null"),
        ({"style": "rule"}, "is missing"),
        ('{"style": "rule"}', "is missing"),
        ("{'style': 'rule'}", "is the text of a Python dict, not JSON"),
        (str(RECORD), "is the text of a Python dict, not JSON"),
        ("{'extra': {'a': 1}, 'ground_truth': '4'}", "is the text of a Python dict, not JSON"),
        (json.dumps(RECORD)[:-1], "is in a text that is not JSON, perhaps cut off"),
        (json.dumps(RECORD)[:30], "is in a text that is not JSON, perhaps cut off"),
        ('{"style": "ru', "is in a text that is not JSON, perhaps cut off"),
        ("{'ground_truth': " + "[" * 100_000, "is in a text that is not JSON"),
    ],
)
def test_a_record_without_one_says_what_is_wrong_with_it(value: Any, why: str) -> None:
    with pytest.raises(NoGroundTruth, match=why) as error:
        ground_truth(value)
    assert len(str(error.value)) < 300


BROKEN = [
    {"style": "rule", "ground_truth": None},
    '{"style": "rule", "ground_truth": null}',
    '{"style": "rule"}',
    str(RECORD),
    '{"style": "rule", "ground_tr',
]


@pytest.mark.parametrize("value", BROKEN, ids=str)
@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_every_spelling_ends_the_run_with_one_line_that_names_the_row(
    tmp_path: Path, analyze: Analyze, value: Any, name: str
) -> None:
    rows = rollouts(problems=3, samples=2)
    if isinstance(value, str):
        rows = [{**row, GOLD: json.dumps(row[GOLD])} for row in rows]
    rows = changed(rows, 3, **{GOLD: value})
    outcome = analyze((jsonl if name == "r.jsonl" else parquet)(tmp_path / name, rows))
    assert outcome.code == 2
    (line,) = outcome.errors
    assert ("line 4" if name == "r.jsonl" else "row 3") in line
    assert f"the ground truth in {GOLD} is " in line


def test_a_struct_column_without_the_field_is_refused_as_the_text_is(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, GOLD: {"style": "rule"}} for row in rollouts(problems=2, samples=2)]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert outcome.code == 2
    assert "has no ground_truth" in outcome.errors[0]


def test_a_number_among_texts_is_its_text_to_rewards_that_compare_texts(tmp_path: Path, analyze: Analyze) -> None:
    rows = [
        row | {GOLD: {"style": "rule", "ground_truth": {0: "0", 1: 2, 2: 4.5}[row["data_idx"]]}}
        for row in rollouts(samples=3)
    ]
    rows = [row | {"response": "#### 4.5"} if row["data_idx"] == 2 else row for row in rows]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0, outcome.err
    rewards = outcome.table()["reward"].to_pylist()
    assert rewards == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert "r.jsonl, line 4: original_reward_model.ground_truth is an integer, but text" in " ".join(
        outcome.err.split()
    )
    # The outputs hold texts, and give the same rewards again.
    again = analyze(
        outcome.folder / "rollouts_with_rewards.parquet", output_dir=tmp_path / "again", overwrite=True, rescore=True
    )
    assert again.table()["reward"].to_pylist() == rewards


def test_numbers_alone_are_never_equal_to_a_text(tmp_path: Path, analyze: Analyze) -> None:
    rows = [row | {GOLD: {"style": "rule", "ground_truth": 2 * row["data_idx"]}} for row in rollouts()]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 3
    assert set(outcome.table()["reward_status"].to_pylist()) == {"gold_error"}


@pytest.mark.usefixtures("warm_zygotes")
def test_a_custom_function_sees_the_number_itself(tmp_path: Path, analyze: Analyze) -> None:
    function = tmp_path / "f.py"
    function.write_text(
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n    return float(ground_truth == 2)\n"
    )
    rows = [row | {GOLD: "0" if row["data_idx"] == 0 else 2 * row["data_idx"]} for row in rollouts()]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows), reward_fn=f"{function}:f")
    assert outcome.table()["reward"].to_pylist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 4
