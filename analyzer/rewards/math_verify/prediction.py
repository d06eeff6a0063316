"""ANTLR's parsers with our own tables to look ahead (see lookahead.py). For the child process alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from antlr4 import PredictionMode, Token
from antlr4.atn.ATN import ATN
from antlr4.atn.ParserATNSimulator import ParserATNSimulator
from antlr4.error.ErrorStrategy import BailErrorStrategy

from analyzer.rewards.math_verify.lookahead import Node, Table


class Tables(NamedTuple):
    """What parsers of one grammar share."""

    at_large: Table  # SLL: for a choice in any context
    in_context: Table  # LL

    @classmethod
    def of(cls, atn: ATN) -> Tables:
        """Empty tables for a grammar."""
        return cls(Table(atn, False), Table(atn, True))


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
        # Private names of the runtime (tests/rewards/test_private_names.py lists them): there is no other way to
        # have a parser use another simulator.
        parser._interp = predictor
        # The default strategy repairs a text by inserting tokens, and looks ahead once more before each loop to
        # do so. Here the first error ends the parse anyway.
        parser._errHandler = BailErrorStrategy()
        return predictor

    def adaptivePredict(self, input: Any, decision: int, outerContext: Any) -> int:  # noqa: N802, N803
        """The number of the alternative to take. Raises NoParse where there is none."""
        # The lexer is pure Python and needed to the end in any case; with all tokens there, looking ahead is
        # reading a list.
        input.fill()
        table, start = self._tables.at_large, self._start_at_large(decision)
        node = start and _followed(table, start, _ahead(input))
        # Remembered for the caller: without an ambiguity full mode would fail on the same token, and is not
        # tried.
        if node is None or node.is_ambiguous:
            self.met_ambiguity = True
        if node and node.is_ambiguous and self.predictionMode != PredictionMode.SLL:
            table, start = self._tables.in_context, self._start_in_context(input, decision, outerContext)
            node = start and _followed(table, start, _ahead(input))
        if node is None:  # predicates are left to be tried: the runtime does that
            return int(super().adaptivePredict(input, decision, outerContext))
        return node.alternative

    def _start_at_large(self, decision: int) -> Node | None:
        dfa = self.decisionToDFA[decision]
        key = (decision, self.parser.getPrecedence() if dfa.precedenceDfa else 0)
        starts = self._tables.at_large.starts
        if key not in starts:
            # computeStartState reads these attributes of the simulator where the runtime has set them just
            # before.
            self._dfa = dfa
            configs = self.computeStartState(dfa.atnStartState, None, False)
            if dfa.precedenceDfa:
                configs = self.applyPrecedenceFilter(configs)
            starts[key] = self._tables.at_large.start(configs)
        return starts[key]

    def _start_in_context(self, tokens: Any, decision: int, context: Any) -> Node | None:
        table = self._tables.in_context
        # The stack of callers is part of the key: in full context it decides. Precedence alone would mix up
        # nested calls.
        key = (decision, self.parser.getPrecedence(), *_calls(context))
        if key not in table.starts:
            self._dfa = self.decisionToDFA[decision]
            self._input, self._startIndex, self._outerContext = tokens, tokens.index, context  # to try predicates
            table.starts[key] = table.start(self.computeStartState(self._dfa.atnStartState, context, True))
        return table.starts[key]


def _followed(table: Table, node: Node, ahead: Iterator[int]) -> Node:
    """The node where the choice is made."""
    while not node.alternative:
        node = table.step(node, next(ahead))
    return node


def _ahead(tokens: Any) -> Iterator[int]:
    """The types of the tokens from the next one on, then that of the end again and again."""
    there, channel = tokens.tokens, tokens.channel
    # Only tokens of the parser's channel: white space is on the hidden one.
    for at in range(tokens.index, len(there)):
        if there[at].channel == channel:
            yield there[at].type
    while True:
        yield Token.EOF


def _calls(context: Any) -> list[int]:
    """The states that called the rules which the parser is in, innermost first."""
    calls = []
    while context is not None and context.parentCtx is not None:
        calls.append(context.invokingState)
        context = context.parentCtx
    return calls
