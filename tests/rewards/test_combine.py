"""Sums of rewards: each part as it would be alone, and what passes decided by the part that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer import rewards
from analyzer.errors import ConfigError
from analyzer.grading import Limits
from analyzer.rewards import Where, leaves
from analyzer.rewards.combine import Combine
from analyzer.schema import Lengths, Problem, Score, Status
from analyzer.scoring import Scorer
from tests import commands
from tests.commands import Outcome
from tests.grading.warm import warm_zygotes

BONUS = """
def bonus(data_source, solution_str, ground_truth, extra_info=None, size=1.0):
    if "nothing" in solution_str:
        return None
    return {"score": size * ("####" in solution_str), "seen": len(solution_str)}
"""
PARTS: list[Any] = [{"name": "gsm8k", "weight": 1.0}, {"name": "numeric", "weight": -0.25}]


@pytest.fixture(scope="module", autouse=True)
def _zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


@pytest.fixture
def bonus(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(BONUS)
    return f"{path}:bonus"


def scored(reward: rewards.BaseReward, gold: Any, responses: list[str]) -> list[Score]:
    with closing(Scorer(reward, Limits())) as scorer:
        return scorer.score(Problem("a source", gold), responses)


def test_the_sum_is_that_of_the_parts_scored_alone(shared: Callable[[str], Path], bonus: str) -> None:
    """Real responses, one part in each place: the worker, Math-Verify's child, and a function's own child."""
    rows = pq.read_table(shared("data/gsm8k_openai.parquet")).slice(0, 60).to_pylist()
    parts: list[Any] = [
        {"name": "gsm8k", "weight": 1.0},
        {"name": "math_verify", "weight": 0.5, "options": {"recipe": "trl"}},
        {"name": bonus, "weight": -0.1, "options": {"size": 3.0}},
    ]
    whole = rewards.build("combine", {"parts": parts, "pass_on": "gsm8k"})
    alone = [rewards.build(part["name"], part.get("options", {})) for part in parts]
    for start in range(0, len(rows), 4):
        gold = rows[start]["original_reward_model"]["ground_truth"]
        texts = [row["response"] for row in rows[start : start + 4]]
        each = [scored(reward, gold, texts) for reward in alone]
        for at, score in enumerate(scored(whole, gold, texts)):
            first, second, third = (scores[at].reward for scores in each)
            assert score.parts == {"gsm8k": first, "math_verify": second, "bonus": third}
            assert first is not None
            assert second is not None
            assert third is not None
            assert score.reward == pytest.approx(first + 0.5 * second - 0.1 * third, abs=1e-12)
            assert score.pass_value == first
            assert score.extra == {"bonus_seen": len(texts[at])}


def test_a_part_that_cannot_score_leaves_the_sum_without_a_reward(bonus: str) -> None:
    whole = rewards.build("combine", {"parts": ["gsm8k", {"name": bonus, "weight": 0}], "pass_on": "gsm8k"})
    good, bad = scored(whole, "5", ["#### 5", "nothing #### 5"])
    assert (good.reward, good.status) == (1.0, Status.OK)
    assert (bad.reward, bad.status, bad.pass_value) == (None, Status.ABSTAIN, None)
    assert bad.detail == "bonus: it returned None"
    assert bad.parts == {"gsm8k": 1.0}


def test_what_the_other_parts_say_stays_where_one_cannot_score(bonus: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "def other(data_source, solution_str, ground_truth, extra_info=None):\n    return {'score': 0.0, 'length': 7}\n"
    )
    parts: list[Any] = ["gsm8k", *({"name": name, "weight": 0} for name in (bonus, f"{tmp_path / 'other.py'}:other"))]
    (bad,) = scored(rewards.build("combine", {"parts": parts, "pass_on": "gsm8k"}), "5", ["nothing #### 5"])
    assert (bad.reward, bad.status) == (None, Status.ABSTAIN)
    assert bad.extra == {"other_length": 7}


def test_other_parts_take_a_response_as_right_from_the_given_reward_on() -> None:
    """f1 gives 1.0 and 0.5: by default both are right to Kimi's length term, and the shorter one earns for it."""
    parts = [{"name": "f1"}, {"name": "length", "options": {"rule": "kimi", "unit": "characters"}}]
    responses = ["a b c d e f g h", "a b c d"]
    lengths = Lengths([8, 4], None)
    terms = {}
    for right_from in (None, 0.9):
        given = {} if right_from is None else {"right_from": right_from}
        whole = rewards.build("combine", {"parts": parts, "pass_on": "f1", **given})
        assert Combine(**json.loads(json.dumps(whole.options))).right_from == whole.right_from
        with closing(Scorer(whole, Limits())) as scorer:
            scores = scorer.score(Problem("a source", "a b c d e f g h"), responses, lengths)
        assert all(score.parts is not None for score in scores)
        terms[right_from] = [score.parts["length"] for score in scores if score.parts is not None]
    assert terms == {None: [-0.5, 0.5], 0.9: [-0.5, 0.0]}
    for wrong in ("x", True, float("nan")):
        with pytest.raises(ConfigError, match="right_from"):
            rewards.build("combine", {"parts": parts, "pass_on": "f1", "right_from": wrong})


