"""answers: what the rollouts of a problem agree on.

One record, 8 rollouts that answer 18, 18, 18, 20, 18, 18, nothing, 18::

    distinct 2, majority "18" in 6 of 8, right

Where the majority is wrong though the policy is reliable, the ground truth is to be suspected (flags.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray


class Majorities(NamedTuple):
    """The answers of each problem, arrays of shape (problems,)."""

    distinct: NDArray[np.integer]  # different answers, rollouts without one not counted
    answer: NDArray[np.integer]  # the code of the most frequent answer, the lowest of a tie; -1: no answer at all
    votes: NDArray[np.integer]  # rollouts that give it
    right: FloatArray  # whether it passes: 0 or 1, between where the equally frequent differ in that
    wrong: NDArray[np.integer]  # the code of the most frequent answer that does not pass, -1: there is none
    wrong_votes: NDArray[np.integer]  # rollouts that give that


NO_MAJORITIES: tuple[tuple[float, type], ...] = (
    (0, np.int32),
    (-1, np.int32),
    (0, np.int32),
    (0.0, np.float64),
    (-1, np.int32),
    (0, np.int32),
)
"""The value and type of each field of Majorities for a problem without answers; no analysis has 2^31 answers."""


def majorities(codes: IntArray, answers: IntArray, passing: NDArray[np.bool_], problems: int) -> Majorities:
    """Count the answers of each problem.

    codes: the problem of each rollout, 0 .. problems-1, in any order; shape (rollouts,). answers: the code of each
    rollout's answer, -1 where none was found; equal answers of one problem have equal codes. passing: rollouts that
    pass; an answer passes where any of its rollouts does (a reward may also look at how it is given).
    """
    given = answers >= 0
    codes, answers, passing = codes[given], answers[given], passing[given]
    # Room for all answers of one problem between the codes of two problems.
    span = int(answers.max(initial=0)) + 1
    # Sorting one number that holds problem, answer and outcome is several times faster than a lexsort of three.
    packed = np.sort((codes.astype(np.int64) * span + answers) * 2 + passing)
    keys = packed >> 1
    # The outcome is the lowest bit, so the last of equal keys has it set where any rollout with that answer passed.
    first = np.flatnonzero(np.diff(keys, prepend=-1))  # (groups,) of equal problem and answer
    problem, answer = np.divmod(keys[first], span)
    last = np.append(first[1:], len(keys))[: len(first)] - 1
    count, passes = last - first + 1, (packed[last] & 1).astype(bool)

    majority, most = _most_frequent(problem, answer, count, problems)
    tied = count == most[problem]
    # Which of the equally frequent answers is the majority is chance: the share of them that pass stands for it.
    ties = np.bincount(problem[tied], minlength=problems)
    right = np.bincount(problem[tied & passes], minlength=problems) / np.maximum(ties, 1)
    wrong, wrong_votes = _most_frequent(problem[~passes], answer[~passes], count[~passes], problems)
    return Majorities(
        distinct=np.bincount(problem, minlength=problems),
        answer=majority,
        votes=most,
        right=right,
        wrong=wrong,
        wrong_votes=wrong_votes,
    )


def _most_frequent(problem: IntArray, answer: IntArray, count: IntArray, problems: int) -> tuple[IntArray, IntArray]:
    """Of each problem the most frequent answer, the lowest of several (-1: none), and how often it is given.

    The arguments describe groups of equal problem and answer, in ascending order.
    """
    most = np.zeros(problems, np.int64)
    # maximum.at, since a problem appears once for each of its answers.
    np.maximum.at(most, problem, count)
    tied = count == most[problem]
    problem, answer = problem[tied], answer[tied]
    first = np.flatnonzero(np.diff(problem, prepend=-1))
    found = np.full(problems, -1, np.int64)
    found[problem[first]] = answer[first]
    return found, most
