"""How sure the buckets are: foretold from half of the rollouts, and compared with the other half."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from analyzer import buckets, rewards
from analyzer.difficulty.metrics import problem_metrics
from analyzer.difficulty.stability import Stability, placing, stability

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def place(strategy: buckets.Strategy, codes: Ints, rewards: Floats, passing: Bools, problems: int) -> NDArray[np.int8]:
    return buckets.assign(strategy, problem_metrics(codes, rewards, problems, passing)).positions


def foretold(codes: Ints, values: Floats, problems: int, name: str = "percentile", seed: int = 42) -> Stability | None:
    strategy = buckets.build(name)
    return stability(placing(strategy), strategy.buckets, codes=codes, rewards=values, problems=problems, seed=seed)


def same_bucket(codes: Ints, first: Floats, second: Floats, problems: int, name: str) -> float:
    strategy = buckets.build(name)
    one, other = (place(strategy, codes, rewards, rewards >= 0.5, problems) for rewards in (first, second))
    return float((one == other).mean())


def sampled(rates: Floats, samples: int, seed: int) -> tuple[Ints, Floats]:
    """Rollouts of problems with these solve rates."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(rates)), samples)
    return codes, (random.random(len(codes)) < rates[codes]).astype(float)


@pytest.mark.parametrize("name", buckets.names())
@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.1, 0.9, 1.0]], ids=["binary", "graded"])
def test_draws_that_are_placed_together_are_where_each_is_alone(name: str, values: list[float]) -> None:
    random = np.random.default_rng(4)
    strategy = buckets.build(name)
    codes = np.repeat(np.arange(90), random.integers(1, 12, 90))
    draws = [(rewards := random.choice(values[: 1 + at], len(codes)), rewards >= 0.5) for at in range(4)]
    alone = [place(strategy, codes, rewards, passing, 90) for rewards, passing in draws]
    assert placing(strategy)(codes, draws, 90).tolist() == np.stack(alone).tolist()


def with_strategies(*cases: tuple[Any, ...]) -> list[Any]:
    """Each case with each strategy; with adaptive, which takes ten times as long, the first alone in `make test`."""
    return [
        pytest.param(*case, name, marks=pytest.mark.slow if name == "adaptive" and at else ())
        for at, case in enumerate(cases)
        for name in buckets.names()
    ]


@pytest.mark.parametrize(
    ("a", "b", "samples", "name"), with_strategies((2.0, 2.0, 8), (0.4, 0.6, 4), (0.3, 2.0, 16), (1.0, 1.0, 64))
)
def test_predicted_stability_holds_where_solve_rates_follow_a_beta_distribution(
    a: float, b: float, samples: int, name: str
) -> None:
    rates = np.random.default_rng(1).beta(a, b, 800)
    codes, first = sampled(rates, samples, seed=2)
    _, second = sampled(rates, samples, seed=3)
    told = foretold(codes, first, len(rates), name)
    assert told is not None
    assert told.same_bucket == pytest.approx(same_bucket(codes, first, second, len(rates), name), abs=0.05)


@functools.cache
def halves(path: Path, name: str, half: int) -> list[tuple[int, Floats, Floats]]:
    """Real rewards of 250 problems, three times halved at random: how many problems, and `half` rewards of each."""
    reward = rewards.build(name)
    assert isinstance(reward, rewards.Reward)
    rows = pq.read_table(path, columns=["data_idx", "response", "original_reward_model"])
    some = pc.is_in(rows["data_idx"], rows["data_idx"].unique()[:250])
    table = rows.filter(some).to_pylist()
    scores = [reward.grade(reward.extract(x["response"]), x["original_reward_model"]["ground_truth"]) for x in table]
    frame = pd.DataFrame({"data_idx": [x["data_idx"] for x in table], "reward": [score.reward for score in scores]})
    found = []
    for seed in range(3):
        turns = frame.sample(frac=1, random_state=seed).groupby("data_idx", sort=True).reward
        whole = [values.to_numpy(float)[: 2 * half] for _, values in turns if len(values) >= 2 * half]
        first, second = (
            np.concatenate([values[part] for values in whole]) for part in (slice(half), slice(half, None))
        )
        found.append((len(whole), first, second))
    return found


