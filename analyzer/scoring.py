"""Scoring: the rollouts of one problem in, one `Score` for each out, whatever the reward does.

    scorer = Scorer(reward, Limits())
    scorer.score(Problem("openai/gsm8k", "5"), ["#### 5", "#### 6", "#### 5"])   # 1.0, 0.0, 1.0; two answers graded

A failure of the scorer is a status on its own rollout, never a reward of 0 and never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from numbers import Real
from typing import Any

from analyzer.grading import Limits
from analyzer.rewards import BaseReward, Reward
from analyzer.schema import GoldError, Problem, Score, Status, Unscored

DETAIL_LENGTH = 300  # characters of an explanation that are kept


class Scorer:
    """Scores the rollouts of one reward. One for each thread, since it remembers the problem it is at."""

    def __init__(self, reward: BaseReward, limits: Limits) -> None:
        self._reward = reward
        self._limits = limits
        self._gold: Any = None
        self._grades: Grades | None = None

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        """One score per response, in order. `problem` holds plain JSON values.

        Give all rollouts of a problem in one call, or in calls one after another: what was graded is remembered
        until the ground truth changes.
        """
        reward = self._reward
        if not isinstance(reward, Reward):
            raise NotImplementedError(type(reward))  # replaced by the bounded child, the next change
        grades = self._grades_of(reward, problem.ground_truth)
        try:
            return _score_all(reward, grades, responses)
        except GoldError as error:
            return [failure(error)] * len(responses)

    def close(self) -> None:
        """Let go of what the scorer holds; it must not be used afterwards."""
        self._grades = None

    def _grades_of(self, reward: Reward, gold: Any) -> Grades:
        """The grades for this ground truth: those of the last call where it is the same one, else new ones."""
        grades = self._grades
        if grades is None or not _same(gold, self._gold):
            grades = Grades(lambda: reward.check_gold(gold), lambda answer: reward.grade(answer, gold))
            self._gold, self._grades = gold, grades
        return grades


class Grades(dict[Hashable, Score]):
    """Answer -> Score for one ground truth, filled as answers are looked up, so that a hit costs a dict look-up.

    A grade that fails becomes the Score that says why. What `check` raises makes every answer unscored.
    """

    def __init__(self, check: Callable[[], None], grade: Callable[[Any], Score]) -> None:
        super().__init__()
        self._grade = grade
        self.refusal = _failure_of(check)

    def __missing__(self, answer: Hashable) -> Score:
        """Grade an answer not seen before. Raises GoldError where only grading finds that the gold cannot be graded."""
        try:
            score = checked(self._grade(answer), found=answer is not None)
        except GoldError as error:
            self.refusal = failure(error)
            raise
        except Exception as error:  # noqa: BLE001 - a failing scorer must not end the run, nor count as a wrong answer
            score = failure(error)
        self[answer] = score
        return score


def _score_all(reward: Reward, grades: Grades, responses: Sequence[str]) -> list[Score]:
    if grades.refusal is not None:
        return [grades.refusal] * len(responses)
    try:
        return list(map(grades.__getitem__, map(reward.extract, responses)))
    except GoldError:
        raise
    except Exception:  # noqa: BLE001 - some response fails in `extract`: find out which, one at a time
        return [_score_alone(reward, grades, response) for response in responses]


def _score_alone(reward: Reward, grades: Grades, response: str) -> Score:
    try:
        return grades[reward.extract(response)]
    except GoldError:
        raise
    except Exception as error:  # noqa: BLE001 - as above: a status on this rollout alone
        return failure(error)


def _failure_of(check: Callable[[], None]) -> Score | None:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - becomes the status of all rollouts of the problem
        return failure(error)
    return None


def failure(error: Exception) -> Score:
    """The Score of a rollout whose scoring raised: the status of Unscored, else `memory` or `error`."""
    if isinstance(error, Unscored):
        return Score(None, error.status, detail=one_line(error.detail))
    status = Status.MEMORY if isinstance(error, MemoryError) else Status.ERROR
    return Score(None, status, detail=one_line(f"{type(error).__name__}: {error}"))


def checked(score: Score, found: bool = True) -> Score:
    """The score with its reward as a finite float, or INVALID_RESULT; without a reward where the status is not OK."""
    found = found and score.found
    if score.status is not Status.OK:
        return score._replace(reward=None, found=found, detail=one_line(score.detail))
    reward: Any = score.reward
    try:
        number = float(reward) if isinstance(reward, Real) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        detail = f"the reward is {reward!r:.100}, not a finite number"
        return Score(None, Status.INVALID_RESULT, found, score.extra, one_line(detail))
    return Score(number, Status.OK, found, score.extra, one_line(score.detail))


def one_line(text: str) -> str:
    """Text for a person: one line, bounded, and writable as UTF-8 (lone surrogates replaced)."""
    return " ".join(text[: 2 * DETAIL_LENGTH].split())[:DETAIL_LENGTH].encode(errors="replace").decode()


def _same(gold: Any, other: Any) -> bool:
    return gold is other or (type(gold) is type(other) and bool(gold == other))
