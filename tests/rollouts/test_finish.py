"""finish_reason: every way to say that a response was cut off is understood, down to the whole command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analyzer.rollouts.finish import was_cut_off
from tests.commands import Outcome, jsonl, parquet, rollouts

REASONS = ["length", "stop", None, "MAX_TOKENS", "max_tokens", "Length", "eos", "", "max_output_tokens", "abort"]
CUT = [True, False, False, True, True, True, False, False, True, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(REASONS),
        pa.array(REASONS, pa.large_string()),
        pa.array(REASONS).dictionary_encode(),
        pa.chunked_array([REASONS[:4], REASONS[4:]]),
        pa.array([None if reason is None else {"type": reason, "length": 5} for reason in REASONS]),
    ],
    ids=lambda column: str(column.type),
)
def test_cut_off_responses_are_recognized_by_their_finish_reason(column: Any) -> None:
    assert was_cut_off(column).tolist() == CUT


@pytest.mark.parametrize("column", [pa.nulls(3), pa.array([1, 2, 3]), pa.array([{"reason": "length"}] * 3)])
def test_a_column_that_says_nothing_cuts_nothing(column: pa.Array) -> None:
    assert was_cut_off(column).tolist() == [False] * 3


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", {"type": "length", "length": 4}])
def test_the_command_counts_cut_off_responses_in_every_notation(
    tmp_path: Path, analyze: Callable[..., Outcome], write: Callable[..., Path], reason: Any
) -> None:
    ended = {"type": "stop", "length": 4} if isinstance(reason, dict) else "stop"
    rows = [row | {"finish_reason": reason if at % 2 else ended} for at, row in enumerate(rollouts())]
    name = "r.jsonl" if write is jsonl else "r.parquet"
    outcome = analyze(write(tmp_path / name, rows))
    assert outcome.code == 0, outcome.err
    assert outcome.json("summary.json")["truncated"] == 0.5
    assert "50% of the responses are cut off at their token limit" in outcome.err
