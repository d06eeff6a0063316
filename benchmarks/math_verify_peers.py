r"""Our mathematical rewards beside the peers' own tests and calls, read from copies of the peers; run by hand.

    pip download --no-deps --no-binary :all: math-verify==0.9.0 && tar xzf math_verify-0.9.0.tar.gz
    python benchmarks/math_verify_peers.py tests math_verify-0.9.0/tests
    python benchmarks/math_verify_peers.py verl verl/tests/utils/reward_score/test_sandbox_on_cpu.py
    python benchmarks/math_verify_peers.py recipe trl trl/rewards/accuracy_rewards.py ../shared/data/math_qwen.parquet
    python benchmarks/math_verify_peers.py recipe nemo_skills nemo_skills/evaluation/math_grader.py FILES
    python benchmarks/math_verify_peers.py recipe mathruler mathruler/grader.py FILES

`tests`: every item of Math-Verify's tests that compares a ground truth with an answer, scored by our reward with its
default recipe, beside what the test expects and what Math-Verify says in that call. `verl`: the answers in verl's tests
of its rewards. `recipe`: every rollout of a file, by a recipe and by the framework's own function, which is taken out
of its file, so that the framework itself need not be installed. NeMo-Skills' math_equal is compared with the recipe
`boxed`, MathRuler's grade_answer with what passes in geometry3k; it needs pylatexenc, and it evaluates answers as
Python: run it without a network, in a container. A table comes out; what differs is named.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pyarrow.parquet as pq
import pytest
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

from analyzer.grading import Limits, nursery
from analyzer.rewards import build
from analyzer.schema import Problem, Score
from analyzer.scoring import Scorer


class Item(NamedTuple):
    """One comparison of a peer's tests."""

    where: str
    gold: str
    answer: str
    expected: float
    peer: float  # what the peer itself gives in our form of the call


class Collected:
    """A plugin of pytest that keeps the items of a run of --collect-only."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.items += items


def items_of_math_verify(folder: Path) -> tuple[list[Item], Counter[str]]:
    """Its items that hold a ground truth, an answer and what is expected; how many do not, by test."""
    sys.path.insert(0, str(folder.resolve().parent))
    collected = Collected()
    pytest.main(
        ["--collect-only", "-qqq", "-c", "/dev/null", "-p", "no:cacheprovider", str(folder)], plugins=[collected]
    )
    kept, others = [], Counter[str]()
    for item in collected.items:
        fields = item.callspec.params if hasattr(item, "callspec") else {}
        gold, answer = fields.get("gold"), fields.get("pred")
        expected = fields.get("expected", fields.get("result"))
        other_settings = {"precision", "strict", "allow_set_relation_comp", "float_rounding"} & set(fields)
        types = fields.get("match_types", ["latex", "expr"])
        if (
            not isinstance(gold, str)
            or not isinstance(answer, str)
            or other_settings
            or set(types) != {"latex", "expr"}
        ):
            others[f"{item.path.name}::{item.name.partition('[')[0]}"] += 1
            continue
        inner = gold[1:-1] if len(gold) > 2 and gold[0] == gold[-1] == "$" and "$" not in gold[1:-1] else None
        peer = verify(parse(gold if inner is None else f"${inner}$"), parse(answer))
        where = f"{item.path.name}::{item.name.partition('[')[0]}"
        kept.append(Item(where, gold, answer, float(expected), float(peer)))
    return kept, others


def scores_of_math_verify(items: list[Item]) -> list[Score]:
    """Our scores: a ground truth in dollar signs without them, any other as it stands (the recipe `trl`'s reading)."""
    scores = []
    with closing(Scorer(build("math_verify"), Limits(cpu_seconds=20))) as scorer:
        for item in items:
            gold = item.gold.strip()
            is_whole = len(gold) > 2 and gold[0] == gold[-1] == "$" and "$" not in gold[1:-1]
            scores += scorer.score(Problem("a source", gold[1:-1] if is_whole else gold), [item.answer])
    return scores


def items_of_verl(path: Path) -> list[Item]:
    """The answers in verl's tests of its rewards, all of which earn 1 there."""
    lists: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List):
            lists[node.targets[0].id] = ast.literal_eval(node.value)
    pairs = zip(lists["prime_math_answers"], lists["prime_math_gts"], strict=True)
    return [Item("test_prime_math", gold, answer, 1.0, 1.0) for answer, gold in pairs]


def print_table(items: list[Item], scores: list[Score], others: Counter[str]) -> None:
    rows: dict[str, Counter[str]] = {}
    for item, score in zip(items, scores, strict=True):
        row = rows.setdefault(item.where, Counter())
        ours = score.reward
        row["items"] += 1
        row["peer passes its test"] += item.peer == item.expected
        row["ours as expected"] += ours == item.expected
        row["ours as the peer"] += ours == item.peer
        row["not scored"] += ours is None
        if ours != item.peer:
            shown = score.status if ours is None else ours
            print(f"{item.where}: ground truth {item.gold!r:.80}, answer {item.answer!r:.80}: peer {item.peer}, "
                  f"expected {item.expected}, ours {shown} {score.detail[:80]}")  # fmt: skip
    names = ["items", "peer passes its test", "ours as expected", "ours as the peer", "not scored"]
    print("| test |", " | ".join(names), "|\n|---|" + "---|" * len(names))
    for where, row in [*rows.items(), ("all", sum(rows.values(), Counter[str]()))]:
        print(f"| {where} |", " | ".join(str(row[name]) for name in names), "|")
    for where, count in others.items():
        print(f"not a comparison of texts with default settings: {count} of {where}")


