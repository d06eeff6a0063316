"""Majorities and flags: counted by hand, in the order of the rules, and silent where the policy is not reliable."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.difficulty.answers import majorities
from analyzer.difficulty.flags import (
    FLAGS,
    Evidence,
    Reliability,
    flags,
    never_solved,
    reliabilities,
    truncation_bias,
)

rollouts = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), max_size=40)


@given(rollouts, st.sets(st.tuples(st.integers(0, 4), st.integers(0, 3))), st.randoms(use_true_random=False))
def test_majorities_are_those_of_a_counter(rows: list[tuple[int, int]], right: set[Any], random: Any) -> None:
    random.shuffle(rows)
    codes, answers = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
    passing = np.array([row in right for row in rows], bool)
    found = majorities(codes, answers, passing, 5)
    for problem in range(5):
        counts = Counter(answer for code, answer in rows if code == problem and answer >= 0)
        best = max(counts.values(), default=0)
        tied = sorted(answer for answer, count in counts.items() if count == best)
        wrong = {answer: count for answer, count in counts.items() if (problem, answer) not in right}
        assert found.distinct[problem] == len(counts)
        assert found.votes[problem] == best
        assert found.answer[problem] == (tied[0] if tied else -1)
        expected = np.mean([(problem, answer) in right for answer in tied]) if tied else 0
        assert found.right[problem] == pytest.approx(expected)
        assert found.wrong_votes[problem] == max(wrong.values(), default=0)


def evidence(*problems: dict[str, Any], reliable: int = 40) -> Evidence:
    """Problems of 8 samples: passes, the votes for a wrong answer, ...; and `reliable` ones where all is right."""
    every = [*problems, *({"passes": 8} for _ in range(reliable))]
    column = {
        name: np.array([problem.get(name, default) for problem in every])
        for name, default in (("passes", 0), ("wrong", 0), ("unearnable", False), ("cut", 0), ("unanswered", 0))
    }
    codes = np.repeat(np.arange(len(every)), 8)
    place = np.tile(np.arange(8), len(every))
    passing = place < column["passes"][codes]
    wrong = place >= 8 - column["wrong"][codes]
    answers = np.where(passing, 0, np.where(wrong, 1, 2 + place))  # other failures agree on nothing
    eight = np.full(len(every), 8)
    return Evidence(
        column["passes"],
        eight,
        eight,
        column["unearnable"].astype(bool),
        majorities(codes, answers, passing, len(every)),
        column["cut"],
        column["unanswered"],
        np.zeros(len(every), np.int64),
    )


@pytest.mark.parametrize(
    ("problem", "flag"),
    [
        ({"passes": 4}, ""),
        ({}, ""),
        ({"unearnable": True, "wrong": 8, "cut": 8}, "gold_unearnable"),
        ({"wrong": 4}, "suspect_gold"),
        ({"wrong": 3}, ""),
        ({"passes": 1, "wrong": 7}, "suspect_gold"),
        ({"passes": 2, "wrong": 6}, ""),
        ({"wrong": 5, "cut": 5}, "suspect_gold"),
        ({"cut": 4, "unanswered": 4}, "cut_off"),
        ({"cut": 3, "unanswered": 4}, "no_answer"),
        ({"passes": 1, "cut": 7, "unanswered": 7}, ""),
    ],
)
def test_a_problem_has_the_first_flag_that_holds(problem: dict[str, Any], flag: str) -> None:
    known = evidence(problem)
    assert FLAGS[flags(known, reliabilities(known, 1))[0]] == flag


def test_an_unreliable_policy_casts_no_doubt_on_ground_truths() -> None:
    known = evidence(*[{"wrong": 8}] * 10, reliable=12)
    (found,) = reliabilities(known, 1)
    assert found == Reliability(22, 12.0)
    assert not found.speaks
    assert not flags(known, [found]).any()
    assert np.isnan(Reliability(0, 0.0).share)
    assert not Reliability(0, 0.0).speaks


def test_never_solved_problems_are_counted_by_their_reason() -> None:
    known = evidence(
        {"unearnable": True}, {"wrong": 8}, {"cut": 8}, {"unanswered": 8}, {}, {}, {"passes": 1, "wrong": 7}
    )
    assert never_solved(known, flags(known, reliabilities(known, 1))) == {
        "problems": 6,
        "gold_unearnable": 1,
        "suspect_gold": 1,
        "cut_off": 1,
        "no_answer": 1,
        "hard": 2,
    }


def test_the_longest_finished_tenth_is_compared_with_all_finished() -> None:
    tokens = np.arange(100)
    passing, finished = tokens < 85, tokens < 95
    assert truncation_bias(tokens, passing, finished) == pytest.approx((0.0, 85 / 95))
    assert truncation_bias(tokens, passing, np.zeros(100, bool)) is None


@pytest.mark.parametrize(
    ("majorities", "right", "speaks"), [(0, 0.0, False), (1, 1.0, True), (10, 9.0, True), (10, 1.0, False)]
)
def test_a_policy_speaks_where_its_majorities_are_mostly_right(majorities: int, right: float, speaks: bool) -> None:
    assert Reliability(majorities, right).speaks is speaks


def test_answers_of_rollouts_that_could_not_be_scored_do_not_make_a_policy_unreliable() -> None:
    given = evidence(*({"passes": 8} for _ in range(10)), reliable=0)
    (before,) = reliabilities(given, 1)
    unscored = given._replace(
        passes=np.append(given.passes, 0),
        samples=np.append(given.samples, 0),
        rollouts=np.append(given.rollouts, 8),
        unearnable=np.append(given.unearnable, False),
        source=np.append(given.source, 0),
        majorities=given.majorities._replace(
            votes=np.append(given.majorities.votes, 8), right=np.append(given.majorities.right, 0.0)
        ),
    )
    assert reliabilities(unscored, 1) == [before]
