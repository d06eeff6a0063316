"""Difficulty end to end: what a user reads of why problems look hard, how sure it is, and where more samples pay."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.schema import least_passing
from analyzer.stages.remarks import rounding_lines, threshold_lines
from tests.commands import Outcome, parquet


def rows(problems: list[list[str]], golds: list[str], **more: Any) -> list[dict[str, Any]]:
    """Rollouts of GSM8K problems: the final line of each response."""
    return [
        {
            "prompt": f"question {number}",
            "response": response,
            "data_idx": number,
            "sample_idx": sample,
            "original_data_source": "openai/gsm8k",
            "original_reward_model": {"style": "rule", "ground_truth": golds[number]},
            **{name: values[number][sample] for name, values in more.items()},
        }
        for number, responses in enumerate(problems)
        for sample, response in enumerate(responses)
    ]


REASONS = [
    ["#### 2125"] * 8,
    ["#### 7"] * 6 + ["#### 1", "#### 2"],
    ["no"] * 8,
    ["cut"] * 8,
    [f"#### {n}" for n in range(8)],
]
SOLVED = [["#### 5"] * 8 for _ in range(30)]


@pytest.fixture
def reasons(tmp_path: Path, analyze: Any) -> Outcome:
    problems = [*REASONS, *SOLVED]
    cut = [["length" if responses == ["cut"] * 8 else "stop"] * 8 for responses in problems]
    given = rows(problems, ["2,125", "9", "4", "4", "99", *["5"] * 30], finish_reason=cut)
    outcome: Outcome = analyze(parquet(tmp_path / "r.parquet", given), top_up=100)
    assert outcome.code == 0, outcome.err
    return outcome


def test_every_problem_that_was_never_solved_has_its_reason(reasons: Outcome) -> None:
    metrics = reasons.json("problem_metrics.json")
    assert [metrics[str(number)]["flag"] for number in range(6)] == [
        "gold_unearnable",
        "suspect_gold",
        "no_answer",
        "cut_off",
        "",
        "",
    ]
    difficulty = reasons.json("summary.json")["difficulty"]
    assert difficulty["never_solved"] == {
        "problems": 5,
        "gold_unearnable": 1,
        "suspect_gold": 1,
        "cut_off": 1,
        "no_answer": 1,
        "hard": 1,
    }
    assert difficulty["gold_unearnable"] == [
        {
            "data_idx": 0,
            "ground_truth": "2,125",
            "majority_answer": "2125",
            "votes": 8,
            "passes": 0,
            "num_samples": 8,
        }
    ]
    assert difficulty["suspect_gold"][0]["majority_answer"] == "7"
    (line,) = [line for line in reasons.err.splitlines() if "never solved" in line]
    assert (
        "5 problems were never solved: 1 cannot be solved: the ground truth fails its own reward, e.g. '2,125'" in line
    )


def test_the_columns_of_the_metrics_are_those_of_the_table(reasons: Outcome) -> None:
    table = reasons.table("problem_metrics")
    metrics = reasons.json("problem_metrics.json")
    assert table.column_names == ["data_idx", "bucket", *metrics["0"]]
    for row in table.to_pylist():
        del row["bucket"]
        assert metrics[str(row.pop("data_idx"))] == pytest.approx(row, nan_ok=True)
    second = metrics["1"]
    assert (second["passes"], second["distinct_answers"], second["majority_answer"]) == (0, 3, "7")
    assert (second["majority_share"], second["pass@8"], second["pass^1"], second["truncated"]) == (0.75, 0.0, 0.0, 0)
    assert 0 <= second["solve_rate_low"] <= second["solve_rate"] <= second["solve_rate_high"] <= 1
    assert metrics["3"]["truncated"] == 8
    assert metrics["2"]["majority_answer"] is None
    answers = reasons.table().to_pylist()[8:16]
    assert [row["reward_answer"] for row in answers] == ["7"] * 6 + ["1", "2"]
    assert "reward_answer" in reasons.table("rollouts_easy").column_names


def test_the_top_up_is_a_file_of_problems_and_a_line_of_what_it_buys(reasons: Outcome) -> None:
    table = reasons.table("topup")
    assert table.column_names == ["data_idx", "samples", "first_sample_idx"]
    assert sum(table["samples"].to_pylist()) == 100
    assert set(table["first_sample_idx"].to_pylist()) == {8}
    assert "100 more rollouts (+36%) for" in reasons.err


def test_an_input_with_rewards_and_answers_gives_the_same_majorities(
    reasons: Outcome, tmp_path: Path, analyze: Any
) -> None:
    again = analyze(reasons.folder / "rollouts_with_rewards.parquet", output_dir=tmp_path / "again")
    assert again.code == 0, again.err
    mine, theirs = (outcome.json("problem_metrics.json") for outcome in (again, reasons))
    for name in ("majority_answer", "majority_share", "distinct_answers", "passes", "solve_rate"):
        assert [one[name] for one in mine.values()] == [one[name] for one in theirs.values()]


def test_data_sources_without_answers_have_no_majority_that_could_be_wrong(tmp_path: Path, analyze: Any) -> None:
    given = [
        {**row, "reward": 1.0, "reward_answer": answer, "original_data_source": source}
        for row, source, answer in zip(rows([["#### 5"] * 4, ["none"] * 4], ["5", "5"]), ["a"] * 4 + ["b"] * 4,
                                       ["5"] * 4 + [None] * 4, strict=True)
    ]  # fmt: skip
    outcome = analyze(parquet(tmp_path / "r.parquet", given))
    assert outcome.json("summary.json")["difficulty"]["maj_at_n"] == 1


def test_rewards_on_another_scale_are_said_and_the_threshold_is_a_flag(tmp_path: Path, analyze: Any) -> None:
    given = rows([["#### 5"] * 4, ["#### 6"] * 4], ["5", "5"])
    values = [2.0] * 4 + [1.0] * 4
    path = parquet(tmp_path / "r.parquet", [{**row, "reward": value} for row, value in zip(given, values, strict=True)])
    outcome = analyze(path)
    assert "rewards are 1 and 2, and all reach the pass threshold 0.5, so every rollout passes" in outcome.err
    assert "--pass_threshold, 1.5 for instance" in outcome.err
    right = analyze(path, pass_threshold=1.5, output_dir=tmp_path / "right")
    assert [one["pass_rate"] for one in right.json("problem_metrics.json").values()] == [1.0, 0.0]
    assert "pass threshold" not in right.err
    assert right.json("summary.json")["settings"]["pass_threshold"] == 1.5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([float(value) for value in range(1, 101)], "rewards are 1 to 100, and all reach the pass threshold 0.5"),
        ([float(value) for value in range(11)], "rewards are 0 to 10, and all from 1 on pass (91%)"),
        ([0.0, 0.5, 1.0, 1.5], "rewards are 0 to 1.5, and all from 0.5 on pass (75%)"),
        ([0.0, 0.1, 0.3], "rewards are 0 to 0.3, and all stay below the pass threshold 0.5, so every rollout fails"),
        ([0.0, 1.0], ""),
        ([-1.0, 1.0], ""),
        ([0.0, 0.25, 0.5, 1.0], ""),
        ([0.0, 1.0, 1.1], ""),  # accuracy and a small bonus: what passes is what is right
        ([0.0, 100.0], ""),
    ],
)
def test_a_threshold_of_another_scale_gets_a_warning_and_the_suggested_one_divides(
    values: list[float], said: str
) -> None:
    lines = threshold_lines(0.5, np.array([*values, np.nan]))
    assert len(lines) == bool(said)
    if lines:
        assert lines[0].startswith(said)
        suggested = float(re.findall(r"--pass_threshold, ([0-9.]+) for instance", lines[0])[0])
        assert min(values) < suggested <= max(values)
        assert suggested not in (min(values), max(values))


def stored(value: float, bits: int) -> float:
    """The value rounded to that many significant bits: bfloat16 has 8, float16 has 11."""
    exponent = math.frexp(value)[1]
    return math.ldexp(round(math.ldexp(value, bits - exponent)), exponent - bits)


@pytest.mark.parametrize(("kind", "bits"), [("bfloat16", 8), ("float16", 11)])
@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.3, -0.3, 1.1, 0.1, 100.1])
def test_rewards_that_16_bits_put_below_the_threshold_are_said_with_one_that_they_reach(
    threshold: float, kind: str, bits: int
) -> None:
    reward = stored(threshold, bits)
    lines = rounding_lines(threshold, np.array([0.0, reward, 1.0, reward, np.nan], np.float32))
    assert bool(lines) == (reward < least_passing(threshold))
    for line in lines:
        assert line.startswith(f"2 rewards are {reward:g}, which is {threshold:g} in {kind}")
        assert reward >= least_passing(float(re.findall(r"give --pass_threshold (\S+)", line)[0]))


def test_rewards_that_no_rounding_made_are_not_remarked(tmp_path: Path, analyze: Any) -> None:
    assert rounding_lines(0.5, np.array([0.0, 0.5, 0.4999])) == []
    assert rounding_lines(0.7, np.array([0.0, 0.7, 1.0, 0.69])) == []
    assert rounding_lines(1e300, np.array([0.0, np.inf])) == []
    # In a run: pass rates stay what the numbers say, and the remark is below the summary.
    given = [row | {"reward": 0.69921875} for row in rows([["a", "b"]] * 2, ["5", "6"])]
    outcome = analyze(parquet(tmp_path / "r.parquet", given), pass_threshold=0.7)
    assert outcome.json("summary.json")["overall_metrics"]["mean_pass_rate"] == 0
    assert "4 rewards are 0.699219, which is 0.7 in bfloat16" in outcome.err


def test_problems_mostly_unscored_end_with_3_though_few_rollouts_are(tmp_path: Path, analyze: Any) -> None:
    problems = [["x"] * 3, ["x"] * 4, *[["x"] * 60 for _ in range(20)]]
    given = rows(problems, ["5"] * 22)
    values = [None, None, 1.0, *[None, None, 1.0, 1.0], *[1.0, 0.0] * 600]  # half of the second, which is not most
    path = parquet(tmp_path / "r.parquet", [{**row, "reward": value} for row, value in zip(given, values, strict=True)])
    outcome = analyze(path)
    assert outcome.code == 3
    assert outcome.json("summary.json")["difficulty"]["unscored"]["problems_mostly_unscored"] == 1


@pytest.mark.parametrize(
    ("values", "strategy", "threshold", "moved"),
    [
        # Two passes for the first problem change its rank, and with it the buckets of two that lack nothing.
        ([[0, 0, None, None], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], "percentile", 0.5, 1),
        ([[0, 0, None, None], [1, 1, None, None], [1, 1, 1, 1]], "pass_rate", 0.5, 2),  # up, and down
        ([[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, None], [1, 0, 0, 0]], "pass_rate", 0.5, 0),  # 1 or 2 of 11: below a quarter
        ([[1, 0, 0, 0], [1, 1, 1, 1]], "pass_rate", 0.5, 0),
        ([[-0.9, None], [-1, -1], [-1.1, -1.1]], "percentile", -0.5, 1),  # 0 would pass: a failure is worse than -0.5
    ],
)
def test_problems_that_could_move_are_those_that_lack_a_reward(
    values: list[list[float | None]], strategy: str, threshold: float, moved: int, *, tmp_path: Path, analyze: Any
) -> None:
    given = [
        {**row, "reward": reward}
        for row, reward in zip(
            rows([["x"] * len(each) for each in values], ["5"] * len(values)),
            [value if value is None else float(value) for each in values for value in each],
            strict=True,
        )
    ]
    settings = {"bucketing_strategy": strategy, "pass_threshold": threshold, "max_unscored": 1}
    outcome = analyze(parquet(tmp_path / "r.parquet", given), **settings)
    assert outcome.json("summary.json")["difficulty"]["unscored"]["problems_that_could_move"] == moved


@pytest.mark.parametrize(
    ("values", "strategy", "moved", "finished"),
    [
        ([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]], "pass_rate", 1, 3 / 6),
        # With 1 for each cut response that passes, the first problem would be easier than the second.
        ([[0.6, 0.6, 0.6], [0.7, 0.7, 0.7], [0.0, 0.0, 0.0]], "mean_reward", 0, 3 / 6),
    ],
)
def test_problems_that_cut_off_responses_could_move_are_those_whose_cut_responses_failed(
    values: list[list[float]], strategy: str, moved: int, finished: float, *, tmp_path: Path, analyze: Any
) -> None:
    ends = [["stop", "length", "length"], ["stop", "stop", "length"], ["stop", "stop", "stop"]]
    given = [
        {**row, "reward": reward, "finish_reason": end}
        for row, reward, end in zip(
            rows([["x"] * 3] * 3, ["5"] * 3),
            [v for each in values for v in each],
            [e for each in ends for e in each],
            strict=True,
        )
    ]
    outcome = analyze(parquet(tmp_path / "r.parquet", given), bucketing_strategy=strategy)
    found = outcome.json("summary.json")["difficulty"]["truncation"]
    assert (found["cut_off"], found["problems_that_could_move"]) == (3, moved)
    assert found["pass_rate_of_finished"] == pytest.approx(finished, abs=1e-6)
    line = "1 problem could be in another bucket if their cut-off responses had passed"
    assert (line in outcome.err) == (moved == 1)


def test_one_sample_a_problem_says_nothing_of_how_sure(tmp_path: Path, analyze: Any) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", rows([["#### 5"], ["#### 6"], ["#### 5"]], ["5"] * 3)))
    stability = outcome.json("summary.json")["stability"]
    assert stability["same_bucket"] is None
    assert "one scored rollout" in stability["reason"]
    assert "unknown: most problems have one scored rollout" in outcome.err
    difficulty = outcome.json("summary.json")["difficulty"]
    assert difficulty["informative"]["8"] == {"share": None, "low": None, "high": None}
    assert "different rewards" not in outcome.err
    assert "confident answers" not in outcome.err  # one answer is no majority
    assert "duplicate another sample" not in outcome.err  # nor are short answers that agree copies


def test_copies_of_long_responses_are_said(tmp_path: Path, analyze: Any) -> None:
    long = "because " * 40
    given = rows([[long + "#### 5"] * 8, [long + f"#### {n}" for n in range(8)]], ["5", "5"])
    outcome = analyze(parquet(tmp_path / "r.parquet", given))
    remark = "7 of 16 long responses of openai/gsm8k duplicate another sample of the same problem"
    assert remark in outcome.err
    shuffled = [dict(given[at], reward=1.0) for at in np.random.default_rng(0).permutation(len(given)).tolist()]
    kept = analyze(parquet(tmp_path / "kept.parquet", shuffled), overwrite=True)  # rewards that the input brings
    assert remark in kept.err
    assert kept.json("summary.json")["difficulty"]["duplicates"] == {
        "openai/gsm8k": {"long_responses": 16, "repeated": 7}
    }


def test_unequal_numbers_of_samples_are_said(tmp_path: Path, analyze: Any) -> None:
    given = rows([["#### 5"] * 4, ["#### 5"] * 8 + ["#### 6"] * 8], ["5", "5"])
    outcome = analyze(parquet(tmp_path / "r.parquet", given))
    assert "problems have 4 to 16 scored rollouts: they are ranked by the mean@5 expected of 4 of them" in outcome.err
    assert "; pass rate 0.600 of its rollouts, 0.750 on average over its problems;" in outcome.err
    assert "2 problems and 20 rollouts, analyzed" in (outcome.folder / "README.md").read_text()


def test_nothing_of_it_depends_on_the_order_of_the_rows(tmp_path: Path, analyze: Any) -> None:
    random = np.random.default_rng(0)
    problems = [[f"#### {random.integers(3)}" for _ in range(random.integers(2, 9))] for _ in range(60)]
    given = rows(problems, ["1"] * 60)
    shuffled = [given[at] for at in random.permutation(len(given))]
    first = analyze(parquet(tmp_path / "a.parquet", given), output_dir=tmp_path / "a", top_up=50)
    second = analyze(parquet(tmp_path / "b.parquet", shuffled), output_dir=tmp_path / "b", top_up=50)
    for name in ("problem_metrics.json", "problem_buckets.json"):
        assert first.json(name) == second.json(name)
    assert first.table("topup").equals(second.table("topup"))
    mine, theirs = (outcome.json("summary.json")["difficulty"] for outcome in (first, second))
    assert json.dumps(mine) == json.dumps(theirs)
    assert pq.read_schema(tmp_path / "a" / "problem_metrics.parquet").field("flag").type == pa.string()


def test_each_data_source_has_its_own_pass_rate_and_problems_always_and_never_solved(
    tmp_path: Path, analyze: Any
) -> None:
    """A problem with one sample counts as well; one without a scored rollout is in neither."""
    passes: dict[str, list[list[int | None]]] = {"b": [[1], [1, 1, 0], [None]], "a": [[1, 1], [0, 0], [1, 0], [0]]}
    rows = [
        {
            "prompt": f"{source} {problem}",
            "response": "text",
            "data_idx": f"{source}{problem}",
            "sample_idx": sample,
            "original_data_source": source,
            "reward": None if passed is None else float(passed),
        }
        for source, problems in passes.items()
        for problem, samples in enumerate(problems)
        for sample, passed in enumerate(samples)
    ]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), max_unscored=1)
    report = outcome.json("summary.json")["difficulty"]
    shown = {
        name: tuple(of[key] for key in ("problems", "always_solved", "never_solved"))
        for name, of in report["data_sources"].items()
    }
    assert shown == {"a": (4, 1, 2), "b": (2, 1, 0)}
    assert report["data_sources"]["a"]["pass_rate"] == pytest.approx((1 + 0 + 0.5 + 0) / 4, abs=1e-6)
    assert report["data_sources"]["b"]["pass_rate"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
    assert report["never_solved"]["problems"] == 2
    assert report["samples"] == {"fewest": 1, "most": 3}
