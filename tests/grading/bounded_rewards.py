"""Rewards that run in the child, by import path, for the tests of scoring."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Sequence
from typing import Any

from analyzer.rewards import Reward, Where, WholeReward
from analyzer.schema import GoldError, Problem, Score, Status, Unscored


class Bounded(Reward):
    """Grades numbers in the child, equal texts in the worker; `pid` tells where a score comes from."""

    name = "bounded"
    where = Where.CHILD

    def __init__(self, *, tolerance: float = 0.0) -> None:
        self.tolerance = tolerance
        self.calls = 0

    def extract(self, response: str) -> Hashable | None:
        if "refuse" in response:
            raise Unscored(Status.LIMIT, "refused before any work")
        return tuple(response.split()[-2:]) or None

    def settle_gold(self, ground_truth: Any) -> bool:
        return bool(ground_truth == "5")

    def check_gold(self, ground_truth: Any) -> None:
        if ground_truth == "hangs":
            time.sleep(60)
        float(ground_truth) if ground_truth != "bad" else _no_number()

    def settle(self, answer: Any, ground_truth: Any) -> Score | None:
        return Score(1.0, extra={"pid": os.getpid()}) if answer and answer[-1] == ground_truth else None

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        self.calls += 1
        if answer and answer[-1] == "hang":
            while True:
                pass
        if answer and answer[-1] == "gold":
            raise GoldError("found bad while grading")
        right = answer is not None and abs(float(answer[-1]) - float(ground_truth)) <= self.tolerance
        return Score(float(right), extra={"pid": os.getpid(), "calls": self.calls, "list": isinstance(answer, list)})

    def present(self, ground_truth: Any) -> str:
        return str(ground_truth)


def _no_number() -> None:
    raise GoldError("no number")


class Broken(Bounded):
    """Cannot be loaded."""

    name = "broken"

    def load(self) -> None:
        raise ImportError("libgrade.so is missing")


class Whole(WholeReward):
    """Tells how it was called."""

    name = "whole"
    batch_size = 4

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        if "raise" in responses:
            raise ValueError("one of them")
        if "short" in responses:
            return [Score(1.0)] * (len(responses) - 1)
        if "limit" in responses:
            raise Unscored(Status.LIMIT, "too long")
        extra = {"batch": len(responses), "pid": os.getpid(), "fields": list(problem)}
        return [Score(float("nan") if text == "nan" else 1.0, extra=extra) for text in responses]


class WholeHere(Whole):
    """The same, in the worker."""

    name = "whole_here"
    where = Where.WORKER
