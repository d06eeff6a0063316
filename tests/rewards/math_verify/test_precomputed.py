"""What is precomputed is what the tables learn: every start and every edge of precomputed.json, and whole trees."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from antlr4 import PredictionMode
from antlr4.ParserRuleContext import ParserRuleContext
from hypothesis import given
from hypothesis import strategies as st
from latex2sympy2_extended.latex2sympy2 import PSParser, _Latex2Sympy

from analyzer.rewards.math_verify import precomputed
from analyzer.rewards.math_verify.equivalence import _USUAL
from analyzer.rewards.math_verify.lookahead import DEAD, Node, NoParse, Table
from analyzer.rewards.math_verify.prediction import Predictor, Tables
from tests.rewards.math_verify.test_prediction import TOKENS, USUAL, tree

GRAMMAR = precomputed.grammar_of(sys.modules[PSParser.__module__])
AT_LARGE, IN_CONTEXT = precomputed.read(GRAMMAR)
PRECOMPUTED = Tables.of(PSParser)


def predictor() -> Predictor:
    parser = _Latex2Sympy(is_real=True).create_parser("x")
    return Predictor.installed_in(parser, Tables.of(PSParser, empty=True))


def start_at_large(found: Predictor, table: Table, key: precomputed.Key) -> Node | None:
    """The start as the runtime has it, where the parser is at this precedence."""
    decision, precedence = key
    found.parser._precedenceStack = [precedence]
    found._dfa = found.decisionToDFA[decision]
    configs = found.computeStartState(found._dfa.atnStartState, None, False)
    return table.start(found.applyPrecedenceFilter(configs) if found._dfa.precedenceDfa else configs)


def start_in_context(found: Predictor, table: Table, key: precomputed.Key) -> Node | None:
    """The same where the rules were called from these states, innermost first."""
    decision, precedence, *calls = key
    found.parser._precedenceStack = [precedence]
    found._dfa = found.decisionToDFA[decision]
    context: Any = ParserRuleContext()
    for state in reversed(calls):
        context = ParserRuleContext(context, state)
    tokens = found.parser.getTokenStream()
    found._input, found._startIndex, found._outerContext = tokens, tokens.index, context
    return table.start(found.computeStartState(found._dfa.atnStartState, context, True))


def test_the_file_is_of_the_libraries_that_are_installed() -> None:
    """Else it is passed over, and each child learns for itself: run benchmarks/learn_lookahead.py."""
    assert len(AT_LARGE) > 30
    assert len(IN_CONTEXT) > 100
    assert precomputed.read("another grammar") == ({}, {})


BOTH = pytest.mark.parametrize(
    ("starts", "start", "in_context"),
    [(AT_LARGE, start_at_large, False), (IN_CONTEXT, start_in_context, True)],
    ids=["at large", "in context"],
)


@BOTH
def test_the_edges_of_a_part_are_those_that_the_table_learns(
    starts: precomputed.Starts, start: Any, in_context: bool
) -> None:
    assert_learned(dict(list(starts.items())[::5]), start, in_context)


@pytest.mark.slow
@BOTH
def test_every_edge_is_the_one_that_the_table_learns(starts: precomputed.Starts, start: Any, in_context: bool) -> None:
    assert assert_learned(starts, start, in_context) > 500


def assert_learned(starts: precomputed.Starts, start: Any, in_context: bool) -> int:
    """Follow the edges from these starts beside those that are learned; how many there are."""
    found, table = predictor(), Table(PSParser.atn, in_context)
    edges = 0
    seen: set[tuple[int, int]] = set()
    for key, known in starts.items():
        true = start(found, table, key)
        assert (known is None) == (true is None), key
        waiting = [] if known is None else [(known, true)]
        while waiting:
            node, learned = waiting.pop()
            if (id(node), id(learned)) in seen:
                continue
            seen.add((id(node), id(learned)))
            assert (node.alternative, node.is_ambiguous) == (learned.alternative, learned.is_ambiguous)
            for token, after in node.edges.items():
                edges += 1
                if after is DEAD:
                    with pytest.raises(NoParse):
                        table.step(learned, token)
                else:
                    waiting.append((after, table.step(learned, token)))
    return edges


def test_nothing_is_learned_of_the_usual_forms() -> None:
    tables = Tables.of(PSParser)
    for text in _USUAL:
        for mode in (PredictionMode.SLL, PredictionMode.LL):
            tree(text, mode, tables)
    assert tables.at_large.starts == {}


@pytest.mark.parametrize("text", USUAL)
def test_the_tree_of_a_usual_form(text: str) -> None:
    assert tree(text, tables=PRECOMPUTED) == tree(text)


@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=8).map(" ".join))
def test_the_tree_of_anything_made_of_the_grammar_s_tokens(text: str) -> None:
    assert tree(text, tables=PRECOMPUTED) == tree(text)
    assert tree(text, PredictionMode.SLL, PRECOMPUTED) in (tree(text), None)


def test_what_is_written_is_read_again_to_the_same_text() -> None:
    first = Tables.of(PSParser, empty=True)
    for text in USUAL:
        tree(text, tables=first)
    backwards = Tables.of(PSParser, empty=True)
    for text in reversed(USUAL):
        tree(text, tables=backwards)
    written = precomputed.written(GRAMMAR, first.at_large, first.in_context)
    assert precomputed.written(GRAMMAR, backwards.at_large, backwards.in_context) == written
