"""Finding, building and registering strategies."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from analyzer.buckets import Assignment, Strategy, build, names, register
from analyzer.errors import ConfigError
from analyzer.schema import Metrics


def test_the_four_strategies_are_known() -> None:
    assert names() == ["adaptive", "mean_reward", "pass_rate", "percentile"]


def test_an_unknown_strategy_names_the_nearest_and_lists_all() -> None:
    message = (
        "no bucketing strategy is named 'percentil' (did you mean 'percentile'?); "
        "there are: adaptive, mean_reward, pass_rate, percentile"
    )
    with pytest.raises(ConfigError) as caught:
        build("percentil")
    assert str(caught.value) == message


def test_a_name_like_no_other_suggests_nothing() -> None:
    with pytest.raises(ConfigError, match="named 'xyzzy'; there are:"):
        build("xyzzy")


def test_a_second_strategy_of_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="bucketing strategy 'percentile' occurs twice"):
        register(strategy("percentile", ("hard", "easy")))


@pytest.mark.parametrize("buckets", [("a/b", "c"), ("unscored", "easy"), ("Hard", "easy"), ("easy", "easy"), ("", "b")])
def test_buckets_that_cannot_name_files_of_their_own_are_refused(buckets: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="they must be distinct, of a-z"):
        register(strategy("another", buckets))
    assert "another" not in names()


def test_sizes_run_from_hardest_to_easiest_with_empty_buckets_and_then_the_unscored() -> None:
    assignment = Assignment(("hard", "medium", "easy"), np.array([2, 0, -1, 0], np.int8))
    assert list(assignment.sizes().items()) == [("hard", 2), ("medium", 0), ("easy", 1), ("unscored", 1)]


def test_looking_up_names_does_not_import_numpy_or_scikit_learn() -> None:
    program = (
        "import sys, analyzer.buckets as b; b.names(); print([m for m in ('numpy', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"


def strategy(strategy_name: str, bucket_names: tuple[str, ...]) -> type[Strategy]:
    class Another(Strategy):
        name = strategy_name
        buckets = bucket_names

        def place(self, metrics: Metrics) -> Assignment:
            raise NotImplementedError

    return Another
