"""Data sources that earn little: the warning names a ground truth, an answer, and what would do better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Outcome, Row, parquet, rollouts

pytestmark = pytest.mark.usefixtures("warm_zygotes")
Analyze = Callable[..., Outcome]


def boxed(gold: str, source: str = "math_dapo", problems: int = 10) -> list[Row]:
    """Responses whose answer is the number of their problem; `gold` says how that is written as a ground truth."""
    return [
        {
            "prompt": "q",
            "response": f"Answer: {p + 1}",
            "data_idx": f"{source}-{p}",
            "sample_idx": s,
            "original_data_source": source,
            "original_reward_model": {"style": "rule", "ground_truth": gold.format(p + 1)},
        }
        for p in range(problems)
        for s in range(4)
    ]


def warnings_of(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    found: list[str] = outcome.json("summary.json")["warnings"]
    return found


@pytest.mark.parametrize(
    "gold", ['["{}"]', "<answer>{}</answer>", "Answer: {}", "#### {}", "<answer>\\boxed{{{}}}</answer>"]
)
def test_a_wrapped_ground_truth_beside_a_good_data_source_is_named_with_what_it_should_be(
    tmp_path: Path, analyze: Analyze, gold: str
) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", boxed("{}", "aime2024") + boxed(gold)))
    (low,) = [warning for warning in warnings_of(outcome) if "rewards are low" in warning]
    assert low.startswith("rewards are low for math_dapo (pass rate 0.000, 1.000 in the other data sources)")
    assert "the ground truth would match in 100% of 40 sampled responses: rewrite the ground truths" in low
    sources = outcome.json("summary.json")["data_sources"]
    assert (sources["aime2024"]["pass_rate"], sources["math_dapo"]["pass_rate"]) == (1.0, 0.0)
    assert "math_dapo: reward math_dapo; an answer was found in 100.0% of the responses; pass rate 0.000" in outcome.err


def test_an_empty_ground_truth_is_called_empty(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", boxed("{}", "aime2024") + boxed("")))
    (low,) = [warning for warning in warnings_of(outcome) if "rewards are low" in warning]
    assert 'ground truth "" (it is empty) beside the answer "' in low


def test_white_space_around_a_ground_truth_is_shown(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "response": "#### 5"} for row in boxed("5\n", "openai/gsm8k")]
    said = warnings_of(analyze(parquet(tmp_path / "r.parquet", rows)))
    assert any(r'ground truth "5\n" earns 0.0' in warning for warning in said)
    (low,) = [warning for warning in said if "rewards are low" in warning]
    assert r'ground truth "5\n" beside the answer "5"' in low
    assert r'("5" for "5\n")' in low


def test_a_hard_data_source_gets_no_advice_to_rewrite(tmp_path: Path, analyze: Analyze) -> None:
    wrong = [{**row, "response": "Answer: 0"} for row in boxed("{}")]
    (low,) = [w for w in warnings_of(analyze(parquet(tmp_path / "r.parquet", wrong))) if "rewards are low" in w]
    assert 'beside the answer "0"' in low
    assert "rewrite" not in low
    assert "sampled responses" not in low


def test_a_wrapped_ground_truth_is_no_reason_where_the_answers_are_wrong_without_it(
    tmp_path: Path, analyze: Analyze
) -> None:
    wrong = [{**row, "response": "Answer: 0"} for row in boxed('["{}"]')]
    (low,) = [w for w in warnings_of(analyze(parquet(tmp_path / "r.parquet", wrong))) if "rewards are low" in w]
    assert "rewrite" not in low


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_null_responses_are_left_out_of_the_trial(tmp_path: Path, analyze: Analyze, kept: int) -> None:
    rows = [{**row, "response": "Answer: 0" if at < kept else None} for at, row in enumerate(boxed("{}"))]
    if not kept:
        rows += boxed("{}", "aime2024")
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), max_unscored=1)
    assert outcome.code == 0, outcome.err
    trials = outcome.json("summary.json")["audit"]["other_rewards"]
    assert trials.get("math_dapo", {"responses": 0})["responses"] == kept


def test_another_reward_that_reads_the_answers_is_named_with_its_figures(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts(problems=10, samples=8)
    for at, row in enumerate(rows):
        if at % 4 == 0:  # a quarter in another format, half of them right
            right = at % 8 == 0
            row["response"] = f"So it is \\boxed{{{2 * row['data_idx'] + (0 if right else 1)}}}"
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    (warning,) = [w for w in warnings_of(outcome) if "no answer was found" in w]
    assert "no answer was found in 25% of the responses of openai/gsm8k" in warning
    trial = outcome.json("summary.json")["audit"]["other_rewards"]["openai/gsm8k"]
    own = sum(at % 4 != 0 and row["sample_idx"] < row["data_idx"] for at, row in enumerate(rows))
    assert (trial["other"], trial["other_found"], trial["found"]) == ("numeric", 1.0, 0.75)
    assert (trial["pass_rate"], trial["other_pass_rate"]) == (own / 80, (own + 10) / 80)
    assert (
        f"On 80 sampled responses, numeric finds an answer in 100% of them and gives {(own + 10) / 80:.2f} "
        f"where gsm8k gives {own / 80:.2f}." in warning
    )


def test_responses_cut_off_while_they_had_no_answer_are_not_blamed_on_the_reward(
    tmp_path: Path, analyze: Analyze
) -> None:
    rows: list[dict[str, Any]] = [{**row, "finish_reason": "stop"} for row in rollouts(problems=10, samples=8)]
    for row in rows[::4]:
        row |= {"response": "Let me think about it, and", "finish_reason": "length"}
    found = warnings_of(analyze(parquet(tmp_path / "r.parquet", rows)))
    assert not [warning for warning in found if "no answer was found" in warning]
    (cut,) = [warning for warning in found if "cut off" in warning]
    assert cut.startswith("25% of the responses are cut off at their token limit: of these 0 of 20 pass, ")


def test_the_examples_of_missing_answers_are_not_those_cut_off(tmp_path: Path, analyze: Analyze) -> None:
    rows: list[dict[str, Any]] = [{**row, "finish_reason": "stop"} for row in rollouts(problems=10, samples=8)]
    for at, row in enumerate(rows):
        if row["sample_idx"] < 2:
            row |= {"response": "no line" if at % 8 else "half a thou", "finish_reason": "stop" if at % 8 else "length"}
    (missing,) = [w for w in warnings_of(analyze(parquet(tmp_path / "r.parquet", rows))) if "no answer was found" in w]
    assert '"...no line"; "...no line"' in missing


def test_ground_truths_that_are_spelt_differently_and_equal_fool_no_reward(tmp_path: Path, analyze: Analyze) -> None:
    spellings = ["0.5", "\\frac{1}{2}", "1/2", "\\dfrac{1}{2}", ".5", "\\frac12"]
    rows = [
        {**row, "original_reward_model": {"style": "rule", "ground_truth": spellings[p % 6]}, "data_idx": p}
        for p in range(12)
        for row in boxed("{}", problems=1)
    ]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), reward_fn="math_verify")
    gold = next(iter(outcome.json("summary.json")["audit"]["ground_truths"].values()))
    assert gold["fooled"] == 0
    assert not [warning for warning in warnings_of(outcome) if "another problem's ground truth" in warning]


def test_a_reward_that_wrong_answers_earn_is_caught(tmp_path: Path, analyze: Analyze) -> None:
    rows = boxed("{}")
    for number, row in enumerate(rows):  # each ground truth is a part of those after it
        row["original_reward_model"] = {"style": "rule", "ground_truth": "abcdefghij"[9 - number // 4 :]}
    found = warnings_of(analyze(parquet(tmp_path / "r.parquet", rows), reward_fn="includes"))
    assert [w for w in found if "another problem's ground truth scores full marks from reward includes in" in w]
