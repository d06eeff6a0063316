"""estimate: how sure the buckets are does not depend on the order in which problems come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analyzer import buckets
from analyzer.rollouts.numbering import Numbering
from analyzer.stages.estimate import bucket_stability

SAMPLES, RANDOM = 6, np.random.default_rng(5)
REWARDS = (RANDOM.random((40, SAMPLES)) < RANDOM.random((40, 1))).astype(float)


def measured(ids: list[int]) -> Any:
    """The stability where the problems come in this order; problem n of `REWARDS` is of the data source n % 2."""
    rewards = REWARDS[ids].ravel()
    numbering = Numbering(pa.array(ids), np.arange(len(ids)) * SAMPLES, np.arange(len(ids)), rewards.size)
    merged: Any = SimpleNamespace(
        codes=np.repeat(np.arange(len(ids), dtype=np.int32), SAMPLES),
        rewards=rewards,
        passing=rewards >= 0.5,
        source=np.array(ids) % 2,
    )
    return bucket_stability(buckets.build("pass_rate"), numbering, merged, seed=42)


@pytest.mark.parametrize(
    "order", [range(39, -1, -1), [*range(20, 40), *range(20)], np.random.default_rng(0).permutation(40).tolist()]
)
def test_problems_in_any_order_are_as_sure(order: Any) -> None:
    found = measured(list(order))
    assert found == measured(list(range(40)))
    assert 0 < found.margin < 0.5


def test_one_problem_has_no_neighbours_to_be_sure_of() -> None:
    assert measured([0]) is None
