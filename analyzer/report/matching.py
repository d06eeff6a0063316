"""Which problems of several analyses are the same: by data_idx where prompts agree, else by prompt and ground truth.

A data_idx alone proves nothing: two runs that were numbered by their own rows give 7 to different problems.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.report.analysis import Analysis
from analyzer.report.texts import as_text, ground_truth_text
from analyzer.schema import DATA_IDX

if TYPE_CHECKING:
    from analyzer.schema import IntArray


class Matched(NamedTuple):
    """Problems that are in all analyses."""

    numbers: list[IntArray]  # of each analysis, (problems,): row of its problem_metrics.parquet
    unmatched: list[int]  # of each analysis, problems that are not in all others


class _Problems(NamedTuple):
    """What tells the problems of one analysis apart."""

    ids: list[Any]
    prompts: list[bytes]  # digests, so that 600,000 prompts of a page each need no gigabytes
    pairs: list[bytes]  # digests of prompt and ground truth together


def match(analyses: Sequence[Analysis]) -> Matched:
    """The problems that all analyses have in common, in the order of the first one."""
    first = _problems(analyses[0])
    partners = [_partners(first, _problems(analysis)) for analysis in analyses[1:]]
    common = np.flatnonzero(np.all([partner >= 0 for partner in partners], axis=0))
    numbers = [common, *(partner[common] for partner in partners)]
    return Matched(numbers, [analysis.problems.num_rows - len(common) for analysis in analyses])


def _problems(analysis: Analysis) -> _Problems:
    ids = analysis.problems[DATA_IDX].to_pylist()
    prompts, pairs = [], []
    for prompt, truth in analysis.identities():
        text = as_text(_content(prompt)).strip().encode("utf-8", errors="surrogatepass")
        answer = ground_truth_text(truth).encode("utf-8", errors="surrogatepass")
        prompts.append(_digest(text))
        pairs.append(_digest(text + b"\0" + answer))
    return _Problems(ids, prompts, pairs)


def _content(prompt: Any) -> Any:
    """A chat of one message as its text: the same problem may be written either way."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], dict):
        return prompt[0].get("content")
    return prompt


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=12).digest()


def _partners(first: _Problems, second: _Problems) -> IntArray:
    """(problems of the first,) the number of the same problem in the second; -1 for none."""
    partner = np.full(len(first.ids), -1, np.int64)
    # As text: one problem is 7 in a parquet file and "7" in a jsonl one.
    where = {str(name): number for number, name in enumerate(second.ids)}
    free = np.ones(len(second.ids), np.bool_)
    for number, name in enumerate(first.ids):
        other = where.get(str(name), -1)
        if other >= 0 and first.prompts[number] == second.prompts[other]:
            partner[number], free[other] = other, False
    # What is left may have been numbered anew. The prompt alone would not do: a training set may ask one question with
    # several ground truths.
    left = defaultdict(list)
    for other in np.flatnonzero(free)[::-1].tolist():
        left[second.pairs[other]].append(other)
    for number in np.flatnonzero(partner < 0).tolist():
        if candidates := left.get(first.pairs[number]):
            partner[number] = candidates.pop()  # of several equal ones the first that is left
    return partner
