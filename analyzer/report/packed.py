"""packed: what the page's script reads, as base64 texts: columns of all problems, texts of some, and what they mean."""

from __future__ import annotations

import base64
import gzip
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer.difficulty.counting import distinct
from analyzer.expression import Expression, compile_expression
from analyzer.report import texts
from analyzer.report.analysis import Analysis
from analyzer.report.harmless import visible
from analyzer.report.texts import ProblemText
from analyzer.schema import DATA_IDX
from analyzer.selection.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLAGS = {
    "gold_unearnable": "the ground truth, given as the answer, does not score full marks: mend or drop them",
    "suspect_gold": "the samples agree on another answer: the ground truth may be wrong",
    "cut_off": "never solved, and half or more of the responses were cut off at the token limit",
    "no_answer": "never solved, and no answer was found in half or more of the responses",
}
"""What each flag means, in the order of the codes that the script has."""


_MOST_PAIRS = 4096


class Rules(NamedTuple):
    """Published rules, and what each keeps as select_problems decides it: the page must show what its command does."""

    recipes: list[Recipe]
    bits: NDArray[np.uint32]  # (problems,) a bit for each recipe that keeps the problem
    by_passes: list[tuple[int, int, int]] | None  # passes, scored, bits; None where they do not tell: graded rewards

    @classmethod
    def of(cls, analysis: Analysis) -> Rules:
        """Those that stand in one command, as far as the analysis, of an earlier version perhaps, has their columns."""
        recipes, bits = list[Recipe](), np.zeros(analysis.problems.num_rows, "<u4")
        for recipe in RECIPES:
            if recipe.where is None or "'" in recipe.where:
                continue
            rule = compile_expression(recipe.where, None)
            if set(rule.names) <= set(analysis.problems.column_names):
                bits |= _keeps(analysis, rule).astype("<u4") << len(recipes)
                recipes.append(recipe)
        return cls(recipes, bits, _by_passes(analysis, bits))


def _keeps(analysis: Analysis, rule: Expression) -> NDArray[np.bool_]:
    import pyarrow as pa

    columns = {name: analysis.problems[name].combine_chunks() for name in rule.names}
    outcome = rule.evaluate(pa.RecordBatch.from_pydict(columns)).fill_null(False)
    kept: NDArray[np.bool_] = outcome.to_numpy(zero_copy_only=False)
    return kept


