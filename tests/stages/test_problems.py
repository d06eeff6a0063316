"""problems.parquet of a ground truth in a column of its own; tests/selection/test_problems.py has training files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.commands import TOKENIZER, analyzed, rollouts


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
