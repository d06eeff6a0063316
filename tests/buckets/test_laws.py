"""The laws of buckets, for every registered strategy."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.buckets import Assignment, assign, build, names
from analyzer.schema import Metrics

Place = Callable[[str, list[list[float | None]]], Assignment]

some_reward = st.sampled_from([0.0, 1.0, 0.0, 1.0, 0.1, 0.9, -1.0, None]) | st.floats(-2, 2, width=16)
some_problems = st.lists(st.lists(some_reward, min_size=1, max_size=8), min_size=1, max_size=40)
every_strategy = pytest.mark.parametrize("name", names())
few = settings(max_examples=settings().max_examples // 2)


def evidence(problems: list[list[float | None]]) -> list[tuple[float, float] | None]:
    """Of each problem (mean@5, mean_reward), None where nothing is scored.

    Where numbers of scored rollouts differ, mean@5 is the mean over all subsets of the smallest number; else the exact
    mean rounded once.
    """
    scored = [sorted((Fraction(x) for x in problem if x is not None), reverse=True) for problem in problems]
    sizes = {len(one) for one in scored if one}
    common = min(sizes, default=0)

    def best(one: list[Fraction]) -> float:
        subsets = list(combinations(one, common))  # of a sorted list, so sorted too
        mean = sum((sum(subset[:5], Fraction(0)) for subset in subsets), Fraction(0)) / len(subsets)
        exact = float(mean / min(common, 5))
        return exact if len(sizes) == 1 else round(exact, 9)

    return [(best(one), float(sum(one, Fraction(0)) / len(one))) if one else None for one in scored]


@every_strategy
@few
@given(problems=some_problems)
def test_every_scored_problem_is_in_one_bucket_and_no_other_is(name: str, place: Place, problems: Any) -> None:
    assignment = place(name, problems)
    assert len(assignment.positions) == len(problems)
    for position, found in zip(assignment.positions.tolist(), evidence(problems), strict=True):
        unscored = found is None
        assert (position == -1) if unscored else (0 <= position < len(assignment.buckets))
    assert sum(assignment.sizes().values()) == len(problems)


@every_strategy
@few
@given(problems=some_problems, random=st.randoms(use_true_random=False))
def test_the_order_of_problems_and_of_rollouts_changes_nothing(
    name: str, place: Place, problems: Any, random: Any
) -> None:
    order = list(range(len(problems)))
    random.shuffle(order)
    shuffled = [random.sample(problems[at], len(problems[at])) for at in order]
    first, second = place(name, problems), place(name, shuffled)
    assert first.positions[order].tolist() == second.positions.tolist()
    assert first.warnings == second.warnings


@every_strategy
@few
@given(problems=some_problems, copies=st.integers(1, 3))
def test_equal_evidence_is_in_an_equal_bucket(name: str, place: Place, problems: Any, copies: int) -> None:
    assignment = place(name, problems * copies)
    buckets = assignment.positions.reshape(copies, len(problems))
    assert (buckets == buckets[0]).all()


@pytest.mark.parametrize(("name", "ranked_by"), [("percentile", (0, 1)), ("mean_reward", (1,))])
@given(problems=some_problems)
def test_the_hardest_group_takes_the_first_bucket_and_the_easiest_the_last(
    name: str, ranked_by: tuple[int, ...], place: Place, problems: Any
) -> None:
    positions = place(name, problems).positions.tolist()
    ranks = [
        (tuple(found[at] for at in ranked_by), position)
        for found, position in zip(evidence(problems), positions, strict=True)
        if found is not None
    ]
    ranks.sort()
    assert [position for _, position in ranks] == sorted(position for _, position in ranks)
    if len({rank for rank, _ in ranks}) > 1:
        assert ranks[0][1] == 0
        assert ranks[-1][1] == 3
    else:
        assert {position for _, position in ranks} <= {1}


@pytest.mark.parametrize(("name", "ranked_by"), [("percentile", (0, 1)), ("mean_reward", (1,))])
@given(problems=some_problems)
def test_between_the_ends_the_average_rank_of_the_tie_group_decides(
    name: str, ranked_by: tuple[int, ...], place: Place, problems: Any
) -> None:
    found = evidence(problems)
    keys = [tuple(one[at] for at in ranked_by) if one else None for one in found]
    ordered = sorted(key for key in keys if key is not None)
    for key, position in zip(keys, place(name, problems).positions.tolist(), strict=True):
        if key is None or key in (ordered[0], ordered[-1]):
            continue
        ranks = [rank for rank, other in enumerate(ordered) if other == key]
        percentile = 100 * Fraction(sum(ranks), len(ranks)) / (len(ordered) - 1)
        assert position == (0 if percentile <= 25 else 1 if percentile <= 50 else 2 if percentile <= 75 else 3)


@every_strategy
def test_a_thousand_distinct_problems_fill_every_bucket(name: str, metrics_of: Callable[..., Metrics]) -> None:
    random = np.random.default_rng(0)
    solve_rates = np.concatenate((np.zeros(50), random.beta(0.7, 0.7, 950)))
    rewards = (random.random((1000, 16)) < solve_rates[:, None]).astype(float)
    sizes = assign(build(name), metrics_of(rewards.tolist())).sizes()
    assert min(sizes.values()) > 20
