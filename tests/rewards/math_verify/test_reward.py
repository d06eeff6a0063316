"""Math-Verify's semantics: a table of cases, and every real row against the package itself and against labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.grading import Limits
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import GoldError, Problem, Score, Status, Unscored
from analyzer.scoring import Scorer
from tests.grading.warm import warm_zygotes
from tests.rewards.math_verify import math_verify_itself

REWARD = MathVerify()

UNSCORED = {
    "math_qwen": {},
    "gaokao2023en_qwen3b": {Status.GOLD_ERROR: 6},  # three ground truths are empty
    "carp_en_qwen3b": {},
    "aime_amc_50": {},
    "math_l5_zeroeval": {Status.LIMIT: 1},  # a sum of 4,233 characters
}
"""How many rows of each file are not scored: the only ones in which the package's verdict is not our reward."""

LABELLED = {"math_qwen": 1.0, "carp_en_qwen3b": 0.993, "gaokao2023en_qwen3b": 0.972}
SAMPLED = 15  # rows of each file that stand for all


class Row(NamedTuple):
    """A real rollout."""

    ground_truth: str
    response: str
    label: float | None


@pytest.fixture(scope="module", autouse=True)
def _close_zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


@pytest.fixture(scope="module")
def rows_of(shared: Callable[[str], Path]) -> Callable[[str], list[Row]]:
    """A function from the name of a file of ../shared/data to its rows."""

    def read(name: str) -> list[Row]:
        table = pq.read_table(shared(f"data/{name}.parquet"), columns=["original_reward_model", "response", "label"])
        golds, responses, labels = (column.to_pylist() for column in table.columns)
        return [Row(gold["ground_truth"], *others) for gold, *others in zip(golds, responses, labels, strict=True)]

    return read