# ---------------------------------------------------------------- recipes

Call = Callable[[str, str], Any]
OURS = {"nemo_skills": ("math_verify", {"recipe": "boxed"}), "mathruler": ("geometry3k", {})}
"""The reward that a framework's function is compared with, where it is no recipe of math_verify by that name."""


def function_of(path: Path, name: str, **names: Any) -> Any:
    """One function of a file, run with these names alone: what else the file imports is not needed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (node,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    exec(compile(ast.Module([node], []), str(path), "exec"), names)
    return names[name]


def call_of(recipe: str, path: Path) -> Call:
    """The framework's own function as (ground truth, response) -> reward, None where it skips."""
    if recipe in OURS:
        return boxed_call_of(recipe, path)
    names = {"parse": parse, "verify": verify, "LatexExtractionConfig": LatexExtractionConfig, "logging": logging}
    names |= {"NormalizationConfig": NormalizationConfig, "Optional": Optional, "threading": threading}
    names |= {"Callable": Callable, "is_math_verify_available": lambda: True, "print": lambda *_: None}
    if recipe in ("trl", "open_r1"):
        function = function_of(path, "accuracy_reward", **names)
        return lambda gold, response: function([[{"content": response}]], [gold])[0]
    function = function_of(path, "_verify_in_subprocess")

    def as_verl(gold: str, response: str) -> float:
        try:
            return float(function("\\boxed{" + gold + "}", response))
        except Exception:  # noqa: BLE001 - verl counts any error as 0
            return 0.0

    return as_verl


def boxed_call_of(recipe: str, path: Path) -> Call:
    """A grader of answers as (ground truth, response) -> reward: it is given what its own function finds in a box."""
    # These are whole files: mathruler/grader.py with the one beside it, math_grader.py with one function of a logger.
    utils = types.ModuleType("nemo_skills.utils")
    vars(utils)["get_logger_name"] = lambda name: name
    sys.modules |= {"nemo_skills": types.ModuleType("nemo_skills"), utils.__name__: utils}
    sys.path.insert(0, str(path.resolve().parents[1 if recipe == "mathruler" else 0]))
    grader = importlib.import_module("mathruler.grader" if recipe == "mathruler" else path.stem)
    if recipe == "mathruler":
        return lambda gold, response: float(grader.grade_answer(grader.extract_boxed_content(response), gold))
    return lambda gold, response: float(grader.math_equal(gold, grader.search_boxed(response)))


def compare_recipe(recipe: str, path: Path, files: list[Path]) -> None:
    call = call_of(recipe, path)
    print(
        "| file | rollouts | equal | skipped there, gold_error here | other unscored here | differ |\n"
        "|---|---|---|---|---|---|"
    )
    reward = build(*OURS.get(recipe, ("math_verify", {"recipe": recipe})))
    with closing(Scorer(reward, Limits())) as scorer:
        for file in files:
            counts: Counter[str] = Counter()
            table = pq.read_table(file, columns=["original_reward_model", "response"])
            for row in table.to_pylist():
                gold, response = row["original_reward_model"]["ground_truth"], row["response"]
                theirs = call(gold, response)
                (score,) = scorer.score(Problem("a source", gold), [response])
                if score.reward is not None:
                    ours = float(score.reward >= 0.5) if recipe in OURS else score.reward
                    kind = "equal" if ours == theirs else "differ"
                else:
                    kind = "skipped" if theirs is None else "unscored"
                counts[kind] += 1
                if kind == "differ":
                    print(f"{gold!r:.80}: {recipe} {theirs}, ours {score.reward}: {response[-100:]!r}")
            shown = [counts[kind] for kind in ("equal", "skipped", "unscored", "differ")]
            print(f"| {file.stem} | {table.num_rows} |", " | ".join(map(str, shown)), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tests").add_argument("folder", type=Path)
    commands.add_parser("verl").add_argument("file", type=Path)
    recipe = commands.add_parser("recipe")
    recipe.add_argument("recipe", choices=["trl", "open_r1", "verl", *OURS])
    recipe.add_argument("source", type=Path)
    recipe.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # Math-Verify warns of its timeouts
    if given.command == "tests":
        items, others = items_of_math_verify(given.folder)
        print_table(items, scores_of_math_verify(items), others)
    elif given.command == "verl":
        items = items_of_verl(given.file)
        with closing(Scorer(build("math_prime"), Limits())) as scorer:
            print_table(items, [scorer.score(Problem("", item.gold), [item.answer])[0] for item in items], Counter())
    else:
        compare_recipe(given.recipe, given.source, given.files)
    nursery.close_all()


if __name__ == "__main__":
    main()
