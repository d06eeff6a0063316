"""Which alternative ANTLR's parser takes next, as its runtime finds it, in a fraction of the time.

Before each choice the runtime looks ahead: it follows every alternative through the grammar's network at once until
one is left, first in any context (SLL), and where that is ambiguous in the one it is in (LL), and remembers the way in
a table (Parr, Harwell, Fisher: Adaptive LL(*) Parsing, 2014). The runtime for Python does that with objects; learning
the tables is most of what parsing costs. Here the same search runs on numbers: a network state, a set of stacks and an
alternative are an int each, equal sets are the same int, and where a state leads without a token is worked out once.

For grammars whose start rule ends with EOF, so that where no alternative goes on, the text does not parse; and without
predicates but those of precedence. prediction.py has the parser use it. For the child process alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from antlr4 import Token
from antlr4.atn.ATN import ATN
from antlr4.atn.ATNState import ATNState, RuleStopState, StarLoopEntryState
from antlr4.atn.SemanticContext import SemanticContext
from antlr4.atn.Transition import Transition
from antlr4.PredictionContext import PredictionContext

# The number 0 is the empty stack's in every Stacks, so that the test for it is a comparison of ints.
EMPTY = 0  # the number of the set that holds the empty stack alone; without a context it stands for all stacks
BOTTOM = PredictionContext.EMPTY_RETURN_STATE  # stands for the empty stack among the tops of a set

StatePair = tuple[int, int]  # a network state, and an alternative or a set of stacks
Configs = dict[StatePair, int]  # a network state and an alternative -> the set of stacks that they are there with


class NoParse(Exception):
    """Raised if the grammar does not accept the text."""


class Node:
    """What is known after some tokens: a state of the table that is learned."""

    # A grammar has thousands of nodes in each child: slots save every one its dict.
    __slots__ = ("alternative", "configs", "edges", "is_ambiguous")

    def __init__(self, configs: Configs, alternative: int, is_ambiguous: bool = False) -> None:
        self.configs = configs
        self.alternative = alternative  # the one to take; 0 where more tokens must be seen
        self.is_ambiguous = is_ambiguous  # whether it is the first of several, between which more tokens do not decide
        # Edges are filled as tokens are met. A child forked from a warm zygote inherits the usual ones.
        self.edges: dict[int, Node] = {}


DEAD = Node({}, 0)
"""Where a token leads that no alternative goes on with."""


class Reach(NamedTuple):
    """Where a state leads without a token, within its own rule and those that it calls."""

    states: tuple[tuple[int, tuple[int, ...]], ...]  # states that want a token, and what is pushed on the way to them
    ends: bool  # whether the rule may end there


class Table:
    """All that is learned of one grammar, with or without the context of a choice; shared by its parsers."""

    def __init__(self, atn: ATN, in_context: bool) -> None:
        # None is remembered too: a choice with predicates must not be worked out again each time only to be
        # refused.
        self.starts: dict[tuple[int, ...], Node | None] = {}
        self.stacks = Stacks(in_context)
        self._atn = atn
        self._in_context = in_context
        self._nodes: dict[tuple[frozenset[tuple[StatePair, int]], int], Node] = {}
        self._reaches: dict[tuple[int, bool, bool], Reach] = {}
        self._closures: dict[tuple[int, int, bool], tuple[StatePair, ...]] = {}
        self._targets: dict[StatePair, tuple[int, ...]] = {}
        self._stops = frozenset(state.stateNumber for state in atn.states if isinstance(state, RuleStopState))
        # A left-recursive rule has one such loop. ANTLR rewrote the recursion into it, and marks it so.
        entries = (state for state in atn.states if isinstance(state, StarLoopEntryState))
        loops = {entry.ruleIndex: entry for entry in entries if entry.isPrecedenceDecision}
        self._loops = {rule: (loop, self._returns_to(loop)) for rule, loop in loops.items()}

    def start(self, configs: Iterable[Any]) -> Node | None:
        """The node for the runtime's start configurations; None where predicates are left to be tried."""
        own: Configs = {}
        for config in configs:
            # Identity, as the runtime does it: NONE is a singleton, and its __eq__ would be Python code for each
            # configuration.
            if config.semanticContext is not SemanticContext.NONE:
                return None
            self._add(own, config.state.stateNumber, config.alt, self.stacks.of(config.context))
        # Alternative 0 is "not decided": ANTLR's alternatives begin with 1.
        return self._node(own, 0)

    def step(self, node: Node, token: int) -> Node:
        """The node after one more token, learned if need be. Raises NoParse where no alternative goes on."""
        found = node.edges.get(token)
        if found is None:
            found = node.edges[token] = self._learn(node, token)
        if found is DEAD:
            raise NoParse
        return found

    def _learn(self, node: Node, token: int) -> Node:
        """The runtime's computeReachSet, and what it makes of it; DEAD where nothing is reached."""
        at_end = token == Token.EOF
        moved: Configs = {}
        ended: Configs = {}
        for (state, alternative), stacks in node.configs.items():
            # A configuration at the end of the start rule goes on only with EOF, or, in full context, waits for
            # the others: longer matches are preferred, and it counts again only where nothing else is left
            # (below).
            if state in self._stops:
                if at_end or self._in_context:
                    ended[state, alternative] = stacks
            else:
                for target in self._targets_of(state, token):
                    self._add(moved, target, alternative, stacks)
        # The shortcut of the runtime, before the closure: one alternative left is the answer, whatever it may
        # reach.
        if not ended and not at_end and (only := _only(moved)):
            return self._node(moved, only)
        reached = self._closed(moved, at_end)
        if at_end:
            reached = {place: stacks for place, stacks in reached.items() if place[0] in self._stops}
        # In SLL mode an ended configuration stays in the set; in LL it must not keep alive what a real move has
        # overtaken.
        if not self._in_context or not any(state in self._stops for state, _ in reached):
            for (state, alternative), stacks in ended.items():
                self._add(reached, state, alternative, stacks)
        if not reached:
            return DEAD
        if only := _only(reached):
            return self._node(reached, only)
        if self._in_context:
            return self._node(reached, self._viable(reached))
        # SLL stops at the first conflict and takes the smallest alternative, as the runtime does; prediction.py
        # then asks again in context, since the conflict may come from contexts that cannot occur here.
        is_ambiguous = self._is_conflict(reached)
        first = min(alternative for _, alternative in reached)
        return self._node(reached, first if is_ambiguous else 0, is_ambiguous)

    def _node(self, configs: Configs, alternative: int, is_ambiguous: bool = False) -> Node:
        # Equal sets of configurations become one node, so loops of the grammar become loops of the table: without
        # that a text of a thousand terms would learn a thousand nodes.
        key = (frozenset(configs.items()), alternative)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(configs, alternative, is_ambiguous)
        return node

    def _add(self, configs: Configs, state: int, alternative: int, stacks: int) -> None:
        place = (state, alternative)
        before = configs.get(place)
        if before is None:
            configs[place] = stacks
        # Merged, as in the runtime's graph-structured stack: the set stays small where a list of stacks would
        # double at each level.
        elif before != stacks:
            configs[place] = self.stacks.merged(before, stacks)

    def _targets_of(self, state: int, token: int) -> tuple[int, ...]:
        key = (state, token)
        if key not in self._targets:
            # matches() of a token set is a walk over intervals in Python: the answer is kept for each state and
            # token.
            ways: list[Transition] = self._atn.states[state].transitions
            last = self._atn.maxTokenType
            self._targets[key] = tuple(way.target.stateNumber for way in ways if way.matches(token, 0, last))
        return self._targets[key]

    def _is_conflict(self, configs: Configs) -> bool:
        """The runtime's hasSLLConflictTerminatingPrediction, where there are no predicates."""
        if all(state in self._stops for state, _ in configs):
            return True
        # The runtime's rule with the smallest reading: a conflict is one state with the same stacks in two
        # alternatives, unless another state still has one alternative alone, which later tokens may pick.
        by_state: defaultdict[int, list[int]] = defaultdict(list)
        for (state, _), stacks in configs.items():
            by_state[state].append(stacks)
        if any(len(sets) == 1 for sets in by_state.values()):
            return False
        return any(len(set(sets)) < len(sets) for sets in by_state.values())

    def _viable(self, configs: Configs) -> int:
        """The runtime's resolvesToJustOneViableAlt: the first of each place, where that is the same; 0 where not."""
        first: dict[StatePair, int] = {}
        for (state, alternative), stacks in configs.items():
            place = (state, stacks)
            # The smallest alternative wins an ambiguity: that is the order in which the grammar lists them.
            first[place] = min(alternative, first.get(place, alternative))
        viable = set(first.values())
        return viable.pop() if len(viable) == 1 else 0

    # ------------------------------------------------------------ closure

    def _closed(self, moved: Configs, at_end: bool) -> Configs:
        reached: Configs = {}
        for (state, alternative), stacks in moved.items():
            for target, onto in self._closure(state, stacks, at_end):
                self._add(reached, target, alternative, onto)
        return reached

    def _closure(self, state: int, stacks: int, at_end: bool) -> tuple[StatePair, ...]:
        """Where a state and its stacks lead without a token; `at_end`: the end of the text may be read again."""
        key = (state, stacks, at_end)
        if key not in self._closures:
            found: dict[int, int] = {}
            # A list instead of recursion: a closure goes through many states, and calls are expensive in Python.
            waiting = [(state, stacks)]
            seen = set(waiting)
            while waiting:
                state, stacks = waiting.pop()
                # Within its own rule, a state leads to the same places whatever the stacks: worked out once. Only
                # where the rule may end do the stacks decide.
                reach = self._reach(state, self._skips_loop(state, stacks), at_end)
                for target, pushed in reach.states:
                    self._find(found, target, self.stacks.pushed(stacks, pushed) if pushed else stacks)
                for place in self._after(state, stacks, found) if reach.ends else ():
                    if place not in seen:
                        seen.add(place)
                        waiting.append(place)
            self._closures[key] = tuple(found.items())
        return self._closures[key]

    def _find(self, found: dict[int, int], state: int, stacks: int) -> None:
        found[state] = self.stacks.merged(found[state], stacks) if state in found else stacks

    def _after(self, state: int, stacks: int, found: dict[int, int]) -> list[StatePair]:
        """Where the end of the state's rule leads: to the callers on the stacks, or to all there are; if to none,
        the end itself is found."""
        stop = self._atn.ruleToStopState[self._atn.states[state].ruleIndex]
        places = [place for place in self.stacks.tops(stacks) if place[0] != BOTTOM]
        # Without a context the empty stack means "any caller": every place from which the rule is called.
        if stacks == EMPTY and not self._in_context:
            places = [(way.target.stateNumber, EMPTY) for way in stop.transitions]
        # One of the stacks was empty: the rule's end is then an end of the whole, and is kept as a place of its
        # own.
        if len(places) < len(self.stacks.tops(stacks)):
            self._find(found, stop.stateNumber, EMPTY)
        return places

    def _reach(self, state: int, skips_loop: bool, at_end: bool) -> Reach:
        key = (state, skips_loop, at_end)
        if key not in self._reaches:
            states: dict[tuple[int, tuple[int, ...]], None] = {}
            ends = self._walk(self._atn.states[state], (), skips_loop, at_end, states)
            self._reaches[key] = Reach(tuple(states), ends)
        return self._reaches[key]

    def _walk(
        self,
        state: ATNState,
        pushed: tuple[int, ...],
        skips_loop: bool,
        at_end: bool,
        states: dict[tuple[int, tuple[int, ...]], None],
    ) -> bool:
        """Collect in `states` what a state reaches; whether the end of the first state's rule is among it."""
        # Rules that were called on this walk return to where it came from; the first state's own rule is left to
        # the caller.
        if isinstance(state, RuleStopState):
            if pushed:
                return self._walk(self._atn.states[pushed[-1]], pushed[:-1], skips_loop, at_end, states)
            return True
        if not state.epsilonOnlyTransitions:
            states[state.stateNumber, pushed] = None
        loop, returns = self._loops.get(state.ruleIndex, (None, ()))
        # The entry of a precedence loop is not taken when the walk came back from within it: each operator would
        # be offered twice, by the loop and by the caller's, and every sum of n terms would be ambiguous n times.
        skips = state is loop and (pushed[-1] in returns if pushed else skips_loop)
        ends = False
        # The first transition of a loop's entry is the one into it.
        for way in state.transitions[1:] if skips else state.transitions:
            if way.serializationType == Transition.RULE:
                onto = (*pushed, way.followState.stateNumber)
                ends |= self._walk(way.target, onto, skips_loop, at_end, states)
            # EOF may be read any number of times: after it the grammar's rules end one by one, each asking for it
            # again.
            elif way.isEpsilon or (at_end and way.matches(Token.EOF, 0, 1)):
                ends |= self._walk(way.target, pushed, skips_loop, at_end, states)
        return ends

    def _skips_loop(self, state: int, stacks: int) -> bool:
        """The runtime's canDropLoopEntryEdgeInLeftRecursiveRule, for the loop of the state's rule, if it has one."""
        _, returns = self._loops.get(self._atn.states[state].ruleIndex, (None, ()))
        return bool(returns) and all(back in returns for back, _ in self.stacks.tops(stacks))

    def _returns_to(self, loop: ATNState) -> frozenset[int]:
        """The states of a left-recursive rule from which it returns to its own loop, and nowhere else."""
        block_end = loop.transitions[0].target.endState
        return frozenset(
            state.stateNumber
            for state in self._atn.states
            if state.ruleIndex == loop.ruleIndex and _leads_back(state, loop, block_end)
        )


