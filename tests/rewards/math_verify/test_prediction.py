"""The tables that look ahead: the same tree as ANTLR's own runtime finds, or none where it finds none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from antlr4 import PredictionMode
from hypothesis import example, given
from hypothesis import strategies as st
from latex2sympy2_extended.latex2sympy2 import PSParser, _Latex2Sympy

from analyzer.rewards.math_verify.candidates import LATEX
from analyzer.rewards.math_verify.equivalence import _normalized
from analyzer.rewards.math_verify.prediction import Predictor, Tables
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import Unscored

TABLES = Tables.of(PSParser, empty=True)

TOKENS = [
    *("x", "y", "e", "i", "d", "2", "13", "0.5", "1,000", "+", "-", "*", "/", "=", "^", "_", "!", "'", ":", "%", "|"),
    *("{", "}", "(", ")", "[", "]", ",", ";", "<", "&", "\\\\", " ", "\\%", "\\{", "\\}", "\\left(", "\\right)"),
    *("\\frac", "\\sqrt", "\\cdot", "\\times", "\\div", "\\pm", "\\le", "\\ge", "\\ne", "\\in", "\\cup", "\\cap"),
    *("\\infty", "\\pi", "\\sin", "\\log", "\\ln", "\\sum", "\\int", "\\lim", "\\binom", "\\text{cm}", "\\mathbb{R}"),
    *("\\setminus", "\\emptyset", "\\begin{pmatrix}", "\\end{pmatrix}", "\\lfloor", "\\rfloor", "\\circ", "\\mod"),
    *(
        "\\frac{1}{2}",
        "x^{2}",
        "a_{1}",
        "(-1, 2]",
        "f(x)",
        "\\sqrt[3]{2}",
        "|x|",
        "x = 1",
        "\\{1, 2\\}",
        "1 < x \\le 3",
    ),
]
USUAL = (
    *(
        "x^2 - 3x + 2 = 0",
        "y = 2(x-1)^{2} - 3",
        "(-\\infty, 2] \\cup (3, \\infty)",
        "1, 2",
        "(1, 2), (3, 4)",
        "x=1,y=2",
    ),
    *("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\log_2 8 + \\ln x", "f(x) = x!", "\\sin^2 x \\cos(2x)"),
    *(
        "\\int_0^1 x^2 dx",
        "\\sum_{n=1}^{10} n^2",
        "\\frac{d}{dx} x^2",
        "x \\in [0, 1] \\cap (0, 2)",
        "1:2:3",
        "a < b < c",
    ),
    *(
        "-x^{-2} \\pm 3",
        "||x| - 1|",
        "2 \\frac{1}{3}",
        "x \\ne 3; x \\ge -2",
        "",
        ")",
        "x +",
        "1 2 3",
        "\\{x | x > 2\\}",
        "3!!",
    ),
)


def tree(text: str, mode: Any = PredictionMode.LL, tables: Tables | None = None) -> str | None:
    """The parse tree of a text, None where it does not parse; without `tables` by the runtime alone."""
    try:
        parser = _Latex2Sympy(is_real=True).create_parser(text)
        if tables is not None:
            Predictor.installed_in(parser, tables)
        parser._interp.predictionMode = mode
        return str(parser.math().toStringTree(recog=parser))
    except Exception:  # noqa: BLE001 - the runtime raises anything on what does not parse
        return None


def check(text: str) -> None:
    found = tree(text)
    assert tree(text, tables=TABLES) == found
    assert tree(text, PredictionMode.SLL, TABLES) in (found, None)


@pytest.mark.parametrize("text", USUAL)
def test_the_tree_is_the_one_that_the_runtime_finds(text: str) -> None:
    check(text)
    check(text)  # now with tables that know it


@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=8).map(" ".join))
@example("f ( x ) = |")
def test_so_it_is_for_anything_made_of_the_grammar_s_tokens(text: str) -> None:
    check(text)


def test_the_order_in_which_texts_come_makes_no_difference() -> None:
    forwards, backwards = Tables.of(PSParser, empty=True), Tables.of(PSParser, empty=True)
    found = [tree(text, tables=forwards) for text in USUAL]
    assert [tree(text, tables=backwards) for text in reversed(USUAL)] == found[::-1]
    assert sum(text is not None for text in found) > len(USUAL) // 2


def test_fast_mode_finds_most_trees_without_the_context() -> None:
    quick = [tree(text, PredictionMode.SLL, TABLES) for text in USUAL]
    assert sum(text is not None for text in quick) > len(USUAL) // 2


@pytest.mark.parametrize("name", ["math_qwen", "gaokao2023en_qwen3b", "carp_en_qwen3b", "aime_amc_50"])
def test_the_tree_of_real_answers(name: str, shared: Callable[[str], Path]) -> None:
    _check_real(shared(f"data/{name}.parquet"), most=20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["math_qwen", "gaokao2023en_qwen3b", "carp_en_qwen3b", "aime_amc_50", "math_l5_zeroeval"]
)
def test_the_tree_of_every_real_answer(name: str, shared: Callable[[str], Path]) -> None:
    _check_real(shared(f"data/{name}.parquet"), most=None)


def _check_real(path: Path, most: int | None) -> None:
    texts: dict[str, None] = {}
    reward = MathVerify()
    table = pq.read_table(path, columns=["original_reward_model", "response"])
    if most is not None:  # rows with several texts each, from all over the file
        table = table.take(list(range(0, table.num_rows, max(1, table.num_rows // most))))
    for row in table.to_pylist():
        texts[_normalized(row["original_reward_model"]["ground_truth"])] = None
        try:
            answer = reward.extract(row["response"]) or ()
        except Unscored:
            continue
        latex = (text for candidate in answer if candidate.kind == LATEX for text in candidate.texts)
        texts.update((_normalized(text), None) for text in latex if len(text) < 300)
    every = 1 if most is None else max(1, len(texts) // most)
    for text in list(texts)[::every]:
        check(text)
