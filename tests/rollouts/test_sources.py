"""The responses that were cut off, and what the rollouts of each data source earned, against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty.by_source import tally
from analyzer.rollouts.sources import cut_off
from analyzer.stages import read
from tests.commands import parquet, rollouts


def opened(tmp_path: Path, rows: Any, **options: Any) -> Any:
    return read.open_files(str(parquet(tmp_path / "r.parquet", rows, **options)), str(tmp_path / "c")).dataset


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("finish_reason", ["stop", "length", None, "abort"], [False, True, False, False]),
        ("max_tokens", [10, 9, 0, 11], [True, True, False, False]),
        ("finish_reason", [1, 2, 3, 4], None),
    ],
)
def test_a_response_is_cut_off_as_the_server_says_or_as_long_as_allowed(
    tmp_path: Path, column: str, values: list[Any], expected: list[bool] | None
) -> None:
    table = pa.Table.from_pylist(rollouts(1, 4)).append_column(column, pa.array(values))
    found = cut_off(opened(tmp_path, table), [(0, 4)], np.full(4, 10, dtype=np.int32))
    assert (None if found is None else found.tolist()) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.49, 0.5, 1.0, None]), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_counts_are_those_of_a_plain_loop(rows: list[tuple[int, float | None, bool, bool]]) -> None:
    source, reward, found, cut = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    rewards = np.array([np.nan if value is None else value for value in reward], dtype=float)
    kinds = {"found": np.array(found, bool), "cut": np.array(cut, bool)}
    counts = tally(np.array(source, np.int32), 3, rewards=rewards, passing=rewards >= 0.5, **kinds)
    for code, count in enumerate(counts):
        own = [(r, f, c) for s, r, f, c in rows if s == code]
        scored = [(r, f, c) for r, f, c in own if r is not None]
        assert count.rollouts == len(own)
        assert count.scored == len(scored)
        assert count.passed == sum(r >= 0.5 for r, _, _ in scored)
        assert count.unfound == sum(not f and not c for _, f, c in scored)
        assert count.uncut == sum(not c for _, _, c in own)
        assert (count.cut_scored, count.cut_passed) == (
            sum(c for _, _, c in scored),
            sum(r >= 0.5 and c for r, _, c in scored),
        )