class Stacks:
    """Sets of stacks of return states, numbered: equal sets have the same number. The runtime's PredictionContext.

    A set is held as its stacks' tops, each with the set of what is below it.
    """

    def __init__(self, in_context: bool) -> None:
        self._in_context = in_context
        # Sets of stacks as a list, index -> tops, and a dict for the way back: an int is compared and hashed at once,
        # while hash and equality of the runtime's PredictionContext are Python code.
        self._tops: list[tuple[StatePair, ...]] = [((BOTTOM, EMPTY),)]
        self._numbers: dict[tuple[StatePair, ...], int] = {((BOTTOM, EMPTY),): EMPTY}
        self._known: dict[PredictionContext, int] = {PredictionContext.EMPTY: EMPTY}
        self._pushed: dict[tuple[int, tuple[int, ...]], int] = {}
        self._merged: dict[StatePair, int] = {}

    def tops(self, stacks: int) -> tuple[StatePair, ...]:
        """The states on top, each with the set of what is below it; BOTTOM for the empty stack."""
        return self._tops[stacks]

    def of(self, context: PredictionContext) -> int:
        """The number of a set of the runtime's."""
        number = self._known.get(context)
        if number is None:
            # Recursion as deep as the rules are nested in each other; limits.NESTING (64) bounds that before
            # anything is parsed.
            tops = ((context.getReturnState(i), context.getParent(i)) for i in range(len(context)))
            number = self._number({back: self.of(below) if below else EMPTY for back, below in tops})
            self._known[context] = number
        return number

    def pushed(self, stacks: int, returns: tuple[int, ...]) -> int:
        """The set with the same states pushed on each stack."""
        key = (stacks, returns)
        number = self._pushed.get(key)
        if number is None:
            number = stacks
            for back in returns:
                number = self._number({back: number})
            self._pushed[key] = number
        return number

    def merged(self, one: int, other: int) -> int:
        """The union of two sets."""
        if one == other:
            return one
        # The empty stack stands for all stacks there, so the union with anything is itself (the runtime's root
        # wildcard).
        if not self._in_context and EMPTY in (one, other):
            return EMPTY
        # Union has no order: one entry for both.
        key = (one, other) if one < other else (other, one)
        number = self._merged.get(key)
        if number is None:
            tops = dict(self._tops[one])
            for back, below in self._tops[other]:
                tops[back] = self.merged(tops[back], below) if back in tops else below
            number = self._merged[key] = self._number(tops)
        return number

    def _number(self, tops: dict[int, int]) -> int:
        # Sorted, so that sets built in another order have the same number.
        key = tuple(sorted(tops.items()))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._tops)
            self._tops.append(key)
        return number


def _only(configs: Configs) -> int:
    """The one alternative that is left; 0 where there are several or none."""
    alternatives = {alternative for _, alternative in configs}
    return alternatives.pop() if len(alternatives) == 1 else 0


def _leads_back(state: ATNState, loop: ATNState, block_end: ATNState) -> bool:
    """Whether a return state's only way, without a token, is to the loop's entry, straight or by the end of a block."""
    if len(state.transitions) != 1 or not state.transitions[0].isEpsilon:
        return False
    target = state.transitions[0].target
    if state is block_end or target is block_end:
        return True
    if state.stateType == ATNState.BLOCK_END and target is loop:
        return True
    # The last of the four shapes in the runtime's comment on canDropLoopEntryEdgeInLeftRecursiveRule.
    return (
        target.stateType == ATNState.BLOCK_END
        and len(target.transitions) == 1
        and target.transitions[0].isEpsilon
        and target.transitions[0].target is loop
    )
