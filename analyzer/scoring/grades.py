"""The grades of answers by one ground truth: each distinct answer is graded once, here or in the bounded child."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from analyzer.errors import AnalyzerError
from analyzer.grading import Reply
from analyzer.grading.frames import as_text
from analyzer.grading.supervisor import Supervisor
from analyzer.rewards import Reward
from analyzer.schema import TRANSIENT, GoldError, Score, Status, Unscored
from analyzer.scoring.scores import checked, failure, shortened, writable

_FINAL = frozenset({Status.OK, Status.GOLD_ERROR, Status.LIMIT, Status.ABSTAIN})


class Grades(dict[Hashable, Score]):
    """Answer -> Score for one ground truth, filled as answers are looked up, so that a hit costs a dict look-up.

    A grade that fails becomes the Score that says why. What `check` raises makes every answer unscored.
    """

    def __init__(
        self, check: Callable[[], None], grade: Callable[[Any], Score], text: Callable[[Any], str | None]
    ) -> None:
        super().__init__()
        self._grade = grade
        self._text = text
        self.size = 1000  # bytes, about
        self.refusal = _failure_of(check)

    def has_transient(self) -> bool:
        """Whether any answer, or the ground truth, failed in a way that another try may not."""
        refused = self.refusal is not None and self.refusal.status in TRANSIENT
        return refused or any(score.status in TRANSIENT for score in self.values())

    def __missing__(self, answer: Hashable) -> Score:
        """Grade an answer not seen before. Raises GoldError where only grading finds that the gold cannot be graded."""
        try:
            score = checked(self._grade(answer), found=answer is not None)
        except GoldError as error:
            self.refusal = failure(error)
            raise
        except AnalyzerError:
            raise
        except Exception as error:  # noqa: BLE001 - a failing scorer must not end the run, nor count as a wrong answer
            score = failure(error)
        reward, status, found, extra, detail, _, pass_value, parts = score
        text = shortened(self._text(answer))
        # Built anew: _replace() takes four times as long.
        score = self[answer] = Score(reward, status, found, extra, detail, text, pass_value, parts)
        self.size += 500 + _length(answer)
        return score


def _length(answer: Any) -> int:
    """Characters in an answer, about."""
    if isinstance(answer, tuple):
        return sum(map(_length, answer))
    return len(answer) if isinstance(answer, str) else 20


def _failure_of(check: Callable[[], None]) -> Score | None:
    try:
        check()
    except AnalyzerError:
        raise
    except Exception as error:  # noqa: BLE001 - becomes the status of all rollouts of the problem
        return failure(error)
    return None


class Verdicts(Protocol):
    """What graders have said before, kept somewhere: the methods of a reward are pure, so they would say it again."""

    def find(self, question: str) -> Reply | None:
        """The reply to a method's name and arguments (as JSON), None where it is not known."""

    def keep(self, question: str, reply: Reply) -> None:
        """Note a reply that is final."""


class ChildGrader:
    """Grades by one ground truth: what neither the worker knows nor an earlier run has asked goes to the child."""

    def __init__(self, reward: Reward, child: Supervisor, verdicts: Verdicts | None, gold: Any) -> None:
        self._reward = reward
        self._child = child
        self._verdicts = verdicts
        self._gold = gold

    def check(self) -> None:
        # Known in the worker: saves a round trip to the child for every problem.
        if self._reward.settle_gold(self._gold):
            return
        try:
            self._ask("check_gold", self._gold)
        except GoldError:
            raise
        except Unscored as error:
            raise Unscored(error.status, f"in checking the ground truth: {error.detail}") from None

    def grade(self, answer: Any) -> Score:
        # The same for answers: of the 9,706 pairs of problem and answer of math_l5_zeroeval, 796 reach the child.
        settled = self._reward.settle(answer, self._gold)
        return settled if settled is not None else score_from(self._ask("grade", answer, self._gold))

    def _ask(self, method: str, *args: Any) -> Any:
        if self._verdicts is None:
            return value_of(self._child.call(method, *args))
        try:
            question = as_text([method, *args])
        except (TypeError, ValueError, RecursionError):  # the call says what is wrong with it
            return value_of(self._child.call(method, *args))
        reply = self._verdicts.find(question)
        if reply is None:
            reply = self._child.call(method, *args)
            if reply.status in _FINAL:
                self._verdicts.keep(question, reply)
        return value_of(reply)


def value_of(reply: Reply) -> Any:
    """The value of a reply. Raises Unscored, or GoldError, where it has none."""
    # A GoldError travels as a status and becomes the exception again on this side.
    if reply.status is Status.GOLD_ERROR:
        raise GoldError(reply.detail)
    if reply.status is not Status.OK:
        raise Unscored(reply.status, reply.detail)
    return reply.value


def score_from(fields: Any) -> Score:
    """A Score from its fields as they come out of JSON."""
    reward, status, found, extra, detail, answer, *_ = fields
    return Score(reward, Status(status), found, writable(extra), detail, answer)


def same(gold: Any, other: Any) -> bool:
    """Whether two JSON values are the same to any reward: == is too lenient, as `[1] == [True]` and `0.0 == -0.0`.

    Types are equal all the way down, and objects hold their keys in one order. Without recursion: a value may be
    nested deeper than the interpreter's stack.
    """
    pairs = [(gold, other)]
    while pairs:
        one, two = pairs.pop()
        if one is two:
            continue
        # True == 1 and 1 == 1.0 to Python; a reward may tell them apart, and so must the memo.
        if type(one) is not type(two):
            return False
        if isinstance(one, list | tuple):
            if len(one) != len(two):
                return False
            pairs.extend(zip(one, two, strict=True))
        elif isinstance(one, dict):
            if list(one) != list(two):
                return False
            pairs.extend(zip(one.values(), two.values(), strict=True))
        elif repr(one) != repr(two) if isinstance(one, float) else one != two:  # NaN is NaN, and -0.0 is not 0.0
            return False
    return True
