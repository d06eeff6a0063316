"""The recipes of math_verify: each is the call that its framework makes, on made-up texts, cases and real rows.

The calls are written out here with Math-Verify's own interface; `benchmarks/math_verify_peers.py` holds the recipes
against the frameworks' own files where they are at hand.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from latex2sympy2_extended import NormalizationConfig
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from analyzer.errors import ConfigError
from analyzer.rewards import build
from analyzer.rewards.math_verify.recipes import RECIPES
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import Status, Unscored

logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)

EXAMPLES = settings().max_examples  # of the profile, see tests/conftest.py
SKIPPED = None
FILES = ["math_qwen", "carp_en_qwen3b", "gaokao2023en_qwen3b", "aime_amc_50", "gsm8k_zeroeval", "math_l5_zeroeval"]
SAMPLED = 10  # rows of each file


its_parse = functools.cache(functools.partial(parse, parsing_timeout=None))  # many pairs share a text


def anchored(normalisation: NormalizationConfig) -> tuple[LatexExtractionConfig]:
    """LaTeX that a box or a word like "answer" leads to, a box first."""
    return (
        LatexExtractionConfig(
            normalization_config=normalisation, boxed_match_priority=0, try_extract_without_anchor=False
        ),
    )


def as_trl(gold: str, response: str) -> float | None:
    expected = its_parse(gold)
    if not expected:
        return SKIPPED
    config = anchored(NormalizationConfig(units=True))
    answer = its_parse(response, extraction_config=config, extraction_mode="first_match")
    return float(verify(expected, answer, timeout_seconds=None))


def as_open_r1(gold: str, response: str) -> float | None:
    expected = its_parse(gold, extraction_mode="first_match")
    if not expected:
        return SKIPPED
    config = anchored(NormalizationConfig(units=True, equations=True))
    answer = its_parse(response, extraction_config=config, extraction_mode="first_match")
    return float(verify(expected, answer, timeout_seconds=None))


def as_verl(gold: str, response: str) -> float | None:
    expected = its_parse(f"\\boxed{{{gold}}}", (LatexExtractionConfig(),))
    answer = its_parse(response, (ExprExtractionConfig(), LatexExtractionConfig()))
    return float(verify(expected, answer, timeout_seconds=None)) if expected else SKIPPED


def as_boxed(gold: str, response: str) -> float | None:
    expected = its_parse(f"\\boxed{{{gold}}}")
    text = response.rpartition("</think>")[2]
    _, box, rest = text.rpartition("\\boxed{")
    depth, end = 1, -1
    for at, character in enumerate(rest if box else ""):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            end = at
            break
    content = rest[:end] if end > 0 else ""
    if not expected:
        return SKIPPED
    answer = its_parse(f"\\boxed{{{content}}}")
    return float(bool(content) and verify(expected, answer, timeout_seconds=None))


def as_default(gold: str, response: str) -> float | None:
    expected = its_parse(f"${gold}$")
    return float(verify(expected, its_parse(response), timeout_seconds=None)) if expected else SKIPPED


CALLS: dict[str, Callable[[str, str], float | None]] = {
    "default": as_default,
    "trl": as_trl,
    "open_r1": as_open_r1,
    "verl": as_verl,
    "boxed": as_boxed,
}
REWARDS = {name: MathVerify(recipe=name) for name in RECIPES}


def assert_equal_to_its_call(recipe: str, gold: str, response: str) -> None:
    reward = REWARDS[recipe]
    try:
        if not reward.settle_gold(gold):
            reward.check_gold(gold)
        answer = reward.extract(response)
        settled, graded = reward.settle(answer, gold), reward.grade(answer, gold)
    except Unscored as error:
        if error.status is Status.GOLD_ERROR:
            assert CALLS[recipe](gold, response) is SKIPPED
        return
    assert graded.reward == CALLS[recipe](gold, response)
    assert settled is None or settled.reward == graded.reward


RESPONSES = [
    *("so \\boxed{\\frac{1}{2}}", "so $\\frac{1}{2}$", "it is 1/2", "The answer is 0.5", "The answer is $0.5$", ""),
    *("answer: $1$ or \\boxed{2}", "final answer is $1$. I hope, \\boxed{2}", "\\boxed{\\frac12}", "\\boxed{x=y=5}"),
    *("\\boxed{1} and \\boxed{2}", "\\boxed{3", "<think>\\boxed{1}</think> 2", "\\boxed{2} <think>", "Answer: 2 m"),
    *("the final answer is $\\sqrt2$", "\\boxed{}", "\\boxed{\\text{nothing} 5", "$5$ \\boxed{?}", "\\boxed{.5}"),
    *(
        "\\boxed{5} so the answer is 6",
        "final answer is 6, \\boxed{5}",
        "final answer is $6$, \\boxed{5}",
        "\\boxed{5 cm}",
    ),
]
GOLDS = [
    "0.5",
    "\\frac{1}{2}",
    "1/2",
    "5",
    "x=5",
    "x+1",
    "$\\frac12$",
    "2",
    "\\boxed{5}",
    "1,2",
    "",
    "text",
    "\\sqrt{2}",
    "12:00",
]


@pytest.mark.parametrize("recipe", CALLS)
@pytest.mark.parametrize("gold", GOLDS)
def test_each_recipe_is_its_framework_s_call(recipe: str, gold: str) -> None:
    for response in [*RESPONSES, gold, f"${gold}$", f"\\boxed{{{gold}}}", f"The answer is ${gold}$."]:
        assert_equal_to_its_call(recipe, gold, response)


TELLING = [  # ground truth, response: each is another reward where one choice of a recipe is made otherwise
    ("x=7", "answer is $x+y=3+4 $"),  # numbers_first, of the answer
    ("5", "\\boxed{?} the answer is $5$"),  # first_only
    ("$x+y=5$", "\\boxed{x=y=5}"),  # last_side
    ("\\boxed{?} 5", "\\boxed{5}"),  # first_only, of the ground truth, and the others
    ("or 5", "\\boxed{x=5}"),
    ("5%\\[", "\\boxed{5}"),
    ("$x=y=5$", "\\boxed{2x=5}"),
    ("the answer is $x=y=7$", "\\boxed{7}"),
    ("-3I hope it is correct=3+4\\frac12x=5", "\\boxed{x=5}"),
    ("$\\frac12$", "\\boxed{0.5}"),
    ("x=5, ", "\\boxed{5}"),
    (". I hope and 7", "\\boxed{7}"),
    ("\\].$7$", "\\boxed{7}"),
    ("\\[$5$3+4-3", "\\boxed{x=5}"),
    ("$5$\\boxed{5}final answer is -3", "\\boxed{x=5}"),
    ("\\boxed{7}5final answer is $0.55%", "\\boxed{7}"),
    ("5$$\\[", "\\boxed{x=5}"),  # gold_form
    ("$5$$x=y=7$the answer is \\[", "\\boxed{7}"),
]


@pytest.mark.parametrize("recipe", CALLS)
def test_each_choice_of_a_recipe_is_its_framework_s(recipe: str) -> None:
    for gold, response in TELLING:
        assert_equal_to_its_call(recipe, gold, response)


def test_every_recipe_is_compared() -> None:
    assert set(CALLS) == set(RECIPES)


pieces = st.lists(
    st.sampled_from(
        [
            *("answer", "Answer: ", "final answer is", " is ", ". I hope", "\n", "</think>", "$", "$$", "\\[", "\\]"),
            *(
                "\\boxed{",
                "\\boxed{7}",
                "}",
                "{",
                "1",
                "-3",
                "1,000",
                ".5",
                "3+4",
                "\\frac{1}{2}",
                "\\frac12",
                "\\sqrt2",
            ),
            *("x", " ", "=", " = ", ",", " and ", ".", ":", "%", "\\%", "cm"),
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=2 * EXAMPLES)
@given(st.sampled_from([name for name in CALLS if name != "default"]), st.sampled_from(["7", "1/2", "x", "-3"]), pieces)
@example("verl", "5", "final answer is [ 5 ] ")
def test_each_recipe_is_its_framework_s_call_on_made_up_responses(recipe: str, gold: str, response: str) -> None:
    assert_equal_to_its_call(recipe, gold, response)


@pytest.mark.parametrize("name", FILES)
def test_each_recipe_is_its_framework_s_call_on_a_sample_of_real_rows(name: str, shared: Callable[[str], Path]) -> None:
    table = pq.read_table(shared(f"data/{name}.parquet"), columns=["original_reward_model", "response"])
    for row in table.take(list(range(0, table.num_rows, table.num_rows // SAMPLED))).to_pylist():
        for recipe in CALLS:
            assert_equal_to_its_call(recipe, row["original_reward_model"]["ground_truth"], row["response"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_presented_ground_truth_earns_the_maximum(recipe: str) -> None:
    reward = REWARDS[recipe]
    for gold in ("5", "\\frac{1}{2}", "-0.25", "1,000"):
        assert reward.grade(reward.extract(reward.present(gold)), gold).reward == 1.0


def test_what_trl_skips_has_no_reward() -> None:
    reward = build("math_verify", {"recipe": "trl"})
    assert isinstance(reward, MathVerify)
    with pytest.raises(Unscored) as refusal:
        reward.check_gold("x+1")  # bare, it is no LaTeX to Math-Verify
    assert refusal.value.status is Status.GOLD_ERROR
    MathVerify().check_gold("x+1")


@pytest.mark.parametrize("options", [{"recipe": "tlr"}, {"recipe": None}, {"recipes": "trl"}, {"recipe": ["trl"]}])
def test_an_unknown_recipe_is_an_error_that_names_those_there_are(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="recipe"):
        build("math_verify", options)
