"""ANTLR's parsers with our own tables to look ahead (see lookahead.py). For the child process alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from antlr4 import PredictionMode, Token
from antlr4.atn.ParserATNSimulator import ParserATNSimulator
from antlr4.error.ErrorStrategy import BailErrorStrategy

from analyzer.rewards.math_verify import precomputed
from analyzer.rewards.math_verify.lookahead import DEAD, Node, NoParse, Table


class Tables(NamedTuple):
    """What parsers of one grammar share."""

    at_large: Table  # SLL: for a choice in any context
    in_context: Table  # LL
    precomputed_at_large: precomputed.Starts
    precomputed_in_context: precomputed.Starts

    @classmethod
    def of(cls, parser: Any, *, empty: bool = False) -> Tables:
        """Tables for the grammar of a parser's class, with what is precomputed, or `empty`."""
        known: tuple[precomputed.Starts, precomputed.Starts] = ({}, {})
        if not empty:
            known = precomputed.read(precomputed.grammar_of(sys.modules[parser.__module__]))
        return cls(Table(parser.atn, False), Table(parser.atn, True), *known)


class Predictor(ParserATNSimulator):  # type: ignore[misc]
    """ANTLR's simulator, with faster tables in place of its own."""

    def __init__(self, parser: Any, tables: Tables) -> None:
        # The runtime's own tables are handed on, for the rare choice that is left to it.
        super().__init__(parser, parser.atn, parser.decisionsToDFA, parser.sharedContextCache)
        self.met_ambiguity = False  # whether a choice was met that its context may decide in another way
        self._tables = tables

    @classmethod
    def installed_in(cls, parser: Any, tables: Tables) -> Predictor:
        """Have a parser whose listeners raise at the first error use one, and not look for errors ahead of time."""
        predictor = cls(parser, tables)
        # Private names of the runtime (tests/rewards/math_verify/test_private_names.py lists them): there is no other
        # way to have a parser use another simulator.
        parser._interp = predictor
        # The default strategy repairs a text by inserting tokens, and looks ahead once more before each loop to
        # do so. Here the first error ends the parse anyway.
        parser._errHandler = BailErrorStrategy()
        return predictor

    def adaptivePredict(self, input: Any, decision: int, outerContext: Any) -> int:  # noqa: N802, N803
        """The number of the alternative to take. Raises NoParse if there is none."""
        # The lexer is pure Python and needed to the end in any case; with all tokens there, looking ahead is
        # reading a list.
        input.fill()
        node = self._at_large(input, decision)
        # Remembered for the caller: without an ambiguity full mode would fail on the same token, and is not
        # tried.
        if node is None or node.is_ambiguous:
            self.met_ambiguity = True
        if node and node.is_ambiguous and self.predictionMode != PredictionMode.SLL:
            node = self._in_context(input, decision, outerContext)
        if node is None:  # predicates are left to be tried: the runtime does that
            return int(super().adaptivePredict(input, decision, outerContext))
        return node.alternative

    def _at_large(self, tokens: Any, decision: int) -> Node | None:
        """The node where the choice is made in any context; None where predicates are left to be tried."""
        dfa = self.decisionToDFA[decision]
        key = (decision, self.parser.getPrecedence() if dfa.precedenceDfa else 0)
        known = self._tables.precomputed_at_large
        if key in known and (node := _precomputed(known[key], tokens)) is not _NOT_PRECOMPUTED:
            return node
        table = self._tables.at_large
        if key not in table.starts:
            # computeStartState reads these attributes of the simulator where the runtime has set them just
            # before.
            self._dfa = dfa
            configs = self.computeStartState(dfa.atnStartState, None, False)
            if dfa.precedenceDfa:
                configs = self.applyPrecedenceFilter(configs)
            table.starts[key] = table.start(configs)
        start = table.starts[key]
        return start and _followed(table, start, _ahead(tokens))

    def _in_context(self, tokens: Any, decision: int, context: Any) -> Node | None:
        """The same in the context of the choice."""
        # The stack of callers is part of the key: in full context it decides. Precedence alone would mix up
        # nested calls.
        key = (decision, self.parser.getPrecedence(), *_calls(context))
        known = self._tables.precomputed_in_context
        if key in known and (node := _precomputed(known[key], tokens)) is not _NOT_PRECOMPUTED:
            return node
        table = self._tables.in_context
        if key not in table.starts:
            self._dfa = self.decisionToDFA[decision]
            self._input, self._startIndex, self._outerContext = tokens, tokens.index, context  # to try predicates
            table.starts[key] = table.start(self.computeStartState(self._dfa.atnStartState, context, True))
        start = table.starts[key]
        return start and _followed(table, start, _ahead(tokens))


_NOT_PRECOMPUTED = Node({}, 0)


def _precomputed(start: Node | None, tokens: Any) -> Node | None:
    """As `_followed`, in what is precomputed; _NOT_PRECOMPUTED where the tokens leave it. Raises NoParse."""
    if start is None:
        return None
    node, ahead = start, _ahead(tokens)
    while not node.alternative:
        after = node.edges.get(next(ahead))
        if after is None:
            return _NOT_PRECOMPUTED
        if after is DEAD:
            raise NoParse
        node = after
    return node


def _followed(table: Table, node: Node, ahead: Iterator[int]) -> Node:
    """The node where the choice is made."""
    while not node.alternative:
        node = table.step(node, next(ahead))
    return node


def _ahead(tokens: Any) -> Iterator[int]:
    """The types of the tokens from the next one on, then that of the end again and again."""
    all_tokens, channel = tokens.tokens, tokens.channel
    # Only tokens of the parser's channel: white space is on the hidden one.
    for at in range(tokens.index, len(all_tokens)):
        if all_tokens[at].channel == channel:
            yield all_tokens[at].type
    while True:
        yield Token.EOF


def _calls(context: Any) -> list[int]:
    """The states that called the rules which the parser is in, innermost first."""
    calls = []
    while context is not None and context.parentCtx is not None:
        calls.append(context.invokingState)
        context = context.parentCtx
    return calls
