"""What the tests of rewards share: tables of cases, and what verl itself returned on real and made-up responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

CASES = Path(__file__).parent / "cases"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of test_x.py, or of x/test_reward.py, that asks for `case` each row of cases/x.json.

    A row: {"id", "response", "ground_truth", "reward", "comment": the trap}; more keys where a test reads them.
    """
    name = metafunc.module.__name__.removesuffix(".test_reward").rpartition(".")[2].removeprefix("test_")
    table = CASES / f"{name}.json"
    if "case" in metafunc.fixturenames and table.exists():
        rows = json.loads(table.read_text(encoding="utf-8"))
        metafunc.parametrize("case", rows, ids=[row["id"] for row in rows])


class Verl(NamedTuple):
    """A row of ../shared/parity: a response, its ground truth, and what verl 0.9.1 returned for it."""

    response: str
    ground_truth: str
    verl_score: float
    verl_pred: str | None


@pytest.fixture
def parity(shared: Callable[[str], Path]) -> Callable[[str], Iterator[Verl]]:
    """A function from a data_source to its rows in all files of ../shared/parity."""

    def rows(data_source: str) -> Iterator[Verl]:
        for path in sorted(shared("parity").glob("*.parquet")):
            table = pq.read_table(path, columns=list(Verl._fields), filters=[("data_source", "=", data_source)])
            yield from (Verl(**row) for row in table.to_pylist())

    return rows
