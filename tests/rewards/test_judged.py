"""Rewards of a judge come as a column: the code of docs/custom_rewards.md, run on rollouts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import commands
from tests.commands import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "custom_rewards.md"


def test_the_documented_lines_make_a_column_that_is_kept(
    tmp_path: Path, analyze: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## A model as the judge")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    commands.parquet(tmp_path / "rollouts.parquet", commands.rollouts(problems=4))
    monkeypatch.chdir(tmp_path)
    verdicts = iter([0.9, None, 0.65, 0.7] * 4)
    exec(code[1], {"judge": lambda prompt, response: next(verdicts)})
    outcome = analyze(tmp_path / "judged.parquet", pass_threshold=0.7, max_unscored=0.5)
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward"].to_pylist() == [0.9, None, 0.65, 0.7] * 4
    assert outcome.json("summary.json")["reward_status"] == {"ok": 12, "abstain": 4}
    assert {one["passes"] for one in outcome.json("problem_metrics.json").values()} == {2}
