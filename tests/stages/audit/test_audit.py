"""The audit of the main job with a second grader: how often the two disagree, and where, for a person to look at."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import TOKENIZER, Outcome, Row, flags, parquet, real_command, rollouts

pytestmark = pytest.mark.usefixtures("warm_zygotes")
Analyze = Callable[..., Outcome]

MISSED = {"\\frac{1}{4}": "0.25", "x+1": "1+x", "\\{1,2\\}": "2, 1"}  # ground truth -> the same in other words


def sums() -> list[Row]:
    """60 rollouts, of which 12 give the right answer, or a wrong one, in a box that gsm8k does not look for."""
    rows = rollouts(problems=10, samples=6)
    for row in rows[::5]:
        right = row["data_idx"] % 2 == 0
        row["response"] = f"So it is\n\x1b[2J \\boxed{{{2 * row['data_idx'] + (0 if right else 1)}}} <script>"
    return rows


def equations() -> list[Row]:
    """30 rollouts of MATH, of which 9 are right in other words than the ground truth's."""
    return [
        {
            "prompt": "Solve it.",
            "response": f"So \\boxed{{{other if s < 3 else gold if s < 6 else 'y'}}}",
            "data_idx": 100 + p,
            "sample_idx": s,
            "original_data_source": "lighteval/MATH",
            "original_reward_model": {"style": "rule", "ground_truth": gold},
        }
        for p, (gold, other) in enumerate(MISSED.items())
        for s in range(10)
    ]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The real command with --audit."""
    folder = tmp_path_factory.mktemp("audited")
    source = parquet(folder / "r.parquet", sums() + equations())
    words = flags(rollouts=source, model_path=TOKENIZER, output_dir="out", cache_dir="cache", n_jobs=1, audit=True)
    outcome = real_command(folder, words)
    assert outcome.code == 0, outcome.err
    return outcome


def test_the_disagreement_rate_comes_with_an_interval(audited: Outcome) -> None:
    """Wilson's interval: of 9 in 30 it is 0.167 to 0.479."""
    second = audited.json("summary.json")["audit"]["second_grader"]
    assert set(second) == {"openai/gsm8k", "lighteval/MATH"}
    maths = second["lighteval/MATH"]
    assert (maths["grader"], maths["compared"], maths["disagreed"]) == ("math_verify", 30, 9)
    assert (maths["low"], maths["high"]) == pytest.approx((0.1666, 0.4788), abs=1e-4)
    assert (second["openai/gsm8k"]["compared"], second["openai/gsm8k"]["disagreed"]) == (60, 6)


def test_examples_show_both_rewards_the_ground_truth_and_the_response(audited: Outcome) -> None:
    second = audited.json("summary.json")["audit"]["second_grader"]
    examples = second["lighteval/MATH"]["examples"]
    assert len(examples) == 9
    assert {(one["reward"], one["second"]) for one in examples} == {(0.0, 1.0)}
    assert {one["ground_truth"]: one["response"] for one in examples} == {
        gold: f"So \\boxed{{{other}}}" for gold, other in MISSED.items()
    }
    assert {one["data_idx"] for one in second["openai/gsm8k"]["examples"]} <= set(range(0, 10, 2))


def test_examples_show_what_each_grader_read(audited: Outcome) -> None:
    second = audited.json("summary.json")["audit"]["second_grader"]
    for one in second["lighteval/MATH"]["examples"]:
        assert one["answer"] == one["second_answer"] == MISSED[one["ground_truth"]]
    for one in second["openai/gsm8k"]["examples"]:
        assert (one["answer"], one["second_answer"]) == (None, one["ground_truth"])
    assert "gsm8k read nothing, math_verify read '" in audited.err
    assert "math_boxed read '0.25', math_verify read '0.25'" in audited.err


def test_examples_that_were_cut_off_are_marked(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "finish_reason": "length" if row["sample_idx"] == 0 else "stop"} for row in equations()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), audit=True)
    examples = outcome.json("summary.json")["audit"]["second_grader"]["lighteval/MATH"]["examples"]
    assert {one["sample_idx"]: one["cut_off"] for one in examples} == {0: True, 1: False, 2: False}
    assert outcome.err.count("', which was cut off; math_boxed read") == 3


def test_stderr_shows_the_examples_side_by_side(audited: Outcome) -> None:
    lines = audited.err[audited.err.index("Audit:") :].splitlines()
    (found,) = [line for line in lines if line.startswith("  lighteval/MATH:")]
    assert "math_verify disagrees on 9 of 30 rollouts (95 % interval 16.7% to 47.9%)" in found
    at = lines.index(found)
    shown = lines[at + 1 : at + 10]
    assert all("math_boxed 0, math_verify 1; ground truth" in line for line in shown)
    assert "data_idx 100, sample_idx 0:" in shown[0]
    assert any(line.startswith("  - math_verify disagrees with reward math_boxed on 9 of 30") for line in lines)
    assert "\x1b" not in audited.err
    assert "Audit" not in audited.out


def test_at_most_ten_examples_are_kept(tmp_path: Path, analyze: Analyze) -> None:
    rows = [row | {"data_idx": row["data_idx"] + 10 * copy} for copy in range(4) for row in equations()]
    summary = analyze(parquet(tmp_path / "r.parquet", rows), audit=True).json("summary.json")
    second = summary["audit"]["second_grader"]["lighteval/MATH"]
    assert second["disagreed"] == 36
    assert len(second["examples"]) == 10


def test_without_the_flag_no_second_grader_is_asked(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", equations()))
    assert outcome.json("summary.json")["audit"]["second_grader"] == {}
    assert "disagrees" not in outcome.err
    assert outcome.json("summary.json")["audit"]["ground_truths"]["lighteval/MATH"]["failed"] == 0


def test_a_reward_that_two_graders_see_alike_gets_no_warning(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", rollouts(problems=5, samples=8)), audit=True)
    second = outcome.json("summary.json")["audit"]["second_grader"]["openai/gsm8k"]
    assert (second["compared"], second["disagreed"], second["examples"]) == (40, 0, [])
    assert "math_verify disagrees on 0 of 40 rollouts (95 % interval 0.0% to 8.8%)" in outcome.err
    assert "disagrees with reward" not in outcome.err


def test_the_warning_of_missing_answers_shows_the_ends_of_two_problems_responses(
    tmp_path: Path, analyze: Analyze
) -> None:
    rows = rollouts(problems=10, samples=6)
    for at, problem in ((14, "two"), (15, "two"), (16, "two"), (31, "five"), (32, "five")):
        rows[at]["response"] = f"a long way\nto stop at {problem}, without a mark"
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert "no answer was found in 8% of the responses of openai/gsm8k" in outcome.err
    shown = re.search(r'which is missing in "\.\.\.([^"]*)"; "\.\.\.([^"]*)"', outcome.err)
    assert shown is not None
    assert shown.groups() == (
        "a long way to stop at two, without a mark",
        "a long way to stop at five, without a mark",
    )


def test_a_rollout_without_a_reward_is_not_compared_and_those_after_it_are(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts(problems=5, samples=6)
    rows[3]["response"] = None
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), audit=True, max_unscored=1)
    (opinion,) = outcome.json("summary.json")["audit"]["second_grader"].values()
    assert (opinion["compared"], opinion["disagreed"]) == (29, 0)