def sampled(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows at even distances, which is over all problems and models."""
    return rows[:: max(1, len(rows) // SAMPLED)]


def score_all(rows: Sequence[Row]) -> list[Score]:
    """The scores of rows in order, as the main job comes to them, in two children."""
    by_gold: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        by_gold.setdefault(row.ground_truth, []).append(at)
    scores: dict[int, Score] = {}

    def score_share(golds: Iterable[str]) -> None:
        with closing(Scorer(REWARD, Limits())) as scorer:
            for gold in golds:
                places = by_gold[gold]
                found = scorer.score(Problem("a source", gold), [rows[at].response for at in places])
                scores.update(zip(places, found, strict=True))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(score_share, (list(by_gold)[::2], list(by_gold)[1::2])))
    return [scores[at] for at in range(len(rows))]


# ---------------------------------------------------------------- cases


def test_each_case_earns_its_reward_settled_or_not(case: dict[str, Any]) -> None:
    answer, gold = REWARD.extract(case["response"]), case["ground_truth"]
    REWARD.check_gold(gold)
    assert REWARD.grade(answer, gold).reward == case["reward"]
    settled = REWARD.settle(answer, gold)
    assert settled is None or settled.reward == case["reward"]


def test_each_case_is_what_math_verify_itself_says(case: dict[str, Any]) -> None:
    (verdict,) = math_verify_itself.MathVerifyItself().ask([(str(case["ground_truth"]), case["response"])])
    assert verdict == (bool(case["reward"]), False)


@pytest.mark.parametrize("gold", ["", " ", "\\text{}", None, ["1"], {}, True])
def test_a_ground_truth_in_which_nothing_is_found_is_a_gold_error(gold: Any) -> None:
    assert not REWARD.settle_gold(gold)
    with pytest.raises(GoldError):
        REWARD.check_gold(gold)


OVER_A_LIMIT = ["7" * 5000, "9^{9^9}", "(" * 100, "10^{10^{10}}", "30000!", "4!!!", ", ".join(map(str, range(2000)))]


@pytest.mark.parametrize("gold", OVER_A_LIMIT, ids=lambda gold: gold[:12])
def test_the_same_text_earns_where_the_ground_truth_is_over_a_limit_and_all_else_is_a_gold_error(gold: str) -> None:
    with closing(Scorer(REWARD, Limits())) as scorer:
        responses = [REWARD.present(gold), f"so \\boxed{{ {gold} }}", "\\boxed{7}", f"\\boxed{{{gold}1}}", "none", ""]
        if gold.endswith("("):
            responses[1] = responses[0]  # no box is closed
        scores = scorer.score(Problem("a source", gold), responses)
    assert [(score.reward, score.status) for score in scores] == [(1.0, Status.OK)] * 2 + [
        (None, Status.GOLD_ERROR)
    ] * 4
    assert "only the same text scores" in scores[2].detail


LARGE = [
    *(("2^{10000}", "4^{5000}", "2^{9999}"), ("2024^{4046}", "(2024^2)^{2023}", "2024^{4045}")),
    *(("20000!", "20000 \\cdot 19999!", "19999!"), ("2^{2^{3}}", "256", "255"), ("3!!!", "720!", "719!")),
    *(
        ("256", "2^{2^{3}}", "2^{2^{4}}"),
        ("65536", "2^{2^{2^{2}}}", "2^{16^{2}}"),
        ("7625597484987", "3^{3^3}", "3^{9}"),
    ),
]


@pytest.mark.parametrize(("gold", "right", "wrong"), LARGE)
def test_large_numbers_that_can_be_evaluated_are_compared_as_numbers(gold: str, right: str, wrong: str) -> None:
    with closing(Scorer(REWARD, Limits(cpu_seconds=2))) as scorer:
        responses = [
            REWARD.present(gold),
            f"\\boxed{{{right}}}",
            f"\\boxed{{{wrong}}}",
            "\\boxed{x}",
            "$\\sqrt{2}$",
            "no",
        ]
        scores = scorer.score(Problem("a source", gold), responses)
    assert [score.reward for score in scores] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("gold", [5, -3, 0.5, 10**30])
def test_a_number_is_a_ground_truth_too(gold: float) -> None:
    assert REWARD.grade(REWARD.extract(REWARD.present(gold)), gold).reward == 1.0


numbers = st.integers(-(10**6), 10**6)
simple = st.one_of(
    numbers.map(str),
    st.decimals(-999, 999, places=3).map(str),
    st.builds("\\frac{{{}}}{{{}}}".format, numbers, st.integers(1, 99)),
    st.builds("{}\\sqrt{{{}}}".format, st.integers(2, 9), st.integers(2, 99)),
    st.builds("{}x^{{{}}} - {}y".format, st.integers(2, 9), st.integers(2, 9), st.integers(2, 9)),
    st.builds("\\frac{{{}\\pi}}{{{}}}".format, st.integers(2, 99), st.integers(2, 9)),
)
golds = st.one_of(
    simple,
    st.lists(simple, min_size=2, max_size=4).map(lambda members: f"\\{{{', '.join(members)}\\}}"),
    st.lists(simple, min_size=2, max_size=3).map(lambda members: f"({', '.join(members)})"),
    st.builds("[{}, \\infty)".format, simple),
    st.builds("x = {}".format, simple),
    st.builds("y \\le {}".format, simple),
    st.sampled_from(
        ["\\text{Friday}", "\\text{(B)}", "50\\%", "30^\\circ", "3+4i", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"]
    ),
)


@given(golds)
def test_a_presented_ground_truth_earns_the_maximum_in_its_own_words_and_in_a_box(gold: str) -> None:
    for response in (REWARD.present(gold), f"so \\boxed{{{gold}}}"):
        assert REWARD.grade(REWARD.extract(response), gold).reward == 1.0


@pytest.mark.parametrize("name", UNSCORED)
def test_every_real_ground_truth_that_parses_earns_the_maximum_where_it_is_presented(
    name: str, rows_of: Callable[[str], list[Row]]
) -> None:
    golds = sorted({row.ground_truth for row in rows_of(name)})
    scores = score_all([Row(gold, REWARD.present(gold), None) for gold in golds])
    earned = {
        gold: score.status if score.reward is None else score.reward for gold, score in zip(golds, scores, strict=True)
    }
    assert {gold: earned for gold, earned in earned.items() if earned not in (1.0, Status.GOLD_ERROR)} == {}


# ---------------------------------------------------------------- against the package


@pytest.mark.parametrize("name", UNSCORED)
def test_equals_math_verify_on_a_sample_of_real_rows(name: str, rows_of: Callable[[str], list[Row]]) -> None:
    assert_equal_to_math_verify(sampled(rows_of(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSCORED)
def test_equals_math_verify_on_every_real_row(name: str, rows_of: Callable[[str], list[Row]]) -> None:
    rows = rows_of(name)
    scores = assert_equal_to_math_verify(rows)
    assert Counter(score.status for score in scores if score.status is not Status.OK) == UNSCORED[name]


def assert_equal_to_math_verify(rows: Sequence[Row]) -> list[Score]:
    scores = score_all(rows)
    verdicts = math_verify_itself.verdicts([(row.ground_truth, row.response) for row in rows])
    differing = [
        (at, score, verdict)
        for at, (score, verdict) in enumerate(zip(scores, verdicts, strict=True))
        if score.status is Status.OK and not verdict.late and score.reward != float(verdict.equal)
    ]
    assert differing == []
    assert sum(verdict.late for verdict in verdicts) <= len(rows) // 500  # none, but for its clock on a busy machine
    return scores


@pytest.mark.parametrize("name", UNSCORED)
def test_what_is_settled_is_what_the_slow_path_says_on_a_sample(name: str, rows_of: Callable[[str], list[Row]]) -> None:
    assert_settled_is_right(sampled(rows_of(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSCORED)
def test_what_is_settled_is_what_the_slow_path_says(name: str, rows_of: Callable[[str], list[Row]]) -> None:
    assert_settled_is_right(rows_of(name))


def assert_settled_is_right(rows: Sequence[Row]) -> None:
    settled: dict[tuple[str, Any], float | None] = {}
    for row in rows:
        try:
            answer = REWARD.extract(row.response)
            score = REWARD.settle(answer, row.ground_truth)
        except Unscored:
            continue
        if answer is not None and score is not None:
            settled[row.ground_truth, answer] = score.reward
        if REWARD.settle_gold(row.ground_truth):
            REWARD.check_gold(row.ground_truth)
    slow = math_verify_itself.slow_rewards(list(settled))
    differing = [
        (pair, settled[pair], other) for pair, other in zip(settled, slow, strict=True) if settled[pair] != other
    ]
    assert differing == []


# ---------------------------------------------------------------- against labels


@pytest.mark.parametrize("name", LABELLED)
def test_agrees_with_the_labels(name: str, rows_of: Callable[[str], list[Row]]) -> None:
    rows = rows_of(name)
    scored = [
        (score.reward, row.label) for score, row in zip(score_all(rows), rows, strict=True) if score.status is Status.OK
    ]
    assert len(scored) == len(rows) - sum(UNSCORED[name].values())
    assert sum(reward == label for reward, label in scored) / len(scored) >= LABELLED[name]