def test_a_worker_builds_an_equal_sum_without_looking_for_the_functions_again(bonus: str, tmp_path: Path) -> None:
    whole = rewards.build("combine", {"parts": ["gsm8k", {"name": bonus}], "pass_on": "gsm8k"})
    again = Combine(**json.loads(json.dumps(whole.options)))
    assert (again.options, again.parts[1].reward.options) == (whole.options, whole.parts[1].reward.options)
    assert {reward.where for reward in leaves([again])} == {Where.WORKER, Where.CHILD}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs `parts`"),
        ({"parts": []}, "needs `parts`"),
        ({"parts": PARTS}, "needs `pass_on`"),
        ({"parts": PARTS, "pass_on": "gsm8"}, "did you mean 'gsm8k'"),
        ({"parts": ["gsm8k", "gsm8k"], "pass_on": "gsm8k"}, "two parts named 'gsm8k'"),
        ({"parts": [{"name": "gsm8k", "weigth": 1}]}, "did you mean 'weight'"),
        ({"parts": [{"name": "gsm8k", "weight": "1"}]}, "must be a number, not '1'"),
        ({"parts": [{"name": "gsm8k", "weight": float("nan")}]}, "must be a number"),
        ({"parts": [{"name": "gsm8k", "as": "status"}]}, "cannot be named 'status'"),
        ({"parts": [{"name": "gsm8k", "as": "a b"}]}, "cannot be named 'a b'"),
        ({"parts": [{"name": "gsm8k", "options": 3}]}, "options must be"),
        ({"parts": [{"name": "combine", "options": {"parts": ["gsm8k"]}}]}, "is a sum"),
        ({"parts": [{"name": "gsm9k"}]}, "did you mean 'gsm8k'"),
        ({"parts": [3]}, "part 1 is 3"),
        ({"parts": PARTS, "pass_on": "gsm8k", "weights": [1]}, "does not take these options"),
    ],
)
def test_what_is_no_sum_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        rewards.build("combine", options)
    assert said in str(refusal.value)


# ---------------------------------------------------------------- the whole run


def sum_of(passing: str) -> dict[str, Any]:
    """A sum whose value says little of what passes: wrong answers earn 0.75 with a number, right ones 0.5."""
    parts = [{"name": "gsm8k", "weight": -0.25}, {"name": "last_number", "weight": 0, "as": "number"}]
    parts.append({"name": "exact_match", "weight": 0.75, "as": "any", "options": {"place": "regex", "pattern": "(#)"}})
    return {"reward_fn": "combine", "reward_kwargs": {"parts": parts, "pass_on": passing}}


