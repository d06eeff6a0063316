"""PRIME's math reward, and hostile text for both rewards that grade with PRM800K's rules, through the real child."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.grading import Limits
from analyzer.rewards import Reward, default_route
from analyzer.rewards.geometry3k import Geometry3k
from analyzer.rewards.math_prime import MathPrime, find_answer
from analyzer.rewards.prm800k import equality, expressions, tolerant
from analyzer.schema import GoldError, Problem, Score, Status, Unscored
from analyzer.scoring import Scorer
from tests.grading.warm import warm_zygotes

REWARD = MathPrime()
DIALECTS = {"math_prime": equality.PRIME, "geometry3k": equality.MATHRULER}
BOUNDED = Limits(cpu_seconds=0.4)


@pytest.fixture(scope="module", autouse=True)
def _zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


def score(response: str, ground_truth: str) -> Score:
    return REWARD.grade(REWARD.extract(response), ground_truth)


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    assert score(case["response"], case["ground_truth"]).reward == case["reward"]


@pytest.mark.parametrize("data_source", ["numina_aops_forum", "numina_cn_k12", "numina_olympiads"])
def test_equals_verl_on_every_row(data_source: str, parity: Callable[[str], Iterator[Any]]) -> None:
    for row in parity(data_source):
        assert score(row.response, row.ground_truth).reward == row.verl_score, row


@pytest.mark.parametrize("data_source", MathPrime.data_sources)
def test_its_data_sources_are_routed_here(data_source: str) -> None:
    assert default_route(data_source) == "math_prime"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Answer: 5", "5"),
        ("THE ANSWER IS: 5", "5"),
        ("The answers are 1 and 2", "1 and 2"),
        ("5 is the answer", "5"),
        ("a. b. c", "a. b"),
        ("we get 5", "5"),
        ("it must be\n5", "5"),
        ("\\boxed{a {b} c} d", "a {b} c"),
        ("\\boxed{}", "\\boxed{}"),
        ("\\boxed{1} \\fbox{2}", "1"),
    ],
)
def test_cues_lead_to_the_answer(response: str, answer: str) -> None:
    assert find_answer(response) == answer


tame = st.text(st.sampled_from("0123456789.,-+*/() xy\\$%{}"), max_size=12)


@given(tame, tame)
def test_what_is_settled_in_the_worker_is_what_the_child_would_say(answer: str, gold: str) -> None:
    """The right side is what `grade` does where nothing is settled; no answer never gets there."""
    both: list[tuple[Any, Any]] = [(REWARD, answer or None), (Geometry3k(), (answer, False))]
    for reward, extracted in both:
        if extracted is None:
            continue
        try:
            settled = reward.settle(extracted, gold)
            right = equality.equal(answer, gold, DIALECTS[reward.name])
        except Unscored:
            continue
        right = right or (reward is REWARD and tolerant.equal(answer, gold))
        assert settled is None or (settled.reward == 0.0) != right


@pytest.mark.parametrize(
    "numbers", [("5", "500"), ("5", "5.0004"), ("5", "5.1"), ("0", "0.0"), ("-3", "3"), ("2", "2.5")]
)
def test_plain_numbers_are_settled_in_the_worker(numbers: tuple[str, str]) -> None:
    settled = REWARD.settle(*numbers)
    assert settled is not None
    assert settled.reward == float(numbers in {("5", "500"), ("5", "5.0004"), ("0", "0.0")})


@pytest.mark.parametrize("gold", [18, 0.5, None, ["18"]])
@pytest.mark.parametrize("reward", [REWARD, Geometry3k()], ids=str)
def test_a_ground_truth_of_another_type_is_a_gold_error(reward: Reward, gold: Any) -> None:
    assert not reward.settle_gold(gold)
    with pytest.raises(GoldError):
        reward.check_gold(gold)


@pytest.mark.parametrize("gold", ["", "Find all n", "\\frac{", "}{", "None"])
def test_any_other_string_is_a_ground_truth(gold: str) -> None:
    assert REWARD.settle_gold(gold)
    REWARD.check_gold(gold)
    assert score("\\boxed{12}", gold).reward == 0.0


@pytest.mark.parametrize("text", ["(9*9*9*9)**(999*9*9)", "x**(9999*9999)", "(9999999)**(9999*2)"])
def test_what_is_too_large_to_build_is_over_a_limit(text: str) -> None:
    with pytest.raises(Unscored, match="too large"):
        expressions.differ_by_zero(text, "x")


SAME = [
    *(("xy^2", "x*y*y"), ("2xy", "x*2*y"), ("2 sqrt(3)", "sqrt(12)"), ("sqrt 4", "2"), ("1/2x", "x/2")),
    *(("(x+1)(x+2)", "x^2+3x+2"), ("-2^2", "-4"), ("x2", "2x"), ("5!x", "120x"), ("2pi", "pi+pi"), ("+x", "x")),
]


@pytest.mark.parametrize(("text", "same"), SAME)
def test_people_leave_out_signs(text: str, same: str) -> None:
    assert expressions.differ_by_zero(text, same)


@pytest.mark.parametrize("text", ["", "x.y", "012", "0x10", "re(x)", "re", "x!", "sqrt", "x<y", "x,y", "if", "/"])
def test_other_text_is_no_expression(text: str) -> None:
    assert not expressions.differ_by_zero(text, text)


LIMIT = {
    "tower": "9^{9^9}",
    "tower_of_signs": "9**9**9",
    "tower_of_tens": "10^{10^{10}}",
    "factorials": "((9!)!)!",
    "factorial": "1000000!",
    "binomial": "\\binom{10^9}{5\\cdot 10^8}",
    "parentheses": "(" * 3000 + "1" + ")" * 3000,
    "digits": "7" * 5000,
    "terms": "1+" * 2000 + "1",
}
EITHER = {
    "power_of_a_sum": "(9*9*9*9)**(999*9*9)",
    "import": "__import__('os').system('touch MARKER')",
    "dunders": "().__class__.__bases__[0].__subclasses__()",
    "lambda": "(lambda x: open('MARKER', 'w'))(1)",
    "eval": "eval('1+1')",
}
WRONG = {
    "call": "open('MARKER','w')",
    "f_string": "f'{open(chr(77))}'",
    "attribute": "x.xx",
    "subscript": "x[x]",
    "string": "'xx'",
    "call_of_call": "x(x)(x)",
    "walrus": "(x:=x)",
    "sympy_class": "S('x')",
    "nul": "1\x00",
    "surrogate": "1\ud800",
    "zero_width": "\u200b1\u200f",
    "nan": "nan",
    "infinity": "1e400",
    "words": "x is y " * 2000,
    "division_by_zero": "x/0",
    "open_call": "ln(",
}


@pytest.fixture(scope="module")
def scorers() -> Iterator[dict[str, Scorer]]:
    with closing(Scorer(REWARD, BOUNDED)) as prime, closing(Scorer(Geometry3k(), BOUNDED)) as geometry:
        yield {"math_prime": prime, "geometry3k": geometry}


@pytest.mark.parametrize("reward", ["math_prime", "geometry3k"])
@pytest.mark.parametrize("gold", ["y+3", "5"])
def test_hostile_answers_are_wrong_or_over_a_limit(
    scorers: dict[str, Scorer], reward: str, gold: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    texts = {name: text.replace("MARKER", str(marker)) for name, text in (LIMIT | EITHER | WRONG).items()}
    scores = scorers[reward].score(Problem("a source", gold), [f"\\boxed{{{text}}}" for text in texts.values()])
    statuses = {name: score.status for name, score in zip(texts, scores, strict=True)}
    assert {name for name in LIMIT if statuses[name] is not Status.LIMIT} == set(), statuses
    assert {name for name in WRONG if statuses[name] is not Status.OK} == set(), statuses
    assert all(score.status in (Status.OK, Status.LIMIT) and score.reward in (None, 0.0) for score in scores)
    assert not marker.exists()


@pytest.mark.parametrize("reward", ["math_prime", "geometry3k"])
def test_what_sympy_takes_too_long_for_is_a_timeout_and_the_next_answer_is_graded(
    scorers: dict[str, Scorer], reward: str
) -> None:
    responses = ["\\boxed{(x+y+1)**300}", "\\boxed{x+y}"]
    scores = scorers[reward].score(Problem("a source", "y+x"), responses)
    assert [score.status for score in scores] == [Status.TIMEOUT, Status.OK]
    assert scores[1].reward is not None
    assert scores[1].reward > 0.5


@pytest.mark.parametrize("reward", [REWARD, Geometry3k()], ids=str)
def test_no_text_is_ever_evaluated(reward: Reward, monkeypatch: pytest.MonkeyPatch) -> None:
    import sympy
    from sympy.parsing import sympy_parser

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("text was evaluated")

    reward.load()
    for module in (sympy, sympy_parser):
        monkeypatch.setattr(module, "parse_expr", never)
    monkeypatch.setattr(sympy_parser, "eval_expr", never)
    for text in (*WRONG.values(), "sqrt(12)", "2x+1", "x^2-y"):
        assert reward.grade(reward.extract(f"\\boxed{{{text}}}"), "y+3").reward == 0.0
