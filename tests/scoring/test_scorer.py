"""What a Scorer promises: one score per rollout, each distinct answer graded once, failures kept apart from zeros."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing
from typing import Any

import pytest

from analyzer.errors import RewardError
from analyzer.grading import Limits
from analyzer.rewards import BaseReward, Reward, WholeReward
from analyzer.schema import GoldError, Problem, Score, Status, Unscored
from analyzer.scoring import Scorer
from analyzer.scoring.grades import Grades
from tests.grading.bounded_rewards import Bounded, Broken, Whole, WholeHere
from tests.grading.warm import warm_zygotes

BOUNDED = Limits(cpu_seconds=0.3, wall_factor=4)


@pytest.fixture(scope="module", autouse=True)
def _close_zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


def scored(reward: BaseReward, gold: Any, responses: list[str]) -> list[Score]:
    with closing(Scorer(reward, BOUNDED)) as scorer:
        return scorer.score(problem(gold), responses)


class LastWord(Reward):
    """Grades the last word, counts its own calls, and fails on request."""

    name = "last_word"

    def __init__(self, *, grade: Callable[[Any, Any], Any] = lambda answer, gold: Score(float(answer == gold))) -> None:
        self._grade = grade
        self.extracted = 0
        self.graded: list[Any] = []
        self.checked: list[Any] = []

    def extract(self, response: str) -> Hashable | None:
        self.extracted += 1
        if response == "unextractable":
            raise RuntimeError("no way")
        if response == "too long":
            raise Unscored(Status.LIMIT, "over the limit")
        words = response.split()
        return words[-1] if words else None

    def check_gold(self, ground_truth: Any) -> None:
        self.checked.append(ground_truth)
        if ground_truth == "bad":
            raise GoldError("cannot be read")

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        self.graded.append(answer)
        return self._grade(answer, ground_truth)

    def present(self, ground_truth: Any) -> str:
        return str(ground_truth)


def problem(gold: Any) -> Problem:
    return Problem("a source", gold)


def test_every_rollout_is_scored_in_order_and_each_distinct_answer_graded_once() -> None:
    reward = LastWord()
    scores = Scorer(reward, Limits()).score(problem("5"), ["it is 5", "it is 6", "is it 5", "", "or 6"])
    assert [score.reward for score in scores] == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert reward.graded == ["5", "6", None]


def test_no_answer_is_scored_and_said() -> None:
    (score,) = Scorer(LastWord(), Limits()).score(problem("5"), [""])
    assert (score.reward, score.status, score.found) == (0.0, Status.OK, False)


def test_grades_are_kept_while_the_problem_stays_and_dropped_with_it() -> None:
    reward = LastWord()
    scorer = Scorer(reward, Limits())
    for gold in ("5", "5", "6", "5"):
        scorer.score(problem(gold), ["a 5"])
    assert reward.checked == ["5", "6", "5"]
    assert reward.graded == ["5", "5", "5"]


@pytest.mark.parametrize(
    "golds",
    [
        (1, True, 1.0),
        (0.0, -0.0, 0, False),
        ([1], [True], [1.0], [[1]]),
        ([0.0], [-0.0]),
        ({"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}),
        ({"a": [{"b": 0.0}]}, {"a": [{"b": -0.0}]}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([], {}, "", None, False),
        (2**53, float(2**53)),
    ],
)
def test_ground_truths_that_are_merely_equal_do_not_share_grades(golds: tuple[Any, ...]) -> None:
    scorer = Scorer(LastWord(grade=lambda _, gold: Score(0.0, detail=repr(gold))), Limits())
    for gold in itertools.chain.from_iterable(itertools.permutations(golds, 2)):
        assert scorer.score(problem(gold), ["a 1"])[0].detail == repr(gold)


def test_ground_truths_of_equal_values_under_other_names_do_not_share_grades() -> None:
    scorer = Scorer(LastWord(grade=lambda _, gold: Score(0.0, detail=repr(gold))), Limits())
    for gold in ({"a": 1}, {"b": 1}, {"a": 1, "b": 2}, {"b": 1, "a": 2}):
        assert scorer.score(problem(gold), ["a 1"])[0].detail == repr(gold)


def test_ground_truths_that_are_the_same_share_grades_however_deep_they_are() -> None:
    def deep(leaf: float) -> list[Any]:
        value: Any = leaf
        for _ in range(5000):
            value = [value]
        return [value, float("nan")]

    reward = LastWord(grade=lambda answer, gold: Score(1.0))
    scorer = Scorer(reward, Limits())
    for leaf in (0.0, 0.0, -0.0):
        scorer.score(problem({"target": deep(leaf)}), ["a 1"])
    assert len(reward.graded) == 2


def test_a_bad_ground_truth_leaves_every_rollout_unscored_before_any_grading() -> None:
    reward = LastWord()
    scores = Scorer(reward, Limits()).score(problem("bad"), ["bad", "good", ""])
    assert [(score.reward, score.status, score.detail) for score in scores] == [
        (None, Status.GOLD_ERROR, "cannot be read")
    ] * 3
    assert reward.graded == []


def test_a_ground_truth_found_bad_while_grading_leaves_every_rollout_unscored_too() -> None:
    def grade(answer: Any, gold: Any) -> Score:
        if answer == "6":
            raise GoldError("not in this form")
        return Score(1.0)

    scorer = Scorer(LastWord(grade=grade), Limits())
    for _ in range(2):
        scores = scorer.score(problem("5"), ["5", "6", "7"])
        assert {score.status for score in scores} == {Status.GOLD_ERROR}


def test_a_failing_response_is_a_status_on_its_own_rollout_alone() -> None:
    scores = Scorer(LastWord(), Limits()).score(problem("5"), ["5", "unextractable", "too long", "6"])
    assert [(score.reward, score.status) for score in scores] == [
        (1.0, Status.OK),
        (None, Status.ERROR),
        (None, Status.LIMIT),
        (0.0, Status.OK),
    ]
    assert scores[1].detail == "RuntimeError: no way"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad"), Status.ERROR),
        (RecursionError(), Status.ERROR),
        (MemoryError(), Status.MEMORY),
        (Unscored(Status.ABSTAIN, "cannot tell"), Status.ABSTAIN),
    ],
)
def test_what_grading_raises_is_a_status_on_the_rollouts_of_that_answer(error: Exception, status: Status) -> None:
    def grade(answer: Any, gold: Any) -> Score:
        if answer == "6":
            raise error
        return Score(1.0)

    scores = Scorer(LastWord(grade=grade), Limits()).score(problem("5"), ["5", "6", "7", "6"])
    assert [score.status for score in scores] == [Status.OK, status, Status.OK, status]
    assert [score.reward for score in scores] == [1.0, None, 1.0, None]


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), "1", None, 10**400, 1j])
def test_a_reward_that_is_no_finite_number_is_invalid(reward: Any) -> None:
    (score,) = Scorer(LastWord(grade=lambda *_: Score(reward)), Limits()).score(problem("5"), ["5"])
    assert (score.reward, score.status) == (None, Status.INVALID_RESULT)
    assert "not a finite number" in score.detail


def test_a_true_reward_is_a_float() -> None:
    (score,) = Scorer(LastWord(grade=lambda *_: Score(True)), Limits()).score(problem("5"), ["5"])
    assert type(score.reward) is float


def test_an_explanation_is_one_bounded_line_that_can_be_written() -> None:
    def grade(answer: Any, gold: Any) -> Score:
        raise ValueError("\ud800\n" + "long " * 1000)

    (score,) = Scorer(LastWord(grade=grade), Limits()).score(problem("5"), ["5"])
    assert len(score.detail.encode()) <= 300
    assert "\n" not in score.detail


def test_what_is_plain_is_settled_here_and_the_rest_graded_once_in_the_child() -> None:
    scores = scored(Bounded(tolerance=0.1), "5", ["it is 5", "or 5.05", "or 6", "or 5.05", ""])
    assert [score.reward for score in scores] == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert [score.found for score in scores] == [True, True, True, True, False]
    pids = [score.extra["pid"] for score in scores]
    assert pids[0] == os.getpid() not in pids[1:]
    assert [score.extra.get("calls") for score in scores] == [None, 1, 2, 1, 3]
    assert scores[1].extra["list"]  # a tuple, on its way through JSON


def test_no_child_is_started_where_everything_is_settled_here() -> None:
    assert scored(Broken(), "5", ["a 5", "5"])[1].reward == 1.0


def test_a_ground_truth_is_checked_in_the_child_before_anything_is_settled() -> None:
    scores = scored(Bounded(), "bad", ["bad", "6"])
    assert [(score.reward, score.status, score.detail) for score in scores] == [
        (None, Status.GOLD_ERROR, "no number")
    ] * 2


def test_a_ground_truth_that_hangs_leaves_every_rollout_unscored_and_says_so() -> None:
    scores = scored(Bounded(), "hangs", ["hangs", "6"])
    assert {score.status for score in scores} == {Status.TIMEOUT}
    assert scores[0].detail == "in checking the ground truth: not done after 1.2 s"


def test_a_ground_truth_found_bad_in_the_child_leaves_every_rollout_unscored() -> None:
    assert {score.status for score in scored(Bounded(), "5", ["5", "gold", "6"])} == {Status.GOLD_ERROR}


def test_a_hanging_answer_is_a_timeout_of_its_own_rollouts() -> None:
    scores = scored(Bounded(), "7", ["5", "hang", "refuse", "hang", "7.0", "x"])
    statuses = [Status.OK, Status.TIMEOUT, Status.LIMIT, Status.TIMEOUT, Status.OK, Status.ERROR]
    assert [score.status for score in scores] == statuses


def test_a_reward_that_cannot_be_loaded_is_raised_and_no_status() -> None:
    for use in (lambda scorer: scorer.start(), lambda scorer: scorer.score(problem("7"), ["6"])):
        with closing(Scorer(Broken(), BOUNDED)) as scorer, pytest.raises(RewardError, match=r"libgrade\.so"):
            use(scorer)


@pytest.mark.parametrize("reward", [Whole(), WholeHere()], ids=["child", "here"])
def test_a_whole_reward_gets_one_problem_s_rollouts_a_batch_at_a_time(reward: WholeReward) -> None:
    scores = scored(reward, "5", list("abcdef"))
    assert [score.extra["batch"] for score in scores] == [4, 4, 4, 4, 2, 2]
    assert scores[0].extra["fields"] == ["a source", "5", None, None, {}, None]
    assert (scores[0].extra["pid"] == os.getpid()) == isinstance(reward, WholeHere)
    assert scored(reward, "5", []) == []


@pytest.mark.parametrize("reward", [Whole(), WholeHere()], ids=["child", "here"])
@pytest.mark.parametrize(
    ("response", "status", "detail"),
    [
        ("raise", Status.ERROR, "ValueError: one of them"),
        ("short", Status.INVALID_RESULT, "0 scores for 1 responses"),
        ("limit", Status.LIMIT, "too long"),
        ("nan", Status.INVALID_RESULT, "the reward is nan, not a finite number"),
    ],
)
def test_a_failing_batch_is_tried_one_by_one(reward: WholeReward, response: str, status: Status, detail: str) -> None:
    scores = scored(reward, "5", ["a", response, "b"])
    assert [score.status for score in scores] == [Status.OK, status, Status.OK]
    assert scores[1].detail.startswith(detail)


@pytest.mark.parametrize(("error", "again"), [(Unscored(Status.TIMEOUT, "late"), True), (GoldError("bad"), False)])
def test_a_ground_truth_is_checked_again_only_if_its_check_failed_by_the_node(error: Exception, again: bool) -> None:
    def check() -> None:
        raise error

    assert Grades(check, Score, lambda answer: None).has_transient() == again
