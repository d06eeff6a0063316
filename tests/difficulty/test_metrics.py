"""Metrics per problem: every number against a plain computation, and the laws they keep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty import counting, metrics
from analyzer.difficulty.metrics import overall_metrics, problem_metrics
from analyzer.schema import MEAN_AT, Metrics

some_reward = st.sampled_from([0.0, -0.0, 1.0, 0.1, 0.9, 0.5, -1.0, math.nan]) | st.floats(1e-6, 1e6).flatmap(
    lambda size: st.sampled_from([size, -size])
)
rewards_of_a_problem = st.lists(some_reward, min_size=1, max_size=40)


def of(*problems: list[float]) -> Metrics:
    """The metrics of problems given by their rewards."""
    codes = np.repeat(np.arange(len(problems)), [len(rewards) for rewards in problems])
    return problem_metrics(codes, np.array([x for rewards in problems for x in rewards], float), len(problems))


def same(left: Metrics, right: Metrics) -> bool:
    flat: list[dict[str, Any]] = [
        {f"mean@{k}": v for k, v in m.mean_at.items()}
        | m._asdict()
        | dict(m.parts)
        | {"mean_at": np.empty(0), "parts": 0}
        for m in (left, right)
    ]
    return all(np.asarray(value).tobytes() == np.asarray(flat[1][name]).tobytes() for name, value in flat[0].items())


def assert_equals_pandas(metrics: Metrics, codes: np.ndarray, rewards: np.ndarray) -> None:
    """Compare every number with what one would type into a notebook, problem by problem."""
    code: Any
    for code, all_rewards in pd.Series(rewards).groupby(codes):
        scored = all_rewards.dropna()
        passes = (scored >= 0.5).sum()
        unscored = len(all_rewards) - len(scored)
        expected = {f"mean@{k}": scored.nlargest(k).mean() for k in MEAN_AT} | {
            "pass_rate": passes / len(scored) if len(scored) else math.nan,
            "mean_reward": scored.mean(),
            "max_reward": scored.max(),
            "min_reward": scored.min(),
            "std_reward": scored.std(ddof=0),
            "num_samples": len(all_rewards),
            "num_scored": len(scored),
            "pass_rate_low": passes / len(all_rewards),
            "pass_rate_high": (passes + unscored) / len(all_rewards),
        }
        for name, value in expected.items():
            array = metrics.mean_at[int(name[5:])] if name.startswith("mean@") else getattr(metrics, name)
            assert array[code] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), (code, name)


@pytest.fixture
def labels(shared: Callable[[str], Path]) -> tuple[np.ndarray, np.ndarray]:
    """game24_cot: the problem of each of 10,000 rollouts of 100 problems, and its label as the reward."""
    frame = pd.read_parquet(shared("data/game24_cot.parquet"), columns=["data_idx", "label"])
    return pd.factorize(frame["data_idx"])[0], frame["label"].to_numpy(float)


def test_every_number_on_real_rollouts_equals_plain_pandas(labels: tuple[np.ndarray, np.ndarray]) -> None:
    codes, rewards = labels
    assert_equals_pandas(problem_metrics(codes, rewards, 100), codes, rewards)


def test_every_number_equals_plain_pandas_when_some_real_rollouts_are_unscored(
    labels: tuple[np.ndarray, np.ndarray],
) -> None:
    codes, rewards = labels
    rewards = np.where(np.random.default_rng(0).random(len(rewards)) < 0.1, math.nan, rewards)
    assert_equals_pandas(problem_metrics(codes, rewards, 100), codes, rewards)


def test_every_number_equals_plain_pandas_for_ragged_scattered_partial_rewards() -> None:
    random = np.random.default_rng(1)
    codes = random.integers(0, 100, 1_500).astype(np.int32)
    rewards = np.where(random.random(1_500) < 0.05, math.nan, random.normal(size=1_500))
    assert_equals_pandas(problem_metrics(codes, rewards, 100), codes, rewards)


def test_the_overall_averages_count_each_scored_problem_once() -> None:
    overall = overall_metrics(of([1.0], [0.0] * 99, [math.nan] * 5))
    assert overall == (0.5, 0.5, 0.5)


def test_the_overall_averages_are_not_a_number_when_nothing_is_scored() -> None:
    assert all(math.isnan(value) for value in overall_metrics(of([math.nan])))


def test_real_overall_averages_equal_plain_pandas(labels: tuple[np.ndarray, np.ndarray]) -> None:
    codes, rewards = labels
    groups = pd.Series(rewards).groupby(codes)
    overall = overall_metrics(problem_metrics(codes, rewards, 100))
    assert overall.mean_pass_rate == pytest.approx(groups.agg(lambda r: (r >= 0.5).mean()).mean(), rel=1e-12)
    assert overall.mean_reward == pytest.approx(groups.mean().mean(), rel=1e-12)
    assert overall.mean_at_5 == pytest.approx(groups.agg(lambda r: r.nlargest(5).mean()).mean(), rel=1e-12)


def test_a_problem_without_a_scored_rollout_has_null_metrics_and_open_bounds() -> None:
    metrics = of([math.nan, math.nan], [1.0])
    assert math.isnan(metrics.pass_rate[0])
    assert all(math.isnan(metrics.mean_at[k][0]) for k in MEAN_AT)
    assert (metrics.num_samples[0], metrics.num_scored[0]) == (2, 0)
    assert (metrics.pass_rate_low[0], metrics.pass_rate_high[0]) == (0.0, 1.0)


def test_unscored_rollouts_widen_the_bounds_and_leave_the_means_alone() -> None:
    metrics = of([1.0, 0.0, 0.0, math.nan])
    assert metrics.pass_rate[0] == 1 / 3
    assert (metrics.pass_rate_low[0], metrics.pass_rate_high[0]) == (0.25, 0.5)
    assert metrics.num_scored[0] == 3


def test_a_reward_of_exactly_one_half_passes() -> None:
    assert of([0.5, math.nextafter(0.5, 0)]).pass_rate[0] == 0.5


def test_equal_rewards_have_that_mean_whatever_their_number_and_no_deviation() -> None:
    metrics = of(*([reward] * number for reward in (0.9, 0.1, 1 / 3) for number in range(1, 30)))
    assert set(metrics.mean_reward.tolist()) == {0.9, 0.1, 1 / 3}
    assert not metrics.std_reward.any()


def test_the_smallest_rewards_are_not_lost_beside_large_ones() -> None:
    assert of([1e16, 1.0, -1e16]).mean_reward[0] == 1 / 3


def test_a_problem_larger_than_a_block_is_ranked_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counting, metrics):
        monkeypatch.setattr(module, "BLOCK", 1 << 12)
    monkeypatch.setattr(metrics, "_RECTANGLE", 1 << 10)
    size = 1 << 13
    rewards = np.random.default_rng(2).permutation(size) / 7.0
    found = problem_metrics(np.zeros(size, np.int32), rewards, 1)
    assert found.mean_at[3][0] == pytest.approx(((size - 1) + (size - 2) + (size - 3)) / 21.0)
    assert found.mean_reward[0] == math.fsum(rewards) / size


def test_no_problem_or_no_rollout_of_a_problem_is_no_error() -> None:
    nothing = np.empty(0)
    assert len(problem_metrics(nothing.astype(np.int64), nothing, 0).pass_rate) == 0
    assert problem_metrics(np.array([1]), np.array([1.0]), 3).num_samples.tolist() == [0, 1, 0]


def test_a_code_beyond_the_problems_is_refused() -> None:
    with pytest.raises(ValueError, match="numbered 3, but there are 3"):
        problem_metrics(np.array([0, 3]), np.array([1.0, 0.0]), 3)


@given(st.lists(rewards_of_a_problem, min_size=1, max_size=8))
def test_each_mean_is_the_exact_mean_rounded_once(problems: list[list[float]]) -> None:
    metrics = of(*problems)
    for code, rewards in enumerate(problems):
        scored = sorted((x for x in rewards if not math.isnan(x)), reverse=True)
        for k in MEAN_AT if scored else ():
            top = scored[:k]
            assert metrics.mean_at[k][code] == float(sum(map(Fraction, top), Fraction(0)) / len(top))


@given(st.lists(rewards_of_a_problem, min_size=1, max_size=8))
def test_the_mean_of_the_top_k_never_rises_with_k(problems: list[list[float]]) -> None:
    metrics = of(*problems)
    steps = np.diff([metrics.max_reward, *metrics.mean_at.values(), metrics.mean_reward], axis=0)
    assert not (steps > 0).any()


@given(st.lists(rewards_of_a_problem, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_rollouts_changes_no_bit(problems: list[list[float]], random: object) -> None:
    codes = np.repeat(np.arange(len(problems)), [len(rewards) for rewards in problems])
    rewards = np.array([x for rewards in problems for x in rewards], float)
    order = list(range(len(codes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert same(
        problem_metrics(codes, rewards, len(problems), rewards > 0.2, {"part": -rewards}),
        problem_metrics(
            codes[order].astype(np.int32),
            rewards[order],
            len(problems),
            rewards[order] > 0.2,
            {"part": -rewards[order]},
        ),
    )


@given(
    st.lists(st.lists(st.sampled_from([0.1, 0.9, math.nan]), max_size=30), min_size=1, max_size=8),
    st.sampled_from([(0.0, 1.0), (-0.0, 1.0), (0.1, 0.9), (-1.0, -1.0)]),
)
def test_metrics_kept_for_each_pair_of_counts_are_those_of_the_rollouts(
    problems: list[list[float]], values: tuple[float, float]
) -> None:
    named = dict(zip((0.1, 0.9), values, strict=True))
    rewards = [[named.get(reward, reward) for reward in those] for those in problems]
    kept = of(*rewards)
    assert same(of(*rewards), kept)  # from those that were kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_TABLED", -1)
        assert same(of(*rewards), kept)
        patch.setattr(metrics, "_of_two_values", lambda *given: None)
        assert same(of(*rewards), kept)


def test_a_zero_has_no_sign() -> None:
    found = of([-0.0, -0.0], [0.0, -0.0, 1.0, -1.0], [0.25, -0.0])
    for values in (found.max_reward, found.min_reward, found.mean_reward, *found.mean_at.values()):
        assert not np.signbit(values[values == 0]).any()


def test_of_problems_without_a_scored_rollout_nothing_is_common() -> None:
    found = of([math.nan, math.nan], [math.nan])
    assert found.common_samples == 0
    assert np.isnan(found.common_mean_at_5).all()
    assert (found.num_scored.tolist(), found.num_samples.tolist()) == ([0, 0], [2, 1])


@pytest.mark.parametrize(
    "problems", [[[0.0, 1.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.5]], [[0.0, 1.0], [0.5]], [[0.2] * 4, [0.2, 0.9, 0.9]]]
)
def test_where_numbers_differ_problems_are_compared_by_what_the_fewest_would_show(problems: list[list[float]]) -> None:
    """Of every subset of the common size the mean of its best 5, and the variance; one sample shows no variance."""
    found = of(*problems)
    common = min(map(len, problems))
    assert found.common_samples == common
    best = [np.mean([np.mean(sorted(s)[-5:]) for s in itertools.combinations(each, common)]) for each in problems]
    assert found.common_mean_at_5 == pytest.approx(best)
    spread = [
        math.sqrt(np.mean([np.var(s) for s in itertools.combinations(each, max(common, 2))])) if len(each) > 1 else 0.0
        for each in problems
    ]
    assert found.common_std_reward == pytest.approx(spread)
