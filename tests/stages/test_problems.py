"""problems.parquet of a ground truth in a column of its own; tests/selection/test_problems.py has training files."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.stages.problems import coming_schema, flat_ground_truth
from tests.commands import TOKENIZER, Outcome, analyzed, parquet, rollouts

Analyze = Callable[..., Outcome]


@pytest.mark.parametrize("column", ["ground_truth", "original_answer"])
def test_a_bare_ground_truth_is_there_as_text_under_the_names_of_trainers(column: str, tmp_path: Path) -> None:
    rows = [
        {**{name: value for name, value in row.items() if name != "original_reward_model"}, column: 2 * row["data_idx"]}
        for row in rollouts()
    ]
    table = pq.read_table(analyzed(tmp_path, rows, model_path=TOKENIZER) / "problems.parquet")
    assert table["solution"].to_pylist() == table["label"].to_pylist() == ["0", "2", "4"]
    assert table["prompt"].to_pylist() == [f"What is {n} + {n}?" for n in range(3)]
    assert ("answer" in table.column_names) is (column == "original_answer")


def test_a_ground_truth_of_any_type_is_the_text_that_an_answer_would_be() -> None:
    values = {
        "text": ("5", "5"),
        "integer": (5, "5"),
        "float": (2.5, "2.5"),
        "truth": (True, "true"),
        "decimal": (Decimal("1.50"), "1.50"),
        "date": (datetime.date(2026, 1, 2), "2026-01-02"),
        "bytes": (b"5", "5"),
        "list": (["a", "b"], '["a","b"]'),
        "struct": ({"target": 5}, '{"target":5}'),
        "nothing": (None, None),
    }
    for name, (value, wanted) in values.items():
        for column in ([value], [{"style": "rule", "ground_truth": value}]):
            table = pa.table({"gold": column})
            assert flat_ground_truth(table["gold"], table.schema.field("gold")).to_pylist() == [wanted], name


def test_without_copies_of_the_rollouts_the_training_rows_are_the_same(tmp_path: Path, analyze: Analyze) -> None:
    rows = rollouts(6)
    for number in range(3):
        parquet(tmp_path / "in" / f"{number}.parquet", rows[8 * number : 8 * number + 8])
    outcomes = [analyze(tmp_path / "in", output_dir=tmp_path / kept, outputs=kept) for kept in ("all", "problems")]
    tables = [outcome.table("problems") for outcome in outcomes]
    assert tables[0].equals(tables[1])
    assert tables[1]["prompt"].to_pylist() == [f"What is {n} + {n}?" for n in range(6)]


@pytest.mark.parametrize("kind", ["gold", "sum", "rewards"])
def test_the_columns_are_known_before_anything_is_scored(kind: str, tmp_path: Path) -> None:
    rows = rollouts()
    settings: dict[str, Any] = {"model_path": TOKENIZER}
    parts = [{"name": "gsm8k"}, {"name": "format", "weight": 0.1, "options": {"tags": "open_r1"}}]
    if kind == "sum":
        settings |= {"reward_fn": "combine", "reward_kwargs": {"parts": parts, "pass_on": "gsm8k"}}
    if kind == "rewards":
        rows = [{"prompt": "p", "response": "r", "data_idx": str(n), "sample_idx": 0, "reward": 1.0} for n in range(3)]
    written = pq.read_schema(analyzed(tmp_path, rows, **settings) / "problems.parquet")
    names = ["gsm8k", "format"] if kind == "sum" else []
    coming = coming_schema(
        pq.read_schema(tmp_path / "r.parquet"), 1 if kind == "rewards" else 4, names, kind != "rewards"
    )
    assert coming.equals(written, check_metadata=True)
