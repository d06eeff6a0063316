"""Counting in blocks and by tables gives what numpy's own functions give, and the short way through two rewards the
metrics of the long one, to the last bit."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty import metrics
from analyzer.difficulty.counting import BLOCK, count, distinct, sums
from analyzer.schema import STATUSES, Metrics, Status
from analyzer.stages.summary import percentiles, status_counts

codes = st.lists(st.integers(0, 7), max_size=40).map(lambda values: np.array(values, np.int32))


@given(codes.map(np.sort) | codes, st.data())
def test_counts_are_those_of_bincount(given: np.ndarray, data: st.DataObject) -> None:
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(given), max_size=len(given))), bool)
    assert count(given, 9).tolist() == np.bincount(given, minlength=9).tolist()
    assert count(given, 9, chosen).tolist() == np.bincount(given[chosen], minlength=9).tolist()


@given(codes.map(np.sort) | codes, st.sampled_from([np.int32, np.int64]))
def test_sums_are_those_of_adding_one_by_one(given: np.ndarray, kind: type) -> None:
    values = (np.arange(len(given)) ** 3 - 7).astype(kind)
    expected = np.zeros(9, np.int64)
    np.add.at(expected, given, values)
    assert sums(given, values, 9).tolist() == expected.tolist()


def test_blocks_are_added_up_wherever_they_begin() -> None:
    given = np.arange(2 * BLOCK + 7, dtype=np.int32) // 1000
    problems = int(given[-1]) + 1
    assert np.array_equal(count(given, problems), np.bincount(given))
    even = given % 2 == 0
    assert np.array_equal(count(given[::-1], problems, even[::-1]), np.bincount(given[even], minlength=problems))
    assert np.array_equal(count(given, problems, even), np.bincount(given[even], minlength=problems))
    assert np.array_equal(sums(given, given, problems), np.bincount(given) * np.arange(problems))
    assert np.array_equal(sums(given[::-1], given[::-1], problems), sums(given, given, problems))


@pytest.mark.parametrize("rows", [0, 1, 5 * BLOCK])
def test_statuses_are_counted_in_memory_that_does_not_grow_with_the_rollouts(rows: int) -> None:
    """np.bincount of one byte a rollout takes eight more: 800 MB of 100 million."""
    statuses = np.zeros(rows, np.int8)
    statuses[-1:] = STATUSES.index(Status.TIMEOUT)
    tracemalloc.start()
    counts = status_counts(statuses)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts == {name: n for name, n in (("ok", rows - 1), ("timeout", min(rows, 1))) if n > 0}
    assert peak < 12 * BLOCK


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_code_that_is_no_problem_is_named(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"numbered {wrong}, but there are 3"):
        count(np.array([0, wrong, 2]), 3)


@pytest.mark.parametrize("bound", [100, 1 << 40])
@given(keys=st.lists(st.integers(0, 99), max_size=30))
def test_distinct_keys_are_those_of_unique(bound: int, keys: list[int]) -> None:
    values, of = distinct(np.array(keys, np.int64), bound)
    expected, inverse = np.unique(np.array(keys, np.int64), return_inverse=True)
    assert values.tolist() == expected.tolist()
    assert of.tolist() == inverse.tolist()


@given(st.lists(st.integers(-1, 9) | st.integers(0, 1 << 25), min_size=1, max_size=50))
def test_percentiles_of_lengths_are_those_of_numpy(lengths: list[int]) -> None:
    tokens = np.array(lengths, np.int32)
    expected = np.percentile(tokens, [50, 95, 5], method="nearest").tolist()
    assert percentiles(tokens, (50, 95, 5)) == expected


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0, 1, 1])), max_size=60),
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-0.0, 0.1), (0.5, 0.5)]),
    st.sampled_from([np.float32, np.float64]),
)
def test_two_rewards_have_the_metrics_of_any_rewards(
    rollouts: list[tuple[int, int | None]], values: tuple[float, float], kind: type
) -> None:
    given = np.array([code for code, _ in rollouts], np.int32)
    rewards = np.array([np.nan if at is None else values[at] for _, at in rollouts], kind)
    short = metrics.problem_metrics(given, rewards, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "two_values", lambda _: None)
        long = metrics.problem_metrics(given, rewards.astype(np.float64), 6, rewards >= np.float64(0.5))
    assert_same(short, long)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0.25, 0.5, 1.0, -2.0])), max_size=60), st.randoms())
def test_rewards_of_32_bits_in_any_order_have_the_metrics_of_64(
    rollouts: list[tuple[int, float | None]], chance: object
) -> None:
    ordered = sorted(rollouts, key=lambda one: one[0])
    pairs: Any = (
        (np.array([c for c, _ in rows], np.int32), np.array([np.nan if r is None else r for _, r in rows], kind))
        for rows, kind in ((rollouts, np.float32), (ordered, np.float64))
    )
    assert_same(*(metrics.problem_metrics(codes, rewards, 6) for codes, rewards in pairs))


def assert_same(one: Metrics, other: Metrics) -> None:
    for name, values in one._asdict().items():
        expected = getattr(other, name)
        if name == "mean_at":
            for k, means in values.items():
                assert means.tobytes() == expected[k].tobytes(), k
        elif isinstance(values, np.ndarray):
            assert values.tobytes() == expected.tobytes(), name
            assert values.dtype == expected.dtype
        else:
            assert values == expected, name
