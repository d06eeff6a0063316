from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.grading import Limits
from analyzer.rewards import default_route
from analyzer.rewards.multiple_choice import MultipleChoice
from analyzer.schema import GoldError, Problem, Status
from analyzer.scoring import Scorer
from tests.commands import Outcome, parquet

REWARD = MultipleChoice()
CITIES = ["Rome", "Paris", "Oslo"]
BENCHMARK = re.compile(r"answer is \(?([A-J])\)?")  # the first step of MMLU-Pro's extractor; later steps guess


def reward_of(response: str, ground_truth: Any) -> float | None:
    return REWARD.grade(REWARD.extract(response), ground_truth).reward


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert reward_of(case["response"], case["ground_truth"]) == case["reward"]


def test_agrees_with_the_benchmark_where_it_did_not_guess(shared: Callable[[str], Path]) -> None:
    """28 of 5,327 differ: it takes the first of several answers, and the first letter of "(B) or (G)"."""
    table = pq.read_table(shared("data/mmlu_pro.parquet"), columns=["response", "original_reward_model", "label"])
    rows = [row for row in table.to_pylist() if BENCHMARK.search(row["response"])]
    agreeing = [
        reward_of(row["response"], row["original_reward_model"]["ground_truth"]) == row["label"] for row in rows
    ]
    assert len(rows) == 5327
    assert sum(agreeing) >= 5299


def test_is_the_route_of_mmlu_pro() -> None:
    assert default_route("TIGER-Lab/MMLU-Pro") == "multiple_choice"


@pytest.mark.parametrize("gold", ["K", "", "b", "BA", "AA", "A or B", "A,K", 2, None, [], ["A", "A"], ["A", 2]])
def test_a_ground_truth_that_is_no_letter_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError, match="letter"):
        REWARD.check_gold(gold)


@pytest.mark.parametrize(
    "form",
    [
        *(
            "the answer is {}",
            "The answer is ({})",
            "Answer: {}",
            "**Answer**: {}",
            "Final Answer: **({})**",
            "ANSWER: {}",
        ),
        *("the correct answer is option {}.", "the best choice is {}.", "{} is the correct answer", "\\boxed{{{}}}"),
        *(
            "\\boxed{{\\text{{{}}}}}",
            "$\\boxed{{({})}}$",
            "<answer>{}</answer>",
            "It is:\n{}",
            "It is:\n({})",
            "{}",
            "({})",
        ),
        *(
            "The answer is \\({}\\)",
            "Answer: ${}$",
            "the answer to this question is {}",
            "The answer choice is ({}) 12",
        ),
    ],
)
def test_the_usual_phrasings_name_every_letter(form: str) -> None:
    for gold in "ABCDEFGHIJ":
        assert REWARD.extract("Because of that,\n" * (form[0] != "{") + form.format(gold)) == gold


@pytest.mark.parametrize(
    "extra",
    [
        {"choices": CITIES},
        {"options": ["A. Rome", "B. Paris", "C. Oslo"]},
        {"choices": dict(zip("ABC", CITIES, strict=True))},
        {"choices": {"label": list("ABC"), "text": CITIES}},
        {"choices": json.dumps(CITIES), "index": 3},
        json.dumps({"choices": CITIES}),
    ],
    ids=str,
)
@pytest.mark.parametrize("gold", ["Paris", " paris. ", "B. Paris", "B"])
def test_the_text_of_an_option_is_the_letter_it_has_in_extra_info(extra: Any, gold: str) -> None:
    assert REWARD.gold_of(Problem("d", gold, extra)) == {
        "gold": "B",
        "options": {"rome": "A", "paris": "B", "oslo": "C"},
    }
    scores = Scorer(REWARD, Limits()).score(Problem("d", gold, extra), ["The answer is (B).", "The answer is (A)."])
    assert [score.reward for score in scores] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("gold", "extra"),
    [
        ("Paris", None),
        ("Paris", {"choices": ["Rome", "Oslo"]}),
        ("Paris", {"choices": ["Paris", "paris"]}),  # no letter is the right one
        ("Paris", {"choices": "Rome or Paris"}),
        ("Paris", {"choices": [["Paris"]]}),
        ("Paris", {"choices": {"label": ["1", "2"], "text": ["Rome", "Paris"]}}),
        ("", {"choices": ["", "x"]}),
        (2, {"choices": CITIES}),
        ("Paris", "[" * 100_000),
    ],
)
def test_a_text_that_is_no_option_is_a_gold_error(gold: Any, extra: Any) -> None:
    (score,) = Scorer(REWARD, Limits()).score(Problem("d", gold, extra), ["The answer is (B)."])
    assert score.status is Status.GOLD_ERROR
    assert "options in extra_info" in score.detail


def test_an_option_that_names_letters_is_meant_before_the_letters() -> None:
    assert REWARD.gold_of(Problem("d", "A and B", {"choices": ["x", "y", "A and B"]}))["gold"] == "C"


def test_the_main_job_hands_the_options_on_and_the_audit_earns_with_them(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    rows = [
        {
            "prompt": "q",
            "response": f"The answer is ({'ABC'[(p + s) % 3]}).",
            "data_idx": p,
            "sample_idx": s,
            "original_reward_model": {"style": "rule", "ground_truth": CITIES[p % 3]},
            "original_extra_info": {"choices": CITIES},
        }
        for p in range(6)
        for s in range(3)
    ]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), reward_fn="multiple_choice")
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward"].to_pylist() == [1.0, 0.0, 0.0] * 6
    (gold,) = outcome.json("summary.json")["audit"]["ground_truths"].values()
    assert (gold["asked"], gold["failed"], gold["fooled"]) == (6, 0, 0)


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is Paris.", "B"),
        ("so the correct answer is **Paris**", "B"),
        ("Answer: Paris", "B"),
        ("Final answer: *paris*", "B"),
        ("\\boxed{\\text{Paris}}", "B"),
        ("<answer>Paris</answer>", "B"),
        ("The answer is Oslo. No: the answer is Paris.", "B"),
        ("Answer: Oslo", "C"),
        ("The answer is (C), Paris being too large", "C"),  # a letter comes before a text
        ("Answer: Paris is too large", None),
        ("Answer: Paris or Oslo", None),
        ("Paris is the capital", None),
        ("<think>The answer is Paris.", None),
        ("Answer: none of them", None),
        ("The answer is A or B", None),
    ],
)
def test_the_text_of_an_option_in_a_response_is_its_letter(response: str, letter: str | None) -> None:
    extra = {"choices": CITIES}
    for gold in ("A", "B", "C", "Paris"):
        (score,) = Scorer(REWARD, Limits()).score(Problem("d", gold, extra), [response])
        assert score.reward == (1.0 if letter == (gold if len(gold) == 1 else "B") else 0.0)
        assert score.found == (letter is not None)
    (without,) = Scorer(REWARD, Limits()).score(Problem("d", "B"), [response])
    assert without.reward == 0.0 or "(" in response  # no options, no letter


def test_the_text_that_two_options_share_names_neither() -> None:
    problem = Problem("d", "A", {"choices": ["Paris", "paris.", "Oslo"]})
    assert [one.reward for one in Scorer(REWARD, Limits()).score(problem, ["Answer: Paris", "Answer: A"])] == [0.0, 1.0]
