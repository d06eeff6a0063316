"""What the rollouts of a data source earned: every count against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty.by_source import Tally, tally
from analyzer.difficulty.counting import BLOCK

rollout = st.tuples(
    st.integers(0, 2),  # data source
    st.sampled_from([math.nan, 0.0, 1.0]),  # reward
    st.booleans(),  # answer found
    st.booleans(),  # cut off
)


def counted(rollouts: list[tuple[int, float, bool, bool]], source: int) -> Tally:
    those = [one for one in rollouts if one[0] == source]
    scored = [one for one in those if not math.isnan(one[1])]
    cut = [one for one in scored if one[3]]
    return Tally(
        rollouts=len(those),
        scored=len(scored),
        passed=sum(one[1] == 1.0 for one in scored),
        unfound=sum(not one[2] and not one[3] for one in scored),
        uncut=sum(not one[3] for one in those),
        cut_scored=len(cut),
        cut_passed=sum(one[1] == 1.0 for one in cut),
    )


@pytest.mark.parametrize("by_problem", [False, True])
@given(st.lists(rollout, max_size=30))
def test_the_counts_are_those_of_a_loop(by_problem: bool, rollouts: list[tuple[int, float, bool, bool]]) -> None:
    columns = list(zip(*rollouts, strict=True)) or [(), (), (), ()]
    source, rewards, found, cut = (np.array(c, kind) for c, kind in zip(columns, (int, float, bool, bool), strict=True))
    # By problem: problem number p is of the data source 2 - p.
    which: dict[str, Any] = {"source": np.array([2, 1, 0]), "codes": 2 - source} if by_problem else {"source": source}
    given_ = {"rewards": rewards, "passing": rewards == 1.0, "found": found}
    assert tally(**which, sources=3, **given_, cut=cut) == [counted(rollouts, at) for at in range(3)]
    uncut = [(of, reward, answer, False) for of, reward, answer, _ in rollouts]
    assert tally(**which, sources=3, **given_, cut=None) == [counted(uncut, at) for at in range(3)]


def test_a_block_of_rollouts_is_added_to_those_before_it() -> None:
    size = BLOCK + 3
    every = np.ones(size, bool)
    (found,) = tally(
        np.zeros(size, np.int8), 1, rewards=np.ones(size, np.float32), passing=every, found=every, cut=None
    )
    assert found == Tally(size, size, size, 0, size, 0, 0)


def test_shares_are_of_what_they_say_and_0_or_none_of_nothing() -> None:
    some = Tally(rollouts=10, scored=8, passed=2, unfound=1, uncut=5, cut_scored=3, cut_passed=1)
    assert (some.pass_rate, some.cut_share, some.unfound_share) == (0.25, 0.5, 0.2)
    nothing = Tally(0, 0, 0, 0, 0, 0, 0)
    assert (nothing.pass_rate, nothing.cut_share, nothing.unfound_share) == (None, 0.0, 0.0)
