"""Every case of a reward that reads an answer, through the scorer: its reward, its status, and the answer found.

A reward can be right for the wrong reason: a wrong answer earns as little as none. So each case of cases/*.json says
what was taken for the answer ("answer": null, none; "found" where that does not follow from it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer import rewards
from analyzer.grading import Limits
from analyzer.schema import Problem, Status
from analyzer.scoring import Scorer
from tests.grading.warm import warm_zygotes

CASES = {
    f"{table.stem}-{row['id']}": (table.stem, row)
    for table in sorted((Path(__file__).parent / "cases").glob("*.json"))
    for row in json.loads(table.read_text(encoding="utf-8"))
    if "answer" in row
}


@pytest.fixture(scope="module")
def scorer_of() -> Iterator[Callable[[str, dict[str, Any]], Scorer]]:
    """A function from a reward's name and options to its scorer: one for all of its cases, as in a run."""
    scorers: dict[str, Scorer] = {}

    def find(name: str, options: dict[str, Any]) -> Scorer:
        key = f"{name} {sorted(options.items())}"
        if key not in scorers:
            scorers[key] = Scorer(rewards.build(name, options), Limits())
        return scorers[key]

    with warm_zygotes():
        yield find
        for scorer in scorers.values():
            scorer.close()


@pytest.mark.parametrize("reward", sorted({name for name, _ in CASES.values()}))
def test_reward_status_and_answer_are_those_of_the_table(
    reward: str, scorer_of: Callable[[str, dict[str, Any]], Scorer]
) -> None:
    earned, expected = {}, {}
    for at, (name, case) in CASES.items():
        if name == reward:
            problem = Problem("", case["ground_truth"])
            (score,) = scorer_of(name, case.get("options", {})).score(problem, [case["response"]])
            earned[at] = score.reward, score.status, score.answer, score.found
            found = case.get("found", case["answer"] is not None)
            expected[at] = case["reward"], Status.OK, case["answer"], found
    assert earned == expected


def test_the_tables_of_all_rewards_that_read_an_answer_say_which() -> None:
    with_answers = {name for name, _ in CASES.values()}
    assert {
        "gsm8k",
        "math_boxed",
        "math_dapo",
        "math_prime",
        "math_verify",
        "multiple_choice",
        "numeric",
    } <= with_answers
    assert len(CASES) > 500
