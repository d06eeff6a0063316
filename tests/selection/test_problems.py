"""problems.parquet: the training row as it was in the training file, whoever wrote that; then the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.errors import ConfigError
from analyzer.report.analysis import Analysis
from analyzer.report.texts import read_problem
from tests.dialects import layouts
from tests.selection.conftest import ROOT, TOKENIZER, Make, analyzed, made_rollouts

SHARED = ROOT.parent / "shared" / "data"


def assert_training_rows_untouched(problems: pa.Table, training: pa.Table) -> None:
    """Names, order, types, field metadata, schema metadata and values of the training columns."""
    names = training.column_names
    assert problems.column_names[: len(names)] == names
    own = pa.schema([problems.schema.field(name) for name in names], problems.schema.metadata)
    assert own.equals(training.schema, check_metadata=True)
    assert problems.select(names).equals(training)


@pytest.mark.parametrize("origin", ["verl", "trl", "hf"])
def test_the_training_row_is_untouched(analysis_of: Make, origin: str) -> None:
    made = analysis_of(origin)
    problems = pq.read_table(made.folder / "problems.parquet")
    assert_training_rows_untouched(problems, pq.read_table(made.training))
    assert "__index_level_0__" not in problems.column_names
    ours = problems.schema.names[len(pq.read_schema(made.training).names) :]
    assert not [name for name in ours if problems.schema.field(name).type == pa.large_string()]
    metrics = pq.read_table(made.folder / "problem_metrics.parquet")
    added = problems.select([f"difficulty_{name}" for name in metrics.column_names])
    assert added.rename_columns(metrics.column_names).to_pydict() == metrics.to_pydict()


def test_a_real_training_file_keeps_its_nested_ground_truth_and_its_features(tmp_path: Path) -> None:
    source = SHARED / "verl_math_train.parquet"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    training = tmp_path / "verl.parquet"
    pq.write_table(pq.read_table(source).slice(0, 60), training)
    rollouts = made_rollouts(training, tmp_path / "verl_rollouts.parquet")
    made = analyzed(tmp_path, "verl", training, rollouts)
    problems = pq.read_table(made.folder / "problems.parquet")
    assert_training_rows_untouched(problems, pq.read_table(training))
    gold = json.loads(problems["label"][0].as_py())
    assert gold == problems["reward_model"][0].as_py()["ground_truth"]


def test_columns_of_the_training_data_are_not_shadowed_by_metrics(analysis_of: Make) -> None:
    problems = pd.read_parquet(analysis_of("trl").folder / "problems.parquet")
    assert set(problems["bucket"]) == {"mine"}
    assert set(problems["pass_rate"]) == {0.5}
    assert problems["difficulty_pass_rate"].nunique() == 9
    assert problems["solution"].tolist() == problems["label"].tolist()  # the first is the user's, the second is made


def analyse(folder: Path, rows: list[dict[str, Any]], **flags: Any) -> pa.Table:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rollouts.parquet")
    analyzer.analyze(
        rollouts=folder / "rollouts.parquet",
        model_path=TOKENIZER,
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        n_jobs=1,
        **flags,
    )
    return pq.read_table(folder / "out" / "problems.parquet")


def rollout(n: int, sample: int, **more: Any) -> dict[str, Any]:
    row = {"prompt": f"p{n}", "response": "r", "data_idx": n, "sample_idx": sample, "reward": 1.0}
    return {**row, "original_data_source": "s", "original_note": f"note {n} of the first sample", **more}


def test_rows_ascend_by_data_idx_whatever_the_order_of_the_rollouts(tmp_path: Path) -> None:
    rows = [rollout(n, s, original_big="x" * 2000) for s in range(2) for n in range(400)]
    order = np.random.default_rng(0).permutation(len(rows))
    problems = analyse(tmp_path, [rows[at] for at in order], limit=300)
    ids = problems["difficulty_data_idx"].to_pylist()
    assert ids == sorted(ids)
    assert len(ids) == 300
    assert problems["note"].to_pylist() == [f"note {n} of the first sample" for n in ids]
    assert problems["prompt"].to_pylist() == [f"p{n}" for n in ids]
    metrics = pq.read_table(tmp_path / "out" / "problem_metrics.parquet")
    assert metrics["data_idx"].to_pylist() == ids
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ({"style": "rule", "ground_truth": "5"}, "5"),
        ('{"style": "rule", "ground_truth": "5"}', "5"),
        ('{"ground_truth": 5}', "5"),
        ('{"ground_truth": ["5", "five"]}', '["5","five"]'),
        ("5", "5"),
        (5, "5"),
        ({"ground_truth": {"target": ["a"]}}, '{"target":["a"]}'),
    ],
)
def test_the_ground_truth_is_there_as_flat_text(tmp_path: Path, gold: Any, text: str) -> None:
    problems = analyse(tmp_path, [rollout(0, 0, original_reward_model=gold)])
    assert problems["solution"].to_pylist() == problems["label"].to_pylist() == [text]
    assert problems.schema.field("label").type == pa.string()


def test_without_a_ground_truth_there_is_no_such_column(tmp_path: Path) -> None:
    assert {"solution", "label"}.isdisjoint(analyse(tmp_path, [rollout(0, 0)]).column_names)


@pytest.mark.parametrize(
    ("golds", "texts"),
    [
        (
            [None, {"style": "rule"}, '"{\\"ground_truth\\": 5}"', "{'ground_truth': 5", 5],
            [None, None, None, None, "5"],
        ),
        ([{"ground_truth": None}, {"ground_truth": 5}], [None, "5"]),
        ([None, 5], [None, "5"]),
        ([None, None], [None, None]),
    ],
    ids=["mixed", "struct", "number", "null"],
)
def test_rewards_of_the_input_need_no_ground_truths_and_a_format_that_does_names_the_problem(
    tmp_path: Path, golds: list[Any], texts: list[str | None]
) -> None:
    rows = [rollout(n, s, reward=float(s), original_reward_model=gold) for n, gold in enumerate(golds) for s in (0, 1)]
    rollouts, cache = layouts.lines(tmp_path / "rollouts.jsonl", rows), tmp_path / "cache"
    analyzer.analyze(rollouts=rollouts, output_dir=tmp_path / "out", cache_dir=cache, backend="sequential")
    assert pq.read_table(tmp_path / "out" / "problems.parquet")["solution"].to_pylist() == texts
    made: dict[str, Any] = {"analysis": tmp_path / "out", "output": tmp_path / "train.jsonl", "format": "verl"}
    with pytest.raises(ConfigError, match=r"that of 0 is missing: .*--where 'solution is not null'"):
        analyzer.select(**made, where="pass_rate == 0.5")
    if any(texts):
        analyzer.select(**made, where="solution is not null")
        rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
        assert [row["reward_model"]["ground_truth"] for row in rows] == ["5"]


def test_what_an_earlier_analysis_left_in_the_training_data_is_replaced_and_said(tmp_path: Path) -> None:
    rows = [rollout(0, 0, original_difficulty_pass_rate=0.25, original_difficulty_level="hard")]
    problems = analyse(tmp_path, rows)
    assert problems.column_names.count("difficulty_pass_rate") == 1
    assert problems["difficulty_pass_rate"].to_pylist() == [1.0]
    assert problems["difficulty_level"].to_pylist() == ["hard"]  # no metric has that name
    warnings = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    assert [w for w in warnings if "earlier analysis" in w]


def test_the_card_names_problems_as_the_default_and_leaves_a_readme_of_the_user_alone(tmp_path: Path) -> None:
    import yaml

    analyse(tmp_path, [rollout(0, 0)])
    text = (tmp_path / "out" / "README.md").read_text()
    configs = yaml.safe_load(text.split("---")[1])["configs"]
    assert [c["config_name"] for c in configs if c.get("default")] == ["problems"]
    assert all((tmp_path / "out" / c["data_files"]).exists() for c in configs)
    other = tmp_path / "other"
    (other / "out").mkdir(parents=True)
    (other / "out" / "README.md").write_text("mine")
    analyse(other, [rollout(0, 0)])
    assert (other / "out" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("write", [layouts.trl, layouts.verl_rollouts], ids=["trl", "verl"])
def test_the_ground_truth_of_another_programs_rollouts_reaches_the_trainer_and_the_report(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    """Their column of it has many names, and with rewards that are kept nothing is graded by it."""
    folder = tmp_path / "analysis"
    analyzer.analyze(rollouts=write(tmp_path / "rollouts"), output_dir=folder, cache_dir=tmp_path / "cache", n_jobs=1)
    analyzer.select(analysis=folder, output=tmp_path / "grpo.parquet", format="trl", where="num_scored > 0")
    assert set(pq.read_table(tmp_path / "grpo.parquet")["solution"].to_pylist()) == set(layouts.GOLDS)
    analysis = Analysis(folder)
    assert {read_problem(analysis, number)[0].ground_truth for number in range(4)} == set(layouts.GOLDS)
