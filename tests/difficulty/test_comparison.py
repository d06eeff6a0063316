"""Whether a problem changed: p-values of all tables with given sums, and false discoveries as scipy counts them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty.comparison import mean_change, mid_p, q_values

counts = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: (min(pair), max(pair)))


def of_all_tables(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The mid-p of Fisher's test, by the probability of every table with these sums."""
    (a, n), (b, m) = first, second
    chance = scipy.stats.hypergeom(n + m, a + b, n).pmf(range(n + 1))
    same = np.isclose(chance, chance[a], rtol=1e-9, atol=0)
    return float(chance[(chance < chance[a]) & ~same].sum() + chance[same].sum() / 2)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=8))
def test_mid_p_is_that_of_all_tables(problems: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    a, n, b, m = (np.array(column) for column in zip(*((*one, *two) for one, two in problems), strict=True))
    expected = [of_all_tables(*each) if each[0][1] and each[1][1] else 1.0 for each in problems]
    assert mid_p(a, n, b, m) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_q_values_are_those_of_scipy(p_values: list[float]) -> None:
    given_ = np.array(p_values)
    assert q_values(given_) == pytest.approx(scipy.stats.false_discovery_control(given_, method="bh"))


def test_no_change_of_few_problems_is_no_proof_of_none() -> None:
    nothing = np.zeros(3)
    found = mean_change(nothing, nothing)
    assert found.change == 0
    assert [found.low, found.high] == pytest.approx([-0.536, 0.536], abs=1e-3)
    assert mean_change(np.zeros(3), np.array([0.0, 1, 1])).high == 1  # a change of 1.26 cannot be
