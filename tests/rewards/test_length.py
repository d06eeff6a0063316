"""Terms for the length: the formulas of the papers, and lengths that are those of the whole run's tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import ConfigError
from analyzer.rewards.length import Length
from analyzer.schema import Lengths
from tests import commands
from tests.commands import Outcome

SOFT = {"rule": "soft_overlong", "max_len": 100, "buffer": 20}
COSINE = {"rule": "cosine", "max_len": 100}


def earned(options: dict[str, Any], tokens: list[int], right: list[bool] | None = None, cut: Any = None) -> list[Any]:
    scores = Length(**options).score(["x" * n for n in tokens], Lengths(tokens, cut), right)
    return [score.reward for score in scores]


def test_the_soft_overlong_penalty_is_that_of_dapo() -> None:
    assert earned(SOFT, [0, 80, 85, 90, 100, 5000]) == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]
    assert earned({**SOFT, "penalty": 0.5}, [90, 101]) == [-0.25, -0.5]


def test_a_cosine_rewards_short_right_answers_and_long_wrong_ones() -> None:
    assert earned(COSINE, [0, 50, 100], [True] * 3) == pytest.approx([1.0, 0.75, 0.5])
    assert earned(COSINE, [0, 50, 100], [False] * 3) == pytest.approx([-1.0, -0.75, -0.5])
    assert earned({**COSINE, "exceed": -10}, [50, 100, 200], [True] * 3) == pytest.approx([0.75, -10.0, -10.0])


def test_kimis_term_ranks_the_lengths_within_a_problem() -> None:
    right = [True, False, True, False]
    assert earned({"rule": "kimi"}, [10, 10, 30, 20], right) == [0.5, 0.0, -0.5, 0.0]
    assert earned({"rule": "kimi"}, [7, 7], [True, False]) == [0.0, 0.0]
    assert earned({"rule": "kimi"}, [], []) == []


def test_what_was_cut_off_is_penalised() -> None:
    assert earned({"rule": "cut_off", "penalty": 0.5}, [1, 2], cut=[True, False]) == [-0.5, 0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "max_len of the rule soft_overlong is required"),
        ({"rule": "soft_overlogn"}, "did you mean 'soft_overlong'"),
        ({**SOFT, "buffer": 0}, "buffer must be above 0"),
        ({**SOFT, "max_len": "100"}, "must be a number"),
        ({**SOFT, "exceed": 1}, "has no option 'exceed'"),
        ({"rule": "kimi", "max_len": 3}, "it has: none"),
        ({**SOFT, "unit": "words"}, "tokens or characters"),
        ({**COSINE, "exceed": math.inf}, "must be a number"),
    ],
)
def test_options_that_are_not_the_rules_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Length(**options)
    assert said in str(refusal.value)


# ---------------------------------------------------------------- the whole run


def lengthened(tmp_path: Path, **columns: Any) -> Path:
    rows = commands.rollouts(problems=4)
    for at, row in enumerate(rows):
        row["response"] = "so " * (7 * at % 11) + row["response"]
        row.update({name: values[at % len(values)] for name, values in columns.items()})
    return commands.parquet(tmp_path / "in.parquet", rows)


def test_lengths_are_the_tokens_that_the_run_counts_and_groups_are_its_problems(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    parts: list[Any] = [{"name": "gsm8k"}, {"name": "length", "as": "kimi", "options": {"rule": "kimi"}}]
    parts += [{"name": "length", "weight": 0.1, "as": "soft", "options": {"max_len": 30, "buffer": 15}}]
    given = {"reward_fn": "combine", "reward_kwargs": {"parts": parts, "pass_on": "gsm8k"}}
    outcome = analyze(lengthened(tmp_path), **given)
    assert outcome.code == 0, outcome.err
    table = outcome.table()
    tokens, right = table["response_tokens"].to_pylist(), [x == 1.0 for x in table["reward_gsm8k"].to_pylist()]
    kimi = [
        value
        for start in range(0, 16, 4)
        for value in earned({"rule": "kimi"}, tokens[start : start + 4], right[start : start + 4])
    ]
    assert table["reward_kimi"].to_pylist() == kimi
    assert table["reward_soft"].to_pylist() == earned({"max_len": 30, "buffer": 15}, tokens)
    assert len(set(kimi)) > 4
    assert min(table["reward_soft"].to_pylist()) < 0
    shuffled = table.select([name for name in table.column_names if not name.startswith("reward")])
    shuffled = shuffled.take([5 * at % 16 for at in range(16)])
    again = analyze(commands.parquet(tmp_path / "b.parquet", shuffled), **given, output_dir=tmp_path / "b")
    assert again.json("problem_metrics.json") == outcome.json("problem_metrics.json")


def test_cut_off_needs_no_ground_truth_but_a_column_that_says_so(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    given = {"reward_fn": "length", "reward_kwargs": {"rule": "cut_off"}}
    refused = analyze(lengthened(tmp_path), **given)
    assert refused.code == 2
    assert "neither a column 'finish_reason' nor 'max_tokens'" in refused.err
    outcome = analyze(lengthened(tmp_path, finish_reason=["stop", "length", None]), **given)
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward"].to_pylist()[:4] == [0.0, -1.0, 0.0, 0.0]
    limited = analyze(lengthened(tmp_path, max_tokens=[10]), **given, output_dir=tmp_path / "limited")
    tokens = limited.table()["response_tokens"].to_pylist()
    assert limited.table()["reward"].to_pylist() == [-1.0 if n >= 10 else 0.0 for n in tokens]


def test_what_is_right_must_be_said_by_something(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    refused = analyze(lengthened(tmp_path), reward_fn="length", reward_kwargs={"rule": "kimi"})
    assert refused.code == 2
    assert "use it as a part of combine" in refused.err
