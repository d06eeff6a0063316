"""adaptive: its table of cases, cases/adaptive.json, and what KMeans could get wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.buckets import adaptive, assign, build
from analyzer.buckets.adaptive import _distinct_rows
from analyzer.difficulty.metrics import problem_metrics
from analyzer.errors import ConfigError


def test_problems_fall_into_the_buckets_of_the_case(case: dict[str, Any], check: Callable[..., None]) -> None:
    check("adaptive", case)


def test_the_clusters_are_those_of_kmeans_on_every_problem_of_real_rollouts(shared: Callable[[str], Path]) -> None:
    from sklearn.cluster import KMeans

    frame = pd.read_parquet(shared("data/gsm8k_openai.parquet"), columns=["data_idx", "label"])
    problem = frame.groupby("data_idx")["label"]
    plain = pd.DataFrame({"mean@5": problem.mean(), "pass_rate": problem.mean(), "std_reward": problem.std(ddof=0)})
    standardised = (plain - plain.mean()) / plain.std(ddof=0)
    kinds = standardised.round(9).drop_duplicates()
    counts = standardised.round(9).value_counts().loc[list(kinds.itertuples(index=False, name=None))]
    kmeans = KMeans(4, random_state=0, n_init=30).fit(kinds.to_numpy(), sample_weight=counts.to_numpy())
    expected = pd.Series(kmeans.predict(standardised.to_numpy())).groupby(problem.mean().to_numpy()).first()

    codes, _ = pd.factorize(frame["data_idx"], sort=True)
    metrics = problem_metrics(codes, frame["label"].to_numpy(float), len(plain))
    positions = assign(build("adaptive"), metrics).positions
    got = pd.Series(positions).groupby(metrics.pass_rate).first()
    assert pd.crosstab(got.to_numpy(), expected.to_numpy()).gt(0).sum().tolist() == [1, 1, 1, 1]
    assert got.tolist() == sorted(got)


@pytest.mark.parametrize("sample", [2, 4096])
@given(st.integers(1, 60), st.integers(1, 60), st.randoms(use_true_random=False))
def test_distinct_rows_are_those_of_numpy_whether_few_or_many_share_a_mean(
    sample: int, size: int, means: int, draw: Any
) -> None:
    rows = np.array([[draw.randrange(means) / 7, draw.randrange(3) / 3, draw.randrange(2) / 2] for _ in range(size)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptive, "_SAMPLE", sample)  # two rows tell nothing of the others
        found = _distinct_rows(rows)
    expected = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    assert all(np.array_equal(one, other.reshape(one.shape)) for one, other in zip(found, expected, strict=True))


def test_the_seed_is_where_kmeans_starts() -> None:
    metrics = problem_metrics(np.repeat(np.arange(500), 8), np.random.default_rng(2).normal(size=4000), 500)
    positions = [assign(build("adaptive", seed), metrics).positions.tolist() for seed in (42, 42, 43)]
    assert positions[0] == positions[1] == assign(build("adaptive"), metrics).positions.tolist()
    assert positions[0] != positions[2]


def test_problems_that_differ_in_the_last_bit_only_still_get_a_bucket(place: Callable[..., Any]) -> None:
    assignment = place("adaptive", [[0.5] * 5, [np.nextafter(0.5, 1)] * 5, [np.nextafter(0.5, 0)] * 5, [1.0] * 5])
    assert assignment.buckets[assignment.positions[3]] == "easy"
    assert (assignment.positions >= 0).all()


def test_the_number_of_threads_changes_nothing() -> None:
    from threadpoolctl import threadpool_limits

    metrics = problem_metrics(np.repeat(np.arange(2000), 6), np.random.default_rng(0).random(12000), 2000)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(assign(build("adaptive"), metrics).positions.tolist())
    assert found[0] == found[1] == found[2]


def test_without_scikit_learn_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(
        ConfigError, match=r"adaptive needs scikit-learn .*pip install scikit-learn, or choose percentile"
    ):
        build("adaptive")
