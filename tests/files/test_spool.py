"""Rows kept in a temporary file and read back in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from analyzer.files.spool import Spool

SCHEMA = pa.schema(
    [("n", pa.int64()), ("kind", pa.dictionary(pa.int8(), pa.string())), ("deep", pa.list_(pa.string()))]
)


def batch(numbers: list[int]) -> pa.RecordBatch:
    kinds = pa.array([f"kind {n % 3}" for n in numbers]).dictionary_encode().cast(SCHEMA.field("kind").type)
    return pa.record_batch([pa.array(numbers, pa.int64()), kinds, pa.array([["x"] * (n % 4) for n in numbers])], SCHEMA)


@given(st.lists(st.integers(0, 5), max_size=6), st.randoms(use_true_random=False))
def test_rows_come_back_in_the_order_asked_for(sizes: list[int], random: Any) -> None:
    import tempfile

    total = sum(sizes)
    wanted = [random.randrange(total) for _ in range(8)] if total else []
    with tempfile.TemporaryDirectory() as folder, Spool(SCHEMA, folder) as spool:
        start = 0
        for size in sizes:
            spool.add(batch(list(range(start, start + size))))
            start += size
        spool.finish()
        for rows in (wanted, list(range(total)), list(range(total))[1:-1]):
            table = spool.take(np.array(rows, np.int64))
            assert table.schema == SCHEMA
            assert table["n"].to_pylist() == rows
            assert table["kind"].to_pylist() == [f"kind {n % 3}" for n in rows]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with Spool(SCHEMA, tmp_path) as spool:
        spool.add(batch([1, 2]))
    assert not list(tmp_path.iterdir())
    with Spool(SCHEMA, tmp_path) as spool:
        spool.add(batch([1, 2]))
        spool.finish()
        assert spool.take(np.array([1, 0]))["n"].to_pylist() == [2, 1]
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
