"""The main job on real rollouts and on small ones: outputs, dialects, settings, warnings, and the ways to call it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import analyzer
from analyzer.buckets import names as strategies
from analyzer.commands.analyze_rollouts import COMMAND
from analyzer.commands.parsing import from_values, parse
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError, InputError, OutputError
from analyzer.workers import forks
from tests import processes
from tests.commands import (
    ROOT,
    SAMPLE,
    TOKENIZER,
    Outcome,
    changed,
    flags,
    known_tokenizer,
    parquet,
    real_command,
    rollouts,
)

Analyze = Callable[..., Outcome]
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
GOLD = "original_reward_model"
REWARDS = [float(row["sample_idx"] < row["data_idx"]) for row in rollouts()]

ABSTAINING = '''
"""Judges even answers only."""

def judge(data_source, solution_str, ground_truth, extra_info=None):
    answer = int(solution_str.split("#### ")[1])
    return None if answer % 2 else {"score": answer == int(ground_truth), "answer": answer}
'''

DEEP = """
def judge(data_source, solution_str, ground_truth, extra_info=None):
    note = 1
    for _ in range(90 if ground_truth == "0" else 300):
        note = [note]
    return {"score": 1.0, "note": note}
"""


# ---------------------------------------------------------------- the start


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({}, True),
        ({"n_jobs": 1}, False),
        ({"backend": "dask"}, False),
        ({"limit": 3}, False),
        ({"dry_run": True}, False),
        ({"explain_cache": True}, False),
        ({"rollouts": "missing.parquet"}, False),
        ({"rollouts": "small"}, False),
        ({"rollouts": "large*.jsonl"}, True),
    ],
)
def test_workers_begin_to_load_with_the_command_where_several_may_be_needed(
    given: dict[str, Any], started: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.jsonl").write_bytes(b" " * (1 << 20))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.jsonl").write_bytes(b" " * (1 << 10))
    values = {"rollouts": "large.jsonl", "output_dir": "out", "n_jobs": 2, **given}
    with COMMAND.ahead(from_values(AnalysisSettings, values)):
        server = forks._server
        assert (server is not None) == (started and len(os.sched_getaffinity(0)) > 1)
    assert forks._server is None
    assert server is None or server._process.returncode is not None


# ---------------------------------------------------------------- real rollouts


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, shared: Callable[[str], Path]) -> Outcome:
    """gsm8k_openai through the real command."""
    folder = tmp_path_factory.mktemp("real")
    given = shared("data/gsm8k_openai.parquet")
    words = flags(rollouts=given, model_path=TOKENIZER, output_dir="out", n_jobs=1, cache_dir="cache")
    outcome = real_command(folder, words)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture
def real_input(shared: Callable[[str], Path]) -> Path:
    return shared("data/gsm8k_openai.parquet")


def test_real_rollouts_come_out_as_they_went_in_with_four_columns_more(real: Outcome, real_input: Path) -> None:
    before, after = pq.read_table(real_input), real.table()
    assert after.column_names == [*before.column_names, "reward", "reward_status", "response_tokens", "reward_answer"]
    assert after.select(before.column_names).equals(before)
    assert after.schema.field("reward").type == pa.float64()


def test_real_rewards_agree_with_the_labels_of_the_authors(real: Outcome) -> None:
    frame = real.table().to_pandas()
    assert ((frame["reward"] >= 0.5) == (frame["label"] == 1)).mean() >= 0.998


def test_real_token_counts_are_those_of_the_tokenizer(real: Outcome) -> None:
    from transformers import AutoTokenizer  # here: a second of each worker of pytest

    table = real.table().slice(0, 300)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    encoded = tokenizer(table["response"].to_pylist(), add_special_tokens=False)["input_ids"]
    assert table["response_tokens"].to_pylist() == list(map(len, encoded))


def test_every_number_of_the_metrics_equals_plain_pandas(real: Outcome) -> None:
    frame = real.table().to_pandas()
    metrics = real.json("problem_metrics.json")
    assert list(metrics) == [str(idx) for idx in sorted(frame["data_idx"].unique())]
    for idx, rewards in frame.groupby("data_idx")["reward"]:
        top = rewards.sort_values(ascending=False)
        expected = {f"mean@{k}": top.head(k).mean() for k in (1, 3, 5, 10, 20)} | {
            "pass_rate": (rewards >= 0.5).mean(),
            "mean_reward": rewards.mean(),
            "max_reward": rewards.max(),
            "min_reward": rewards.min(),
            "std_reward": rewards.std(ddof=0),
            "num_samples": len(rewards),
            "num_scored": rewards.count(),
            "pass_rate_low": (rewards >= 0.5).mean(),
            "pass_rate_high": (rewards >= 0.5).mean(),
        }
        found = metrics[str(idx)]
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-12), idx
        assert list(found)[: len(expected)] == list(expected)


def test_the_summary_counts_what_is_there(real: Outcome) -> None:
    summary, frame = real.json("summary.json"), real.table().to_pandas()
    problems = pd.DataFrame(real.json("problem_metrics.json")).T
    assert (summary["total_problems"], summary["total_rollouts"]) == (660, 2640)
    assert summary["bucketing_strategy"] == "percentile"
    assert Counter(summary["bucket_distribution"]) == Counter(real.json("problem_buckets.json").values())
    assert summary["overall_metrics"] == pytest.approx(
        {
            "mean_pass_rate": problems["pass_rate"].mean(),
            "mean_reward": problems["mean_reward"].mean(),
            "mean@5": problems["mean@5"].mean(),
        },
        rel=1e-12,
    )
    assert summary["reward_status"] == {"ok": 2640}
    source = summary["data_sources"]["openai/gsm8k"]
    assert (source["reward"], source["rollouts"]) == ("gsm8k", 2640)
    assert summary["response_tokens"]["max"] == frame["response_tokens"].max()
    assert summary["response_tokens"]["mean"] == pytest.approx(frame["response_tokens"].mean(), abs=1e-3)
    assert summary["versions"]["rollout-analyzer"] == analyzer.__version__
    assert {"seed", "limit", "max_unscored", "reward_fn_key", "rewards"} <= summary["settings"].keys()


def test_the_summary_says_how_sure_the_buckets_are(real: Outcome) -> None:
    stability = real.json("summary.json")["stability"]
    assert list(stability) == ["same_bucket", "same_or_next_bucket", "by_bucket", "margin", "reason", "moves"]
    assert 0 < stability["margin"] < 0.2
    assert 0.4 < stability["same_bucket"] < stability["same_or_next_bucket"] <= 1
    assert list(stability["by_bucket"]) == ["hard", "medium-hard", "medium-easy", "easy"]
    line = real.err.splitlines()[real.err.splitlines().index("How sure:") + 1]
    low, high = (stability["same_bucket"] + sign * stability["margin"] for sign in (-1, 1))
    assert line.startswith(
        f"  if you resampled, about {stability['same_bucket']:.0%} ({low:.0%} to {high:.0%}) of the problems would"
    )


def test_the_summary_holds_nothing_of_this_machine_or_this_run(real: Outcome) -> None:
    text = json.dumps(real.json("summary.json"))
    for word in ("n_jobs", "backend", "cache", str(real.folder.parent), str(ROOT), "seconds"):
        assert word not in text


def test_timings_are_in_a_file_of_their_own(real: Outcome) -> None:
    seconds = real.json("timings.json")["seconds"]
    assert list(seconds) == [
        "read",
        "plan",
        "score",
        "merge",
        "metrics",
        "bucket",
        "estimate",
        "audit",
        "summary",
        "write",
        "total",
    ]
    assert max(seconds.values()) == seconds["total"]


@pytest.mark.parametrize("strategy", strategies())
def test_each_strategy_puts_every_real_problem_and_its_rollouts_into_one_bucket(
    strategy: str, real: Outcome, real_input: Path, analyze: Analyze
) -> None:
    outcome = analyze(real_input, bucketing_strategy=strategy, cache_dir=real.folder.parent / "cache")
    assert outcome.code == 0
    assert "nothing is scored again" in outcome.err
    buckets = outcome.json("problem_buckets.json")
    everything = outcome.table()
    assert list(buckets) == [str(data_idx) for data_idx in sorted(set(everything["data_idx"].to_pylist()))]
    for name in set(buckets.values()):
        ids = [int(data_idx) for data_idx, bucket in buckets.items() if bucket == name]
        of_bucket = everything.filter(pa.compute.is_in(everything["data_idx"], pa.array(ids, pa.int64())))
        assert outcome.table(f"rollouts_{name}").equals(of_bucket)
    for file in ("problem_metrics.json", "rollouts_with_rewards.parquet"):
        assert outcome.files()[file] == real.files()[file]


# ---------------------------------------------------------------- what is printed


@pytest.mark.parametrize("strategy", strategies())
def test_stdout_is_the_block_and_nothing_else(strategy: str, tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(SAMPLE, bucketing_strategy=strategy, outputs="problems")
    assert outcome.out == (GOLDEN / f"sample_{strategy}.txt").read_text()


def test_the_real_command_prints_the_block_then_the_audit(tmp_path: Path) -> None:
    known_tokenizer(tmp_path / "cache")  # tests/commands/test_imports.py starts with an empty one
    words = flags(rollouts=SAMPLE, model_path=TOKENIZER, output_dir="out", cache_dir="cache", n_jobs=1, limit=200)
    outcome = real_command(tmp_path, words, {"PYTHONIOENCODING": "ascii"}, started=True)
    assert outcome.code == 0
    assert outcome.out == (GOLDEN / "sample_percentile.txt").read_text()
    assert "scoring: 1,600 of 1,600 rollouts in " in outcome.err
    assert "openai/gsm8k: reward gsm8k; an answer was found in 94.6% of the responses" in outcome.err


def test_responses_without_answers_are_shown_with_two_examples_and_a_remedy(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "response": f"The answer\n\x1b[2Jis {row['data_idx']}."} for row in rollouts()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    assert outcome.code == 0
    (warning,) = [line for line in outcome.err.splitlines() if "no answer was found" in line]
    assert "100% of the responses of openai/gsm8k" in warning
    assert '"#### number"' in warning
    assert warning.count("The answer") == 2
    assert "is 0." in warning
    assert "is 1." in warning
    assert "--reward_fn" in warning
    assert "\x1b" not in outcome.err


def test_low_rewards_despite_found_answers_get_a_warning(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(parquet(tmp_path / "r.parquet", rollouts(1, 6)))
    assert "rewards are low everywhere" in outcome.err
    assert "--reward_fn_key" in outcome.err


def test_few_samples_and_ties_get_a_warning(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts(3, 2) + [{**row, "data_idx": 10 + row["data_idx"]} for row in rollouts(1, 2) * 9]
    unique = {(row["data_idx"], row["sample_idx"]): row for row in rows}
    more = [{**row, "data_idx": 100 + i} for i in range(9) for row in rollouts(1, 2)]
    outcome = analyze(parquet(tmp_path / "r.parquet", [*unique.values(), *more]))
    assert "have fewer than 5 scored rollouts" in outcome.err
    assert "ties make the buckets uneven" in outcome.err
    assert outcome.json("summary.json")["warnings"]


# ---------------------------------------------------------------- dialects


@pytest.mark.parametrize(
    "dialects",  # of one problem after the other: in one column as far as they have one type
    [
        [lambda gold: {"style": "rule", "ground_truth": gold}],
        [
            lambda gold: json.dumps({"ground_truth": gold}),
            lambda gold: f' {{"style": "rule", "ground_truth": "{gold}"}}',
            lambda gold: gold,
        ],
    ],
    ids=["struct", "JSON string, with space, and bare"],
)
@pytest.mark.parametrize("place", [GOLD, "original_answer", "answer"])
def test_every_dialect_of_the_ground_truth_is_scored_alike(
    dialects: list[Callable[[str], Any]], place: str, tmp_path: Path, analyze: Analyze
) -> None:
    rows = rollouts(5)[8:]  # without the problems 0 and 1, of which few rollouts are right
    right = [row["sample_idx"] < row["data_idx"] for row in rows]
    for row in rows:
        row[place] = dialects[row["data_idx"] % len(dialects)](row.pop(GOLD)["ground_truth"])
    key = "reward_model" if place == GOLD else "answer"
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), reward_fn_key=key)
    assert outcome.code == 0
    assert outcome.table()["reward"].to_pylist() == [float(each) for each in right]


def test_a_prompt_may_be_a_chat_list(tmp_path: Path, analyze: Analyze) -> None:
    chat = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1?"}]
    outcome = analyze(parquet(tmp_path / "r.parquet", [{**row, "prompt": chat} for row in rollouts()]))
    assert outcome.code == 0
    assert outcome.table()["prompt"].to_pylist() == [chat] * 12


def test_special_tokens_are_taken_out_of_what_is_scored_and_counted_as_they_are(
    tmp_path: Path, analyze: Analyze
) -> None:
    padding = "<|im_end|>" + "<|endoftext|>" * 40
    rows = [{**row, "response": row["response"] + padding} for row in rollouts()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    table = outcome.table()
    assert table["reward"].to_pylist() == REWARDS
    assert table["response"].to_pylist() == [row["response"] for row in rows]
    plain = analyze(parquet(tmp_path / "plain.parquet", rollouts()), output_dir=tmp_path / "plain")
    assert table["response_tokens"].to_pylist() == [n + 41 for n in plain.table()["response_tokens"].to_pylist()]


def test_a_data_source_that_is_given_goes_before_that_of_the_data(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "original_data_source": "my/own", "response": row["response"] + "\\boxed{2}"} for row in rollouts()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), data_source="lighteval/MATH")
    assert outcome.code == 0
    assert outcome.table()["reward"].to_pylist() == [float(row["data_idx"] == 1) for row in rows]
    assert list(outcome.json("summary.json")["data_sources"]) == ["lighteval/MATH"]


def test_data_without_a_data_source_takes_a_reward_by_name(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{name: value for name, value in row.items() if name != "original_data_source"} for row in rollouts()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), reward_fn="gsm8k")
    assert outcome.table()["reward"].to_pylist() == REWARDS


def test_each_data_source_has_its_own_reward_and_routes_choose_another(tmp_path: Path, analyze: Analyze) -> None:
    rows = [
        {**row, "original_data_source": ["openai/gsm8k", "my/math"][row["data_idx"] % 2],
         "response": f"\\boxed{{{row[GOLD]['ground_truth']}}}\n#### {row[GOLD]['ground_truth']}"}
        for row in rollouts()
    ]  # fmt: skip
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), reward_routes={"my/*": "math_boxed", "*": "gsm8k"})
    assert outcome.code == 0
    sources = outcome.json("summary.json")["data_sources"]
    assert {name: source["reward"] for name, source in sources.items()} == {
        "my/math": "math_boxed",
        "openai/gsm8k": "gsm8k",
    }
    assert set(outcome.table()["reward"].to_pylist()) == {1.0}


# ---------------------------------------------------------------- rewards that are there, rewards that are not


def test_rewards_of_the_input_are_kept_and_rescore_scores_anew(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "reward": 0.25, "note": "x"} for row in rollouts()]
    given = parquet(tmp_path / "r.parquet", rows)
    kept = analyze(given, reward_fn="math_boxed")
    assert kept.code == 0
    assert kept.table()["reward"].to_pylist() == [0.25] * 12
    assert kept.table().column_names == [*rows[0], "reward_status", "response_tokens"]
    assert kept.json("summary.json")["settings"]["rewards_from_input"] is True
    assert "--reward_fn math_boxed was not used; add --rescore" in kept.err
    again = analyze(given, rescore=True, output_dir=tmp_path / "again")
    assert again.table()["reward"].to_pylist() == REWARDS
    assert again.table().column_names == [*kept.table().column_names, "reward_answer"]


@pytest.mark.parametrize("kind", [pa.null(), pa.string()], ids=str)
def test_a_column_of_data_sources_without_values_is_none(kind: pa.DataType, tmp_path: Path, analyze: Analyze) -> None:
    table = pa.Table.from_pylist([row | {"original_data_source": None} for row in rollouts()])
    table = table.set_column(
        table.column_names.index("original_data_source"), "original_data_source", pa.nulls(12, kind)
    )
    pq.write_table(table, tmp_path / "r.parquet")
    refused = analyze(tmp_path / "r.parquet")
    assert refused.code == 2
    assert "'original_data_source', which chooses the reward, is null in every row; name the data source" in refused.err
    assert analyze(tmp_path / "r.parquet", reward_fn="gsm8k").code == 0
    assert analyze(tmp_path / "r.parquet", data_source="openai/gsm8k", output_dir=tmp_path / "other").code == 0


def test_a_data_source_that_is_null_in_some_rows_is_that_of_the_flag(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts(3, 8)
    given = parquet(tmp_path / "r.parquet", [row | {"original_data_source": None} for row in rows[::2]] + rows[1::2])
    for flag in ({}, {"reward_fn": "gsm8k"}):
        refused = analyze(given, **flag)
        assert refused.code == 2
        assert "row 0 (counted from 0): original_data_source is null" in refused.err
        assert "or name the data source of all rollouts with --data_source" in refused.err
    outcome = analyze(given, data_source="openai/gsm8k")
    assert outcome.code == 0, outcome.err
    assert set(outcome.json("summary.json")["data_sources"]) == {"openai/gsm8k"}
    assert "in the input, and scored as" not in outcome.err


def test_a_data_source_other_than_that_of_the_input_is_used_and_said(tmp_path: Path, analyze: Analyze) -> None:
    names = ("openai/gsm8k", "lighteval/MATH")  # also of rollouts of one problem, which --data_source makes one of
    rows = [row | {"original_data_source": names[row["sample_idx"] % 2]} for row in rollouts()]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), data_source="openai/gsm8k")
    assert outcome.table()["reward"].to_pylist() == REWARDS
    warning = "6 rollouts are of data source 'lighteval/MATH' in the input, and scored as 'openai/gsm8k'"
    assert warning in outcome.err
    kept = analyze(
        parquet(tmp_path / "kept.parquet", [row | {"reward": 1.0} for row in rollouts()]),
        data_source="a", reward_routes="{a: gsm8k}", output_dir=tmp_path / "kept",
    )  # fmt: skip
    assert "--reward_routes and --data_source a were not used; add --rescore" in kept.err


def test_kept_rewards_that_are_missing_or_no_numbers_are_no_zeros(tmp_path: Path, analyze: Analyze) -> None:
    rows = [{**row, "reward": 1, "reward_status": "ok"} for row in rollouts(1, 8)]
    table = pa.Table.from_pylist(rows)
    rewards = pa.array([1.0, None, math.nan, math.inf, 0.0, 0.5, None, 0.5], from_pandas=False)
    status = pa.array(["ok", "ok", "ok", None, "ok", "timeout", "gold_error", "?"])
    for name, values in (("reward", rewards), ("reward_status", status)):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    outcome = analyze(parquet(tmp_path / "r.parquet", table))
    assert outcome.code == 3
    after = outcome.table()
    assert after["reward"].to_pylist() == [1.0, None, None, None, 0.0, None, None, 0.5]
    assert after["reward_status"].to_pylist() == [
        "ok", "abstain", "invalid_result", "invalid_result", "ok", "timeout", "gold_error", "ok"
    ]  # fmt: skip
    assert "the input has none for them; --rescore scores every response" in outcome.err
    assert "rewards are taken from the column 'reward' (8 rollouts); --rescore scores again" in outcome.err


@pytest.mark.parametrize("kind", [pa.int8(), pa.bool_(), pa.float32(), pa.decimal128(5, 2)])
def test_kept_rewards_may_be_any_number(kind: pa.DataType, tmp_path: Path, analyze: Analyze) -> None:
    table = pa.Table.from_pylist(rollouts())
    outcome = analyze(parquet(tmp_path / "r.parquet", table.append_column("reward", pa.array(REWARDS).cast(kind))))
    assert outcome.code == 0
    assert outcome.table()["reward"].to_pylist() == REWARDS


def test_outputs_are_an_input_again(tmp_path: Path, analyze: Analyze) -> None:
    first = analyze(parquet(tmp_path / "r.parquet", rollouts()))
    again = analyze(first.folder / "rollouts_with_rewards.parquet", output_dir=tmp_path / "again")
    assert again.code == 0
    for file in ("problem_metrics.json", "problem_buckets.json"):
        assert again.files()[file] == first.files()[file]
    assert again.table().equals(first.table())


@pytest.mark.usefixtures("warm_zygotes")
def test_a_reward_that_abstains_leaves_rollouts_unscored_and_ends_with_3(tmp_path: Path, analyze: Analyze) -> None:
    (tmp_path / "judge.py").write_text(ABSTAINING)
    given = parquet(tmp_path / "r.parquet", rollouts())
    outcome = analyze(given, reward_fn=f"{tmp_path}/judge.py:judge")
    assert outcome.code == 3
    table, right = outcome.table(), [reward == 1.0 for reward in REWARDS]
    assert table["reward"].to_pylist() == [1.0 if is_right else None for is_right in right]
    assert table["reward_status"].to_pylist() == ["ok" if is_right else "abstain" for is_right in right]
    assert table["reward_answer"].to_pylist() == [
        str(2 * row["data_idx"]) if is_right else None for row, is_right in zip(rollouts(), right, strict=True)
    ]
    metrics = outcome.json("problem_metrics.json")["1"]
    assert (metrics["pass_rate"], metrics["num_scored"]) == (1.0, 1)
    assert (metrics["pass_rate_low"], metrics["pass_rate_high"]) == (0.25, 1.0)
    assert [name == "unscored" for name in outcome.json("problem_buckets.json").values()] == [True, False, False]
    assert outcome.table("rollouts_unscored").num_rows == 4
    assert outcome.json("summary.json")["reward_status"] == {"ok": 3, "abstain": 9}
    assert outcome.json("summary.json")["data_sources"]["openai/gsm8k"]["reward"] == "judge.py:judge"
    assert str(tmp_path) not in json.dumps(outcome.json("summary.json"))
    assert "9 of 12 rollouts have no reward (abstain)" in outcome.err
    (line,) = outcome.errors
    assert "75.00%" in line
    assert "--max_unscored 1.00%" in line
    assert analyze(given, reward_fn=f"{tmp_path}/judge.py:judge", max_unscored=0.75, overwrite=True).code == 0


@pytest.mark.usefixtures("warm_zygotes")
def test_further_columns_that_are_nested_too_deeply_are_no_result(tmp_path: Path, analyze: Analyze) -> None:
    (tmp_path / "deep.py").write_text(DEEP)
    outcome = analyze(parquet(tmp_path / "r.parquet", rollouts()), reward_fn=f"{tmp_path}/deep.py:judge")
    assert outcome.code == 3
    assert outcome.table()["reward_status"].to_pylist() == ["ok"] * 4 + ["invalid_result"] * 8
    assert repr(outcome.table()["reward_note"][0].as_py()).count("[") == 90


# ---------------------------------------------------------------- settings


def test_a_limit_takes_the_first_problems_seen(tmp_path: Path, analyze: Analyze) -> None:
    rows = sorted(rollouts(), key=lambda row: (row["sample_idx"], -row["data_idx"]))
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), limit=2)
    assert list(outcome.json("problem_metrics.json")) == ["1", "2"]
    before = [row for row in rows if row["data_idx"] in (1, 2)]
    assert outcome.table().select(list(rows[0])).to_pylist() == before
    assert outcome.table()["reward"].to_pylist() == [float(row["sample_idx"] < row["data_idx"]) for row in before]


def test_a_limit_beyond_the_problems_takes_all(tmp_path: Path, analyze: Analyze) -> None:
    assert len(analyze(parquet(tmp_path / "r.parquet", rollouts()), limit=99).json("problem_metrics.json")) == 3


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path, analyze: Analyze) -> None:
    rows = changed(rollouts(), 0, original_data_source="HuggingFaceH4/MATH-500")
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), dry_run=True)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "Files: 1",
        "Rollouts: 12",
        "Problems: 3",
        "Shards: 1",
        "Tokenizer: gigatoken counts",
        "Data sources:",
        "  openai/gsm8k: 11 rollouts, reward gsm8k",
        "  HuggingFaceH4/MATH-500: 1 rollout, reward math_boxed",
    ]
    assert not outcome.folder.exists()
    assert not list((tmp_path / "cache").glob("runs/*"))


def test_a_config_file_holds_the_flags_and_a_flag_wins(tmp_path: Path, analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts())
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"rollouts": str(given), "bucketing_strategy": "pass_rate", "limit": 2}))
    outcome = analyze(None, config=config)
    assert outcome.json("summary.json")["bucketing_strategy"] == "pass_rate"
    for number, words in enumerate([{"limit": 1, "config": config}, {"config": config, "limit": 1}]):
        outcome = analyze(None, output_dir=tmp_path / f"out{number}", **words)
        assert outcome.json("summary.json")["total_problems"] == 1


def test_an_unknown_key_of_a_config_file_names_the_nearest(tmp_path: Path, analyze: Analyze) -> None:
    for text, says in [
        ("bucketing_stratgy: percentile\n", "did you mean 'bucketing_strategy'"),
        ("n_jobs: many\n", "c.yaml: n_jobs: 'many'"),
        ("- a\n", "c.yaml: the file must hold keys and values"),
        ("a: [\n", "c.yaml, line 2: not valid YAML"),
    ]:
        (tmp_path / "c.yaml").write_text(text)
        outcome = analyze(SAMPLE, config=tmp_path / "c.yaml")
        assert outcome.code == 2
        assert len(outcome.err.splitlines()) == 1
        assert says in outcome.errors[0]
    assert "none.yaml" in analyze(SAMPLE, config=tmp_path / "none.yaml").errors[0]


def test_what_print_config_prints_is_a_config_file(tmp_path: Path, analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts())
    words = flags(rollouts=given, limit=2, reward_routes={"a/*": "gsm8k"}, bucketing_strategy="pass_rate")
    printed = real_command(tmp_path, [*words, "--print_config"])
    assert printed.code == 0
    assert yaml.safe_load(printed.out)["reward_routes"] == {"a/*": "gsm8k"}
    (tmp_path / "c.yaml").write_text(printed.out)
    outcome = analyze(None, config=tmp_path / "c.yaml")
    assert outcome.code == 0
    assert outcome.json("summary.json")["bucketing_strategy"] == "pass_rate"
    assert outcome.json("summary.json")["total_problems"] == 2


def test_dashes_do_for_underscores_and_the_rest_of_a_word_is_left_alone() -> None:
    words = ["--rollouts=my-rollouts.parquet", "--model-path", "a-model", "--output-dir=an-out", "--n-jobs", "1"]
    read = parse(AnalysisSettings, [*words, "--bucketing-strategy", "pass_rate", "--dry-run"], "analyze_rollouts", "")
    assert (read.rollouts, read.model_path, read.output_dir) == ("my-rollouts.parquet", "a-model", "an-out")
    assert (read.n_jobs, read.bucketing_strategy, read.dry_run) == (1, "pass_rate", True)


def test_old_outputs_are_replaced_as_a_set_and_other_files_stay(tmp_path: Path, analyze: Analyze) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts())
    first = analyze(given)
    (first.folder / "notes.txt").write_text("mine")
    (first.folder / "rollouts_of_mine.parquet").write_text("mine")
    again = analyze(given, bucketing_strategy="pass_rate", overwrite=True)
    assert again.code == 0
    bucket_files = {f"rollouts_{name}.parquet" for name in again.json("summary.json")["bucket_distribution"]}
    assert "rollouts_very_hard.parquet" in bucket_files
    assert set(again.files()) == bucket_files | {
        "notes.txt", "rollouts_of_mine.parquet", "rollouts_with_rewards.parquet",
        "README.md", "problems.parquet", "problem_metrics.json", "problem_metrics.parquet", "problem_buckets.json",
        "summary.json",
    }  # fmt: skip
    assert (first.folder / "notes.txt").read_text() == "mine"


# ---------------------------------------------------------------- other ways to call it


@pytest.mark.parametrize("command", [["-m", "analyzer"], [str(Path(sys.executable).parent / "analyze-rollouts")]])
def test_the_module_and_the_entry_point_are_the_same_command(command: list[str]) -> None:
    if command[0] != "-m" and not Path(command[0]).exists():
        pytest.skip("needs the package to be installed")
    version = processes.run([*command, "--version"], check=True, cwd=ROOT)
    assert version.stdout.split()[-1] == analyzer.__version__
    wrong = processes.run([*command, "--rollout", "x"], cwd=ROOT)
    assert wrong.returncode == 2
    assert "did you mean 'rollouts'" in wrong.stderr


@pytest.mark.usefixtures("analyze")  # for the tokenizer, which it loads in this process
def test_analyze_does_the_same_from_python_and_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts())
    result = analyzer.analyze(
        rollouts=given, model_path=TOKENIZER, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", n_jobs=1
    )
    assert capsys.readouterr() == ("", "")
    assert (result.exit_code, result.scored, result.reused) == (0, 12, 0)
    assert result.problems["data_idx"].tolist() == [0, 1, 2]
    assert result.problems["pass_rate"].tolist() == [0.0, 0.25, 0.5]
    assert result.rollouts["reward"].tolist() == REWARDS
    assert result.bucket("hard")["data_idx"].unique().tolist() == [0]
    assert result.problems.query("bucket == 'hard'")["data_idx"].tolist() == [0]
    assert result.summary.to_json() == (tmp_path / "out" / "summary.json").read_bytes()


@pytest.mark.usefixtures("analyze")
def test_analyze_raises_what_the_command_says(tmp_path: Path) -> None:
    usual: dict[str, Any] = {"model_path": TOKENIZER, "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    with pytest.raises(ConfigError, match="did you mean 'rollouts'"):
        analyzer.analyze(rollout=SAMPLE, **usual)
    with pytest.raises(ConfigError, match="--n_jobs"):
        analyzer.analyze(rollouts=SAMPLE, n_jobs="many", **usual)
    with pytest.raises(ConfigError, match="--rollouts is required"):
        analyzer.analyze(**usual)
    with pytest.raises(InputError, match="no such file"):
        analyzer.analyze(rollouts=tmp_path / "none", **usual)
    with pytest.raises(ConfigError, match="use the command"):
        analyzer.analyze(rollouts=SAMPLE, dry_run=True, **usual)
    parquet(tmp_path / "out" / "summary.json", rollouts())
    with pytest.raises(OutputError, match="of another program"):
        analyzer.analyze(rollouts=SAMPLE, **usual)
