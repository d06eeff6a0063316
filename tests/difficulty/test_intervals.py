"""Quantiles and intervals are scipy's, which is not imported for them."""

from __future__ import annotations

import pytest
import scipy  # whose parts are imported when they are used: a second of each worker of pytest

from analyzer.difficulty.intervals import student_quantile, wilson


@pytest.mark.parametrize("share", [0.95, 0.975, 0.995])
def test_quantiles_of_students_distribution(share: float) -> None:
    freedoms = [*range(1, 60), *range(60, 3000, 37), 1e4, 1e5]
    found = [student_quantile(share, freedom) for freedom in freedoms]
    assert found == pytest.approx(list(map(float, scipy.special.stdtrit(freedoms, share))), rel=1e-10)
    # scipy itself is off by 1e-9 and more from here on; the normal quantile is the limit.
    assert student_quantile(share, 1e9) == pytest.approx(float(scipy.special.stdtrit(1e9, share)), rel=1e-6)


def test_wilsons_interval_to_the_last_digit() -> None:
    for trials in (1, 2, 7, 24, 100, 2000):
        for successes in range(0, trials + 1, max(trials // 50, 1)):
            expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
            assert wilson(successes, trials) == (expected.low, expected.high)
