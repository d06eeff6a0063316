"""What the tests of the strategies share: metrics from plain rewards, and the tables of cases."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.buckets import UNSCORED, Assignment, assign, build
from analyzer.difficulty.metrics import problem_metrics
from analyzer.schema import Metrics

Rewards = Sequence[Sequence[float | None]]
CASES = Path(__file__).resolve().parent / "cases"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `case` runs once for each case of its table: test_x.py, cases/x.json."""
    if "case" in metafunc.fixturenames:
        table = CASES / f"{Path(metafunc.definition.path).stem.removeprefix('test_')}.json"
        cases = json.loads(table.read_text(encoding="utf-8"))
        metafunc.parametrize("case", cases, ids=[case["id"] for case in cases])


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Rewards], Metrics]:
    """A function from the rewards of each problem (None: not scored) to the metrics."""

    def metrics(problems: Rewards) -> Metrics:
        codes = np.repeat(np.arange(len(problems)), [len(rewards) for rewards in problems])
        rewards = [math.nan if x is None else x for rewards in problems for x in rewards]
        return problem_metrics(codes, np.array(rewards, float), len(problems))

    return metrics


@pytest.fixture(scope="session")
def place(metrics_of: Callable[[Rewards], Metrics]) -> Callable[[str, Rewards], Assignment]:
    """A function from the name of a strategy and the rewards of each problem to the assignment."""
    return lambda name, problems: assign(build(name), metrics_of(problems))


@pytest.fixture(scope="session")
def check(place: Callable[[str, Rewards], Assignment]) -> Callable[[str, dict[str, Any]], None]:
    """A function that compares an assignment with a case: {"rewards", "buckets", "warnings": parts of each}."""

    def check(name: str, case: dict[str, Any]) -> None:
        assignment = place(name, case["rewards"])
        got = [UNSCORED if at < 0 else assignment.buckets[at] for at in assignment.positions]
        assert got == case["buckets"]
        expected = case.get("warnings", [])
        assert len(assignment.warnings) == len(expected), assignment.warnings
        for warning, part in zip(assignment.warnings, expected, strict=True):
            assert part in warning

    return check
