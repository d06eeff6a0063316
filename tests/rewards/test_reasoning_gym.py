"""reasoning_gym: the task's own score, with nothing of a model's evaluated."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import RewardError
from analyzer.rewards import default_route
from analyzer.rewards._common.tags import last_tagged
from analyzer.rewards.reasoning_gym import ReasoningGym, arithmetic, checked_formula
from analyzer.schema import GoldError, Problem, Score

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs the extra reasoning-gym"
)
COUNTDOWN = {
    "question": "?",
    "answer": "3*8",
    "metadata": {"source_dataset": "countdown", "numbers": [3, 8], "target": 24},
}


@pytest.fixture(scope="module")
def reward() -> ReasoningGym:
    reward = ReasoningGym()
    reward.load()
    return reward


def score(reward: ReasoningGym, entry: Any, answer: str | None, **problem: Any) -> Score:
    response = "<think>...</think>" + ("" if answer is None else f"<answer>{answer}</answer>")
    return reward.score(Problem("reasoning_gym/countdown", entry, **problem), [response])[0]


ANSWERS = {
    "right": ("8 * 3", 1.0),
    "another_value": ("8 + 3", 0.05),
    "other_numbers": ("4 * 6", 0.05),
    "no_formula": ("I do not know", 0.01),
    "none": (None, 0.01),
    "code": ("__import__('os').getpid()", 0.01),
}


@needs_package
@pytest.mark.parametrize(("answer", "earned"), ANSWERS.values(), ids=ANSWERS)
def test_partial_credit_is_kept(reward: ReasoningGym, answer: str | None, earned: float) -> None:
    found = score(reward, json.dumps(COUNTDOWN), answer)
    assert found.reward == earned
    assert found.found is (answer is not None)


@needs_package
def test_the_entry_may_be_a_struct_or_come_with_extra_info(reward: ReasoningGym) -> None:
    assert score(reward, COUNTDOWN, "8*3").reward == 1.0
    assert score(reward, "3*8", "8*3", extra_info=COUNTDOWN).reward == 1.0
    assert score(reward, "3*8", "8*3", extra_info=COUNTDOWN["metadata"]).reward == 1.0
    assert score(reward, "3*8", "8*3", extra_info=json.dumps({"numbers": [3, 8], "target": 24})).reward == 1.0


@needs_package
def test_an_unknown_task_or_a_broken_entry_is_a_gold_error(reward: ReasoningGym) -> None:
    with pytest.raises(GoldError, match="no_such"):
        score(reward, {"answer": "1", "metadata": {"source_dataset": "no_such"}}, "1")
    with pytest.raises(GoldError, match="cannot judge this entry"):
        score(reward, {"answer": "x", "metadata": {"source_dataset": "prime_factorization"}}, "1")


@needs_package
def test_an_answer_on_which_the_task_fails_earns_nothing(reward: ReasoningGym) -> None:
    entry = {"answer": "2 × 3", "metadata": {"source_dataset": "prime_factorization"}}
    assert score(reward, entry, "two times three").reward == 0.0
    assert score(reward, entry, "3 × 2").reward == 1.0


def entries(size: int) -> list[Any]:
    import reasoning_gym as package

    found = []
    for name in sorted(package.factory.DATASETS):
        if name != "composite":
            found += [(name, dict(entry)) for entry in package.create_dataset(name, size=size, seed=3)]
    return found


HOSTILE = [
    "open({marker!r}, 'w')",
    "__import__('os').system('touch {marker}')",
    "[open({marker!r}, 'w')]",
    "(lambda: open({marker!r}, 'w'))()",
    "().__class__.__base__.__subclasses__()",
    "entry['answer']",
    "f'{{open({marker!r}, chr(119))}}'",
    "[x for x in [open({marker!r}, 'w')]]",
]


@needs_package
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_task_takes_its_own_answer_through_json_and_evaluates_no_other(
    reward: ReasoningGym, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    low = set()
    for name, generated in entries(1):
        own = generated["answer"]
        entry = json.loads(json.dumps(generated, default=str))
        if isinstance(own, str) and score(reward, json.dumps(entry), own).reward != 1.0:
            low.add(name)
        for text in HOSTILE:
            assert score(reward, json.dumps(entry), text.format(marker=str(marker))).reward is not None
    assert not marker.exists()
    assert low <= {"rubiks_cube", "rush_hour", "propositional_logic", "graph_color", "boxnet"}


def test_reasoning_gym_comes_here() -> None:
    assert default_route("reasoning_gym/countdown") == "reasoning_gym"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RewardError, match=r"pip install .*\[reasoning-gym\]'"):
        ReasoningGym()


TAGGED = {
    "plain": ("<answer> 4 </answer>", "4"),
    "last": ("<answer>1</answer> no: <answer>2</answer>", "2"),
    "unclosed": ("<answer>1", None),
    "unclosed_after": ("<answer>1</answer><answer>2", "1"),
    "nested_mark": ("<answer>1 <answer>2</answer>", "1 <answer>2"),
    "lines": ("<answer>\n1 2\n3 4\n</answer>", "1 2\n3 4"),
    "empty": ("<answer></answer>", ""),
    "none": ("4", None),
    "closed_first": ("</answer><answer>3</answer>", "3"),
    "many_marks": ("<answer>" * 200_000, None),
}


@pytest.mark.parametrize(("response", "answer"), TAGGED.values(), ids=TAGGED)
def test_the_last_tagged_text_is_the_answer(response: str, answer: str | None) -> None:
    assert last_tagged(response, "answer") == answer


@pytest.mark.parametrize(
    "text", ["[['Q', '_'], ['_', 'Q']]", "(1, -2.5)", "2 ** 3 + 1", "{1: {2}}", "'a' * 3", " [1] "]
)
def test_literals_and_arithmetic_are_evaluated(text: str) -> None:
    assert arithmetic(text) == eval(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "open('x')",
        "x",
        "x.y",
        "[i for i in [1]]",
        "a['b']",
        "lambda: 1",
        "f'{1}'",
        "(x := 1)",
        "__import__",
        "1 if 1 else 2",
    ],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValueError, match="is not evaluated"):
        arithmetic(text)


@pytest.mark.parametrize(
    "text", ["(3+8)*2", "x**2 + 2*x*y - sin(x)/3 + C", "5!", "1.5e3", "-8*x**3/9", "x1 + x2", "|x|"]
)
def test_formulas_pass(text: str) -> None:
    assert checked_formula(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "open(x)",
        "eval (1)",
        "x.func",
        "x . y",
        "'x'",
        "x[0]",
        "__x",
        "lambda x: x",
        "a=1",
        "exec\n(1)",
        "f(x);g",
        "(x)\\",
        "Q.real",
    ],
)
def test_what_could_be_code_does_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a plain formula|is not evaluated"):
        checked_formula(text)
