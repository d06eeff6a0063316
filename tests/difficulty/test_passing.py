"""pass@k and pass^k are the shares of all k-subsets that they are said to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.passing import all_pass, at_least_one, pass_at, powers_of_two, subset_passes

COUNTS = [(passes, samples) for samples in range(7) for passes in range(samples + 1)]
PASSES, SAMPLES = (np.array(column) for column in zip(*COUNTS, strict=True))


def passes_of_subsets(passes: int, samples: int, size: int) -> list[int]:
    """How many of each subset of the samples pass."""
    outcomes = [1] * passes + [0] * (samples - passes)
    return [sum(subset) for subset in itertools.combinations(outcomes, size)]


@pytest.mark.parametrize("k", range(1, 8))
def test_shares_are_those_of_all_subsets(k: int) -> None:
    subsets = [passes_of_subsets(passes, samples, k) for passes, samples in COUNTS]
    some = [np.mean([n > 0 for n in each]) if each else np.nan for each in subsets]
    every = [np.mean([n == k for n in each]) if each else np.nan for each in subsets]
    assert pass_at(k, PASSES, SAMPLES) == pytest.approx(some, nan_ok=True)
    assert all_pass(k, PASSES, SAMPLES) == pytest.approx(every, nan_ok=True)
    for most in range(k + 1):
        few = [np.mean([n <= most for n in each]) if each else np.nan for each in subsets]
        assert subset_passes(k, PASSES, SAMPLES, most) == pytest.approx(few, nan_ok=True)


def test_thousands_of_samples_overflow_nothing() -> None:
    passes, samples = np.array([1, 2000, 4000]), np.array([4000] * 3)
    assert pass_at(2000, passes, samples) == pytest.approx([0.5, 1.0, 1.0])
    assert subset_passes(2000, passes, samples, 1000)[1] == pytest.approx(0.5, abs=0.02)


def test_at_least_one_of_k_is_1_less_none() -> None:
    assert at_least_one(1) == pytest.approx(RATES)
    assert at_least_one(3) == pytest.approx([1 - (1 - p) ** 3 for p in RATES])


@pytest.mark.parametrize(("most", "powers"), [(0, []), (1, [1]), (2, [1, 2]), (7, [1, 2, 4]), (8, [1, 2, 4, 8])])
def test_powers_of_two_end_at_the_most(most: int, powers: list[int]) -> None:
    assert powers_of_two(most) == powers
