"""Hostile mathematics through the real child: each input has its outcome, and no text is ever evaluated.

What must come out is said for each reward that grades mathematics: a limit that is found before any work, an answer
that is wrong (or right), a deadline. The marker is a file that the text would write if anything ran it.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from analyzer.grading import Limits
from analyzer.rewards import Reward, Where, find
from analyzer.schema import NOTHING, Problem, Score, Status, Unscored
from analyzer.scoring import Scorer
from tests.grading.warm import warm_zygotes

REWARDS = ("math_verify", "math_prime", "geometry3k", "numeric")
STRINGS = ("gsm8k", "math_boxed", "math_dapo")
BOUNDED = Limits(cpu_seconds=0.4)
LIMIT, WRONG, RIGHT, TIMEOUT, GOLD_ERROR = "limit", "wrong", "right", "timeout", "gold_error"
EITHER = "limit or wrong"


class Hostile(NamedTuple):
    """A response and what must become of it; `unlike` holds the rewards of which another thing is asked."""

    response: str
    outcome: str
    unlike: Mapping[str, str] = NOTHING
    gold: str = "7"


def boxed(text: str) -> str:
    return f"\\boxed{{{text}}}"


MEGABYTE = 1_000_000
NUMERIC = {"numeric": WRONG}  # reads numbers alone: the absurd is none

HOSTILE = {
    "1_power_of_a_power": Hostile(boxed("9^{9^9}"), LIMIT, NUMERIC),
    "1_in_plain_text": Hostile("So it is 9**9**9", LIMIT, {"geometry3k": WRONG, "numeric": WRONG}),
    "2_power_of_ten": Hostile(boxed("10^{10^{10}}"), LIMIT, NUMERIC),
    "3_factorials": Hostile(boxed("((9!)!)!"), LIMIT, NUMERIC),
    "3_factorials_in_a_row": Hostile(boxed("4!!!"), LIMIT, NUMERIC),
    "3_exclamation": Hostile(boxed("Yes!!!"), WRONG),
    "4_binomial": Hostile(boxed("\\binom{10^9}{5\\cdot 10^8}"), LIMIT, NUMERIC),
    "5_long_sum": Hostile(
        boxed("\\sum_{n=1}^{10^9} \\frac{1}{n^2}"),
        TIMEOUT,
        {"math_prime": LIMIT, "geometry3k": WRONG, "numeric": WRONG},  # what follows "="; no expression
    ),
    "6_power_of_a_sum": Hostile(
        boxed("(x+y+z)^{300}"),
        WRONG,  # by numbers, without expanding it; or three letters are words
        {"numeric": GOLD_ERROR},
        gold="(x+y+z)^{299}",
    ),
    "6_as_in_programs": Hostile(
        boxed("(x+y+1)**300"), TIMEOUT, {"math_verify": WRONG, "numeric": GOLD_ERROR}, gold="y+x"
    ),
    "7_nested": Hostile(boxed("(" * 3000 + "1" + ")" * 3000), LIMIT, NUMERIC),
    "7_nested_and_unclosed": Hostile(boxed("(" * 3000), LIMIT, NUMERIC),
    "9_boxes": Hostile("\\boxed{" * 100_000, WRONG),
    "9_boxes_and_one_closed": Hostile("\\boxed{" * 100_000 + boxed("7"), RIGHT),
    "10_letters": Hostile("a" * MEGABYTE, WRONG),
    "11_dollars": Hostile("$" * MEGABYTE, WRONG),
    "12_numbers": Hostile(" 1 " * (MEGABYTE // 3), WRONG),
    "13_ten_megabytes": Hostile("a" * 10 * MEGABYTE + boxed("7"), LIMIT),
    "15_import": Hostile(boxed("__import__('os').system('touch MARKER')"), LIMIT, NUMERIC),
    "15_import_in_text": Hostile("$__import__('os').system('touch MARKER')$", EITHER),
    "16_dunders": Hostile(boxed("().__class__.__bases__[0].__subclasses__()"), LIMIT, NUMERIC),
    "16_open": Hostile(boxed("open('MARKER','w')"), WRONG),
    "17_lambda": Hostile(boxed("(lambda x: open('MARKER', 'w'))(1)"), EITHER),
    "17_f_string": Hostile(boxed("f'{open(chr(77),chr(119))}'"), WRONG),
    "18_nul": Hostile(boxed("7\x00"), WRONG),
    "19_lone_surrogate": Hostile(boxed("7\ud800"), WRONG),
    "20_right_to_left": Hostile(boxed("\u202e7\u200b"), WRONG),
    "20_full_width": Hostile(boxed("７"), WRONG),
    "22_nan": Hostile(boxed("nan"), WRONG),
    "22_inf": Hostile(boxed("inf"), WRONG),
    "22_1e400": Hostile(boxed("1e400"), WRONG),
    "22_underscore": Hostile(boxed("1_0"), WRONG, gold="10"),
    "22_hexadecimal": Hostile(boxed("0x10"), WRONG, gold="16"),
    "23_list": Hostile(boxed(", ".join(map(str, range(1000)))), WRONG),
    "23_list_without_spaces": Hostile(boxed(",".join(map(str, range(1000)))), WRONG),
    "23_boxes": Hostile(" ".join(boxed(str(n)) for n in range(1000)), WRONG),
    "24_echo": Hostile(f"Show that the value is 7. I get {boxed('8')}", WRONG),
    "24_identity": Hostile(boxed("x=x"), WRONG),
    "24_plus_minus": Hostile(boxed("7\\pm3"), WRONG),
    "24_all_reals": Hostile(boxed("(-\\infty,\\infty)"), WRONG),
}
BAD_GOLDS = {"14_digits": "7" * 5000, "49_nothing": "", "49_power": "9^{9^9}", "49_nested": "(" * 100}


def outcome(score: Score) -> str:
    if score.status is Status.OK:
        return RIGHT if score.reward is not None and score.reward >= 0.5 else WRONG
    assert score.reward is None
    return str(score.status)


def children(scorer: Scorer) -> int:
    """How many child processes a scorer has."""
    return int(scorer._child is not None and scorer._child._child is not None)


@pytest.fixture(scope="module", autouse=True)
def _zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


@pytest.fixture(scope="module")
def scorers() -> Iterator[dict[str, Scorer]]:
    held = {name: Scorer(find(name)(), BOUNDED) for name in REWARDS}
    yield held
    for scorer in held.values():
        scorer.close()


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_response_has_its_outcome(
    scorers: dict[str, Scorer], name: str, reward: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case, marker = HOSTILE[name], tmp_path / "marker"
    response = case.response.replace("MARKER", str(marker))
    (score,) = scorers[reward].score(Problem("a source", case.gold), [response])
    allowed = case.unlike.get(reward, case.outcome)
    assert outcome(score) in ((LIMIT, WRONG) if allowed == EITHER else (allowed,)), score
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reward", REWARDS)
def test_the_next_response_is_graded_as_if_nothing_had_been(scorers: dict[str, Scorer], reward: str) -> None:
    (score,) = scorers[reward].score(Problem("a source", "7"), [boxed("7")])
    assert outcome(score) == RIGHT


@pytest.mark.parametrize("reward", REWARDS)
def test_a_limit_is_found_without_the_child(reward: str) -> None:
    """Before any work, that is: no process is started for it."""
    with closing(Scorer(find(reward)(), BOUNDED)) as scorer:
        for name, case in HOSTILE.items():
            if case.unlike.get(reward, case.outcome) == LIMIT:
                (score,) = scorer.score(Problem("a source", case.gold), [case.response])
                assert outcome(score) == LIMIT
                assert children(scorer) == 0, name


@pytest.mark.parametrize("reward", ["math_verify", "math_prime", "geometry3k"])
@pytest.mark.parametrize("name", [name for name, gold in BAD_GOLDS.items() if gold])
def test_the_same_text_earns_where_a_ground_truth_is_over_a_limit_and_all_other_rollouts_are_unscored(
    scorers: dict[str, Scorer], name: str, reward: str
) -> None:
    gold = BAD_GOLDS[name]
    same = f"<think></think>{boxed(gold) if reward == 'geometry3k' else f'the answer is ${gold}$'}"
    scores = scorers[reward].score(Problem("a source", gold), [same, f"${gold}1$", "\\boxed{7}", ""])
    assert (scores[0].reward, scores[0].status) == (1.0, Status.OK)
    assert [score.status for score in scores[1:]] == [Status.GOLD_ERROR] * 3


def test_a_ground_truth_in_which_nothing_is_found_leaves_all_its_rollouts_unscored(scorers: dict[str, Scorer]) -> None:
    scores = scorers["math_verify"].score(Problem("a source", ""), [boxed(""), "$$", "", "\\boxed{7}"])
    assert [score.status for score in scores] == [Status.GOLD_ERROR] * 4


@pytest.mark.parametrize("gold", BAD_GOLDS.values(), ids=BAD_GOLDS)
def test_a_ground_truth_that_is_no_number_leaves_all_its_rollouts_unscored(
    scorers: dict[str, Scorer], gold: str
) -> None:
    scores = scorers["numeric"].score(Problem("a source", gold), [boxed(gold), gold, "\\boxed{7}", ""])
    assert [score.status for score in scores] == [Status.GOLD_ERROR] * 4


@pytest.mark.parametrize("reward", STRINGS)
@pytest.mark.parametrize("name", ["13_ten_megabytes", "14_digits", "49_power"])
def test_rewards_that_compare_strings_score_it_all(reward: str, name: str) -> None:
    gold = BAD_GOLDS.get(name, "7")
    scorer = Scorer(find(reward)(), BOUNDED)
    scores = scorer.score(
        Problem("a source", gold), [HOSTILE["13_ten_megabytes"].response, f"#### {gold}", boxed(gold)]
    )
    assert [score.status for score in scores] == [Status.OK] * 3


# ---------------------------------------------------------------- nothing is evaluated

DIGITS_AND_OPERATORS = re.compile(r"[\d.\s+\-*×/^()÷]*")
BUILT_OF = {"Integer", "Float", "Rational", "Add", "Mul", "Pow", "evaluate"}  # names in what sympy evaluates then


def check_text(text: Any) -> None:
    if isinstance(text, str):
        assert DIGITS_AND_OPERATORS.fullmatch(text), f"evaluated: {text!r}"


def check_evaluated(code: Any) -> None:
    """Code that sympy wrote for digits and operators names nothing but its own numbers and operations."""
    names = code.co_names if isinstance(code, CodeType) else re.findall(r"[^\W\d]\w*", code)
    assert set(names) <= BUILT_OF, f"evaluated: {code!r}"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that from then on fails the test when text reaches eval, exec, sympify or parse_expr."""

    def watch(original: Any, check: Callable[[Any], None]) -> None:
        def instead(text: Any, *args: Any, **kwargs: Any) -> Any:
            check(text)
            return original(text, *args, **kwargs)

        holders: list[Any] = [module for module in sys.modules.values() if isinstance(module, ModuleType)]
        for holder in [*holders, sys.modules["sympy.core.singleton"].SingletonRegistry]:
            for name, value in list(vars(holder).items()):
                if value is original:
                    monkeypatch.setattr(holder, name, instead)

    def start() -> None:
        import sympy.physics.units  # noqa: F401  # sympifies names of its own when it is imported
        from sympy.core.sympify import sympify
        from sympy.parsing.sympy_parser import parse_expr

        watch(sympify, check_text)
        watch(parse_expr, check_text)
        watch(builtins.eval, check_evaluated)

    return start


