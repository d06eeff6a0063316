"""What a parser's tables know before the first text: the choices that answers of real rollouts lead to.

    {"grammar": "<sha256>", "at_large": {"starts": [[[12, 0], 0], ...], "nodes": [[0, false, [4, 1, 9, 2]], ...]}, ...}

Learning the way through the grammar takes more than half the time of the first thousand texts, in each child, and is
the same for everybody. precomputed.json holds what benchmarks/learn_lookahead.py learned of some thousand answers, as
numbers of tokens and alternatives alone: an excerpt of the tables of lookahead.py, without what is needed to go on
learning. Where a text leaves it, the choice is made from its start again by tables that learn. A node is its
alternative, whether it is ambiguous, and its edges: a token and the node after it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyzer.rewards.math_verify.lookahead import DEAD, Node, Table

Key = tuple[int, ...]  # of a start, as in Table.starts
Starts = Mapping[Key, Node | None]
FILE = Path(__file__).with_name("precomputed.json")
RUNTIME = "antlr4-python3-runtime"


def grammar_of(parser: Any) -> str:
    """What tells a grammar from another, and from itself under another version of the runtime."""
    network = json.dumps([importlib.metadata.version(RUNTIME), parser.serializedATN()])
    return hashlib.sha256(network.encode()).hexdigest()


def read(grammar: str) -> tuple[Starts, Starts]:
    """What is precomputed at large and in context; nothing where the file is of another grammar."""
    stored = json.loads(FILE.read_bytes())
    if stored["grammar"] != grammar:
        return {}, {}
    return _starts(stored["at_large"]), _starts(stored["in_context"])


def _starts(stored: Mapping[str, Any]) -> Starts:
    nodes = [Node({}, alternative, is_ambiguous) for alternative, is_ambiguous, _ in stored["nodes"]]
    for node, (_, _, edges) in zip(nodes, stored["nodes"], strict=True):
        node.edges = {token: nodes[at] if at >= 0 else DEAD for token, at in zip(edges[::2], edges[1::2], strict=True)}
    return {tuple(key): None if at is None else nodes[at] for key, at in stored["starts"]}


def written(grammar: str, at_large: Table, in_context: Table) -> str:
    """The file's text for what two tables have learned, the same whatever the order in which they did."""
    parts = {"at_large": _excerpt(at_large.starts), "in_context": _excerpt(in_context.starts)}
    return json.dumps({"grammar": grammar, **parts}, separators=(",", ":")) + "\n"


def _excerpt(starts: Starts) -> dict[str, Any]:
    # Numbered as they are met from the sorted starts on, tokens in order.
    numbers: dict[int, int] = {id(DEAD): -1}
    nodes: list[Node] = []
    for start in (start for _, start in sorted(starts.items()) if start is not None):
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if id(node) not in numbers:
                numbers[id(node)] = len(nodes)
                nodes.append(node)
                waiting += [after for _, after in sorted(node.edges.items(), reverse=True)]
    return {
        "starts": [[list(key), None if start is None else numbers[id(start)]] for key, start in sorted(starts.items())],
        "nodes": [
            [
                node.alternative,
                node.is_ambiguous,
                [number for token, after in sorted(node.edges.items()) for number in (token, numbers[id(after)])],
            ]
            for node in nodes
        ],
    }