def test_what_passes_is_decided_by_the_named_part(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    path = commands.parquet(tmp_path / "in.parquet", commands.rollouts(problems=5))
    alone = analyze(path, reward_fn="gsm8k", output_dir=tmp_path / "alone")
    whole = analyze(path, **sum_of("gsm8k"), output_dir=tmp_path / "whole")
    assert (alone.code, whole.code) == (0, 0), whole.err
    table = whole.table()
    assert table["reward"].to_pylist() == [-0.25 * value for value in alone.table()["reward"].to_pylist()]
    assert table["reward_gsm8k"].to_pylist() == alone.table()["reward"].to_pylist()
    assert table["reward_pass_value"].to_pylist() == table["reward_gsm8k"].to_pylist()
    metrics, single = whole.json("problem_metrics.json"), alone.json("problem_metrics.json")
    for problem, values in single.items():
        for name in ("pass_rate", "passes", "solve_rate", "pass_rate_low", "pass_rate_high", "flag"):
            assert metrics[problem][name] == values[name], name
        assert metrics[problem]["mean_reward_gsm8k"] == values["mean_reward"]
        assert metrics[problem]["mean_reward"] == -0.25 * values["mean_reward"]
    source = whole.json("summary.json")["data_sources"]["openai/gsm8k"]
    assert source["pass_rate"] == alone.json("summary.json")["data_sources"]["openai/gsm8k"]["pass_rate"]
    assert source["parts"] == {"gsm8k": 0.5, "number": 0.5, "any": 0.0}
    assert "means of the parts: gsm8k 0.500, number 0.500, any 0.000" in whole.err


def test_a_threshold_is_compared_with_the_part_and_rewards_that_are_kept_keep_what_decides(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    path = commands.parquet(tmp_path / "in.parquet", commands.rollouts(problems=5))
    whole = analyze(path, **sum_of("gsm8k"))
    stricter = analyze(path, **sum_of("gsm8k"), pass_threshold=1.5, output_dir=tmp_path / "stricter")
    kept = analyze(whole.folder / "rollouts_with_rewards.parquet", output_dir=tmp_path / "kept")
    rates = [
        [values["pass_rate"] for values in outcome.json("problem_metrics.json").values()]
        for outcome in (whole, kept, stricter)
    ]
    assert rates[0] == rates[1] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rates[2] == [0.0] * 5


def test_a_sum_may_be_the_route_of_a_data_source_and_its_values_are_written_nowhere(
    tmp_path: Path, analyze: Callable[..., Outcome], bonus: str
) -> None:
    path = commands.parquet(tmp_path / "in.parquet", commands.rollouts(problems=3))
    secret = "s3cret-value"
    shutil.copy(bonus.partition(":")[0], tmp_path / "secret.py")
    (tmp_path / "secret.py").write_text(BONUS.replace("size=1.0", "size=1.0, key=''"))
    parts = [{"name": "gsm8k"}, {"name": f"{tmp_path}/secret.py:bonus", "weight": 0.5, "options": {"key": secret}}]
    config = tmp_path / "sum.yaml"
    route = {"openai/*": {"name": "combine", "options": {"parts": parts, "pass_on": "gsm8k"}}}
    config.write_text(json.dumps({"reward_routes": route}))
    outcome = analyze(path, config=config, backend="sequential")
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward"].to_pylist()[-4:] == [1.5, 1.5, 0.5, 0.5]
    assert outcome.table()["reward_bonus_seen"].null_count == 0
    written = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    written += [file for file in outcome.folder.rglob("*") if file.is_file() and file.name != "provenance.json"]
    assert not [file for file in written if secret.encode() in file.read_bytes()]


def test_programs_of_a_part_run_in_the_sandbox_and_only_when_that_is_allowed(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    gold = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    rows = [
        {**row, "response": f"```python\nprint(int(input()) + {at % 2})\n```", "original_reward_model": gold}
        for at, row in enumerate(commands.rollouts(problems=1))
    ]
    path = commands.parquet(tmp_path / "in.parquet", rows)
    parts = [{"name": "prime_code"}, {"name": "includes", "weight": 0.0}]
    given = {"reward_fn": "combine", "reward_kwargs": {"parts": parts[:1]}}
    refused = analyze(path, **given)
    assert refused.code == 2
    assert "--allow_code_execution" in refused.err
    outcome = analyze(path, **given, allow_code_execution=True, sandbox="rlimits")
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward"].to_pylist() == [0.0, 1.0, 0.0, 1.0]
