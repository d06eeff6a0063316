"""The tables of the page say what the columns and summary.json say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyzer.report import panels, write_report
from analyzer.report.analysis import Analysis, Written
from tests.commands import ROOT, analyzed, parquet
from tests.report.test_page import Page, sample

__all__ = ["sample"]  # the fixture


def words_of(folder: Path) -> str:
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    return " ".join(" ".join(page.text).split())


def test_the_page_shows_the_audit_both_answers_and_where_problems_would_move(sample: Path) -> None:
    analysis, words = Analysis(sample), words_of(sample)
    assert (
        "the correct answer scores full marks in 24 of 24 sampled problems, another problem's answer in 0 of 24"
        in words
    )
    suspect = analysis.summary["difficulty"]["suspect_gold"][0]
    assert f"{suspect['ground_truth']} 0 of 8 {suspect['majority_answer']} {suspect['votes']}" in words
    moves = analysis.summary["stability"]["moves"]
    assert all(sum(row.values()) == pytest.approx(1, abs=1e-3) for row in moves.values())
    assert {name: row[name] for name, row in moves.items()} == analysis.summary["stability"]["by_bucket"]
    assert f"{moves['hard']['medium-hard'] * 100:.0f} %" in words


def test_cut_off_shares_by_bucket_are_those_of_the_rollouts(sample: Path) -> None:
    analysis = Analysis(sample)
    problems = pd.read_parquet(sample / "problem_metrics.parquet")
    for row in panels.cut_by_bucket(analysis, ["hard", "medium-hard", "medium-easy", "easy"]):
        member = problems[problems["bucket"] == row["name"]]
        assert row["share"] == pytest.approx(member["truncated"].sum() / member["num_samples"].sum())


def test_parts_of_a_reward_are_averaged_over_right_and_wrong(tmp_path: Path) -> None:
    rows = [
        {"reward": 1.0, "reward_status": "ok", "reward_format": 1.0, "reward_note": "x"},
        {"reward": 1.0, "reward_status": "ok", "reward_format": 0.5, "reward_note": "x"},
        {"reward": 0.0, "reward_status": "ok", "reward_format": 0.25, "reward_note": "x"},
        {"reward": 0.0, "reward_status": "ok", "reward_format": None, "reward_note": "x"},
    ]
    path = parquet(tmp_path / "r.parquet", rows)
    assert panels.parts(Written(path), 0.5) == [panels.Part("reward_format", 3, 0.25, 1.0, 0.75, 0.25)]


def test_lengths_are_shown_for_each_data_source(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lengths = {"a": random.integers(1, 100, 500), "b": random.integers(500, 900, 300)}
    rows = [{"original_data_source": n, "response_tokens": int(t)} for n, all_of in lengths.items() for t in all_of]
    found = panels.tokens_by_source(Written(parquet(tmp_path / "r.parquet", rows)))
    for name, all_of in lengths.items():
        assert found[name][0] == np.percentile(all_of, 50, method="inverted_cdf")
        assert found[name][1] == np.percentile(all_of, 95, method="inverted_cdf")


def test_a_sum_of_rewards_is_shown_by_its_weighted_parts_and_passes_by_the_deciding_one(tmp_path: Path) -> None:
    import gzip
    import json

    rows = [
        {
            "prompt": "What is 5?",
            "response": "Let me see. #### 5" if s < p else "#### 6",
            "data_idx": p,
            "sample_idx": s,
            "original_data_source": "openai/gsm8k",
            "original_reward_model": {"style": "rule", "ground_truth": "5"},
        }
        for p in range(5)
        for s in range(4)
    ]
    analyzed(
        tmp_path,
        rows,
        model_path=ROOT / "examples" / "sample" / "tokenizer",
        reward_fn="combine",
        reward_kwargs={
            "parts": [{"name": "gsm8k"}, {"name": "format", "weight": 0.75, "options": {"pattern": "#### .*"}}],
            "pass_on": "gsm8k",
        },
    )
    page = Page(write_report(tmp_path / "out").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    assert "What each part adds to the sum on average" in text
    assert "reward_format: 0.75" not in text
    titles = [line for line in page.text if " × " in line]
    assert "reward_format × 0.75: 0.75" in titles  # in the wrong responses: all of them have the format
    assert "reward_format × 0.75: 0" in titles
    assert "reward_gsm8k × 1: 1" in titles
    shown = json.loads(gzip.decompress(page.part("texts")))
    # A wrong response earns 0.75, above the threshold, and does not pass: the part gsm8k decides.
    assert {(one["reward"], one["right"]) for problem in shown for one in problem["samples"]} == {
        (1.0, True),
        (0.75, False),
    }