def grade_tamely(reward: Reward, response: str, gold: str) -> None:
    """Grade right here what a limit does not stop; whether it is right is not asked."""
    with suppress(Unscored):
        reward.check_gold(gold)
        reward.grade(reward.extract(response), gold)


@pytest.mark.parametrize("name", ["math_verify", "math_prime", "geometry3k"])
def test_nothing_but_digits_and_operators_is_evaluated_of_hostile_text(
    name: str, watched: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reward = find(name)()
    assert isinstance(reward, Reward)
    assert reward.where is Where.CHILD
    reward.load()
    watched()
    tame = [case for case in HOSTILE.values() if case.outcome != TIMEOUT and len(case.response) < 10_000]
    responses = [case.response.replace("MARKER", "marker") for case in tame]
    responses += [f"It is {3} + 4*{n} (1)" for n in range(3)] + ["so 2.5 × (3-1)", "x = S('x')", "$\\text{eval}(2)$"]
    for gold in ("7", "x+3", "\\{1,2\\}", "x < 3", "\\text{Friday}"):
        for response in responses:
            grade_tamely(reward, response, gold)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gaokao2023en_qwen3b", "carp_en_qwen3b", "math_l5_zeroeval"])
def test_nothing_but_digits_and_operators_is_evaluated_of_real_rows(
    name: str, watched: Callable[[], None], shared: Callable[[str], Path]
) -> None:
    table = pq.read_table(shared(f"data/{name}.parquet"), columns=["response", "original_reward_model"])
    rows = table.take(list(range(0, table.num_rows, table.num_rows // 100))).to_pylist()
    reward = find("math_verify")()
    assert isinstance(reward, Reward)
    reward.load()
    watched()
    for row in rows:
        grade_tamely(reward, row["response"], row["original_reward_model"]["ground_truth"])


def test_the_watch_sees_what_is_evaluated(watched: Callable[[], None]) -> None:
    import sympy

    watched()
    assert sympy.sympify("3+4") == 7
    with pytest.raises(AssertionError, match="evaluated"):
        sympy.S("x")
    with pytest.raises(AssertionError, match="evaluated"):
        sympy.parse_expr("x+1")
    with pytest.raises(AssertionError, match="evaluated"):
        eval("len('x')")
