"""Texts of problems: kept by number, in memory or on disk."""

from __future__ import annotations

import pyarrow as pa
import pytest

from analyzer.cache.texts import Texts


@pytest.mark.parametrize("in_memory", [0, 40, 1 << 20])
def test_texts_come_back_by_number_whether_in_memory_or_on_disk(in_memory: int) -> None:
    store, every = Texts(in_memory), [["a", "", "é" * 9], [], ["long" * 30], ["b"]]
    firsts = [store.add(pa.array(part, type=pa.string())) for part in every]
    assert firsts == [0, 3, 3, 4]
    assert store.array().to_pylist() == [text for part in every for text in part]
    assert Texts().array().to_pylist() == []