def _by_passes(analysis: Analysis, bits: NDArray[np.uint32]) -> list[tuple[int, int, int]] | None:
    """The bits of each pair of passes and scored rollouts: a small table, where a column is half a megabyte."""
    passes, scored = analysis.passes
    if scored.max(initial=0) > 65535:
        return None  # the page has rounded numbers
    pairs, first, pair = np.unique(passes * 65536 + scored, return_index=True, return_inverse=True)
    if len(pairs) > _MOST_PAIRS or (bits[first][pair] != bits).any():
        return None
    return list(zip((pairs // 65536).tolist(), (pairs % 65536).tolist(), bits[first].tolist(), strict=True))


def columns(analysis: Analysis, names: Sequence[str], rules: Rules) -> str:
    """The columns of all problems, one after the other as little-endian numbers, then the ids.

    Of a number first the low bytes of all problems, then the next, which compresses better. Ids that are integers are
    their differences, others JSON (`meta` says which it is).
    """
    passes, scored = analysis.passes
    _, source = analysis.sources
    in_buckets, bucket = analysis.coded("bucket")
    # Codes by the tables that the script has too, not by the order in which names happen to appear.
    known = ["", *FLAGS]
    flags, flag = analysis.coded("flag")
    place = np.array([list(names).index(name) for name in in_buckets], dtype="<u1")
    shown = np.array([known.index(name) if name in known else 0 for name in flags] or [0], dtype="<u1")
    # As few bytes as hold what is usual: 600,000 problems are some megabytes of a page
    # that people send each other.
    # More rollouts than two bytes count are shown as that many, at the same pass rate.
    scale = np.maximum(scored / 65535, 1)
    # Made one after the other: all of them twice would be most of the memory of a report.
    parts: list[Callable[[], NDArray[Any]]] = [
        lambda: np.rint(passes / scale).astype("<u2"),
        lambda: np.rint(scored / scale).astype("<u2"),
        lambda: source.astype("<u2"),
        lambda: place[bucket],
        lambda: shown[flag],
        lambda: np.nan_to_num(analysis.column("tokens_mean", 0.0).astype(np.float64)).astype("<u4"),
        lambda: np.minimum(analysis.column("truncated").astype(np.float64), 65535).astype("<u2"),
        lambda: np.minimum(analysis.column("num_samples"), 65535).astype("<u2"),
    ]
    if analysis.statuses[0]:
        parts.append(lambda: analysis.statuses[1].astype("<u2"))
    if rules.by_passes is None:
        parts.append(lambda: rules.bits)
    data = bytearray()
    for part in parts:
        data += _planes(part())
    steps = _id_steps(analysis)
    data += orjson.dumps(analysis.problems[DATA_IDX].to_pylist(), default=str) if steps is None else _planes(steps)
    return _packed(data)


def _planes(values: NDArray[Any]) -> bytes:
    """The low bytes of all numbers, then the next: (problems,) numbers of some bytes each."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _id_steps(analysis: Analysis) -> NDArray[Any] | None:
    """Integer ids as differences, (problems,), the first from 0; None where they are not integers of 31 bits."""
    import pyarrow as pa

    column = analysis.problems[DATA_IDX]
    if not pa.types.is_integer(column.type) or column.null_count:
        return None
    ids = column.to_numpy()
    steps = np.diff(ids.astype(np.int64), prepend=0)
    return steps.astype("<i4") if ids.astype(np.int64).max(initial=0) < 1 << 31 and (ids >= 0).all() else None


def fitting_texts(shown: list[ProblemText]) -> tuple[list[ProblemText], str]:
    """The texts, shortened until they fit the budget packed: text that does not compress takes more than was read."""
    while True:
        packed = _packed(
            orjson.dumps([text._asdict() | {"samples": [s._asdict() for s in text.samples]} for text in shown])
        )
        if len(packed) <= texts.BUDGET:
            return shown, packed
        less = [texts.shorter(text, 0.9 * texts.BUDGET / len(packed)) for text in shown]
        if less == shown:  # nothing is left to shorten: fewer problems
            less = shown[: len(shown) // 2]
        shown = less


def _packed(data: bytes | bytearray) -> str:
    # gzip, since browsers unpack it themselves (DecompressionStream); no time in it, so that equal data is equal text.
    # Level 5 takes 60 % of the time of level 6 for 2 % more bytes.
    return base64.b64encode(gzip.compress(data, 5, mtime=0)).decode()


def meta(analysis: Analysis, names: Sequence[str], styles: dict[str, str], rules: Rules, *, server: bool) -> str:
    """What the script needs to know, as JSON in the page."""
    payload = {
        "problems": analysis.problems.num_rows,
        "buckets": list(names),
        "styles": [styles[name] for name in names],
        "flags": ["", *FLAGS],
        "sources": [visible(name) for name in analysis.sources[0]],
        "statuses": analysis.statuses[0],
        "predicted": _predicted(analysis),
        "command": f"python scripts/select_problems.py --analysis {shlex.quote(_shown_folder(analysis))}",
        "viewer": f"python scripts/view_analysis.py --analysis {shlex.quote(_shown_folder(analysis))}",
        "recipes": [
            {"name": recipe.name, "where": recipe.where, "source": recipe.reference} for recipe in rules.recipes
        ],
        "rules": rules.by_passes,
        "server": server,
        "integer_ids": _id_steps(analysis) is not None,
    }
    return base64.b64encode(orjson.dumps(payload)).decode()


def _predicted(analysis: Analysis) -> dict[str, float]:
    """The chance that a new group of 8 both passes and fails, by "source,passes,scored"; source -1: of all.

    Also of problems with 8 samples: those that a rule chose by these look better in them than in new ones. Not of
    problems with one sample, which does not tell.
    """
    passes, scored = analysis.passes
    _, source = analysis.sources
    there = np.flatnonzero(scored > 1)
    chances = np.nan_to_num(analysis.column("informative@8", np.nan).astype(np.float64)[there])
    # Three numbers packed into one: to sort 600,000 records of three takes a second.
    span = int(scored.max(initial=0)) + 1
    pairs = passes[there] * span + scored[there]
    found, of = distinct(source[there] * span**2 + pairs, (int(source.max(initial=0)) + 1) * span**2)
    if len(found) <= _MOST_PAIRS:
        numbers = (found // span**2).tolist()
    else:
        found, of = distinct(pairs, span**2)
        numbers = [-1] * len(found)
    means = np.bincount(of, chances) / np.maximum(np.bincount(of), 1)
    kinds = zip(numbers, (found // span % span).tolist(), (found % span).tolist(), means.tolist(), strict=True)
    return {f"{s},{k},{n}": round(mean, 4) for s, k, n, mean in kinds}


def _shown_folder(analysis: Analysis) -> str:
    return str(analysis.provenance.get("settings", {}).get("output_dir") or analysis.folder)