@pytest.mark.parametrize(
    ("file", "reward", "half", "name"),
    with_strategies(
        ("mmlu_pro", "multiple_choice", 2), ("gsm8k_zeroeval", "gsm8k", 8), ("math_l5_zeroeval", "math_boxed", 8)
    ),
)
def test_predicted_stability_holds_for_real_rollouts(
    file: str, reward: str, half: int, name: str, shared: Callable[[str], Path]
) -> None:
    both = []
    for problems, first, second in halves(shared(f"data/{file}.parquet"), reward, half):
        codes = np.repeat(np.arange(problems), half)
        told = foretold(codes, first, problems, name)
        assert told is not None
        assert told.same_bucket is not None
        both.append((told.same_bucket, same_bucket(codes, first, second, problems, name)))
    said, true = np.mean(both, axis=0)
    assert said == pytest.approx(true, abs=0.08)


def test_graded_rewards_that_were_luck_are_not_foretold_again() -> None:
    """Partial credit that says nothing of the problem: drawn among its own, 0.17 more stayed than do."""
    random = np.random.default_rng(3)
    gaps = []
    for seed in range(3):
        codes = np.repeat(np.arange(200), 8)
        rates = random.beta(0.3, 6, 200)[codes]
        both = [
            np.where(
                random.random(1600) < rates, random.choice([0.6, 0.8, 1.0], 1600), random.choice([0, 0.2, 0.4], 1600)
            )
            for _ in range(2)
        ]
        said = foretold(codes, both[0], 200, "mean_reward", seed)
        assert said is not None
        gaps.append((said.same_bucket or 0) - same_bucket(codes, both[0], both[1], 200, "mean_reward"))
    assert abs(np.mean(gaps)) < 0.06


@pytest.mark.parametrize("reward", [0.0, 1.0, -1.0])
def test_problems_that_are_all_alike_stay_where_they_are(reward: float) -> None:
    told = foretold(np.repeat(np.arange(50), 8), np.full(400, reward), 50, "pass_rate")
    assert told is not None
    assert (told.same_bucket or 0) > 0.98
    assert list(told.by_bucket) == ["very_easy" if reward == 1.0 else "very_hard"]


def test_many_samples_of_problems_far_apart_are_sure() -> None:
    codes, rewards = sampled(np.array([0.02, 0.12, 0.37, 0.62, 0.9]).repeat(10), 500, seed=0)
    told = foretold(codes, rewards, 50, "pass_rate")
    assert told is not None
    assert (told.same_bucket or 0) > 0.99
    assert told.same_or_next_bucket == 1.0


def test_the_order_of_the_rollouts_changes_nothing_and_the_unscored_have_no_part() -> None:
    codes, rewards = sampled(np.linspace(0, 1, 200), 8, seed=0)
    told = foretold(codes, rewards, 200)
    order = np.random.default_rng(5).permutation(len(codes))
    assert foretold(codes[order], rewards[order], 200) == told
    with_unscored = foretold(np.append(codes, [7, 200]), np.append(rewards, [np.nan, np.nan]), 201)
    assert with_unscored is not None
    assert told is not None
    assert with_unscored.same_bucket == pytest.approx(told.same_bucket, abs=0.02)


def test_new_rewards_are_among_those_that_were_earned() -> None:
    """Graded rewards: accuracy 0.9, format 0.1; the numbers of problems of both kinds, and the values, stay theirs."""
    codes = np.repeat(np.arange(100), 8)
    rewards = np.random.default_rng(0).choice([0.0, 0.1, 0.9, 1.0], len(codes))
    seen: list[Floats] = []

    def spy(codes: Ints, draws: Sequence[tuple[Floats, Bools]], problems: int) -> NDArray[np.int8]:
        seen.extend(rewards for rewards, _ in draws)
        return np.zeros((len(draws), problems), np.int8)

    told = stability(spy, ("all",), codes=codes, rewards=rewards, problems=100, seed=42)
    assert told is not None
    assert told[:3] == (1.0, 1.0, {"all": 1.0})
    assert set(np.unique(np.concatenate(seen))) == {0.0, 0.1, 0.9, 1.0}
    assert np.mean(seen[1:]) == pytest.approx(rewards.mean(), abs=0.03)
    assert not np.array_equal(seen[1], seen[2])


@pytest.mark.parametrize("rewards", [[1.0, 0.0], [np.nan, np.nan], []])
def test_no_stability_is_predicted_for_fewer_than_two_problems(rewards: list[float]) -> None:
    assert foretold(np.zeros(len(rewards), np.int64), np.array(rewards), 2) is None


def test_of_very_many_rollouts_some_are_enough() -> None:
    codes, rewards = sampled(np.random.default_rng(0).beta(1, 1, 30_000), 40, seed=1)
    rewards[codes < 10] = np.nan
    told, fewer = foretold(codes, rewards, 30_000), foretold(codes[:400_000], rewards[:400_000], 10_000)
    assert told is not None
    assert fewer is not None
    assert told.same_bucket == pytest.approx(fewer.same_bucket, abs=0.02)
