"""Texts for the page: some problems of each bucket with some of their rollouts, head and tail, within a budget.

Half of the problems are drawn at random, half by interest: flagged ones, the longest, those that are solved about
half of the time. All come from a few dozen row groups of the rollouts, chosen at random, so that a report on gigabytes
of text reads megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.report.analysis import Analysis
from analyzer.rollouts.problems import gold_column_of
from analyzer.schema import (
    DATA_IDX,
    DEFAULT_REWARD_FN_KEY,
    FINISH_REASON,
    PROMPT,
    RESPONSE,
    RESPONSE_TOKENS,
    REWARD,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
    least_passing,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

PER_BUCKET = 200  # problems
PER_PROBLEM = 8  # rollouts
BUDGET = 10_000_000  # characters that are read of all responses together, and bytes of all texts in the page
_MOST_ROWS = 60_000  # rows of the row groups that are read
_MOST_BYTES = 128 << 20  # of these row groups, not compressed: long responses take seconds to read
_TOGETHER = 4  # problems at the least whose rollouts are read together
_PROMPT_CHARS = 6000
_SHORT = 240  # texts up to this length are never shortened further
_REWARD_ANSWER = "reward_answer"
_COLUMNS = (
    PROMPT,
    RESPONSE,
    DATA_IDX,
    REWARD,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
    RESPONSE_TOKENS,
    FINISH_REASON,
    _REWARD_ANSWER,
)


class Sample(NamedTuple):
    """One rollout of a problem on the page."""

    reward: float | None
    status: str
    right: bool  # it passes: of a sum of rewards, one part decides
    tokens: int | None
    finish: str | None
    answer: str | None
    head: str
    tail: str  # "" where the head is all of it
    length: int  # characters of the whole response


class ProblemText(NamedTuple):
    """One problem on the page."""

    number: int  # its place in problem_metrics.parquet
    prompt: str
    ground_truth: str
    samples: list[Sample]


def choose_problems(analysis: Analysis, seed: int) -> IntArray:
    """The numbers of the problems whose texts are shown, ascending: up to PER_BUCKET of each bucket."""
    if len(analysis.rows[0]) == 0:
        return np.zeros(0, np.int64)
    random = np.random.default_rng(seed)
    # First which row groups are read, then which of the problems there: any choice over all would read everything.
    near = _near(analysis, random)
    names, bucket = analysis.coded("bucket")
    interest = _interest(analysis)
    chosen: list[NDArray[np.int64]] = []
    for code in range(len(names)):
        members = near[bucket[near] == code]
        if len(members) > PER_BUCKET:
            by_interest = members[np.argsort(-interest[members], kind="stable")][: PER_BUCKET // 2]
            rest = np.setdiff1d(members, by_interest)
            members = np.append(by_interest, random.choice(rest, PER_BUCKET - len(by_interest), replace=False))
        chosen.append(members)
    return np.unique(np.concatenate(chosen)).astype(np.int64)


def _near(analysis: Analysis, random: np.random.Generator) -> IntArray:
    """Problems whose rollouts all lie in a choice of row groups with at most _MOST_ROWS rows and about _MOST_BYTES."""
    first, stop, code = analysis.rows
    rollouts = analysis.rollouts
    assert rollouts is not None
    most = min(_MOST_ROWS, _MOST_BYTES * rollouts.rows // max(rollouts.bytes, 1))
    if rollouts.rows <= most:
        return np.unique(code)
    sizes = rollouts.pieces()
    # Row groups that hold less than a few problems are taken together with their neighbours: a problem that lies in
    # several is shown only if all of them are read.
    least = max(1, _TOGETHER * rollouts.rows // max(analysis.problems.num_rows, 1))
    _, stretch = np.unique((np.cumsum(sizes) - 1) // least, return_inverse=True)
    sizes = np.bincount(stretch, weights=sizes).astype(np.int64)
    order = random.permutation(len(sizes))
    taken = order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")))]
    edges = np.append(0, np.cumsum(sizes))
    inside = np.zeros(len(sizes), dtype=bool)
    inside[taken] = True
    whole = (
        inside[np.searchsorted(edges, first, side="right") - 1] & inside[np.searchsorted(edges, stop - 1, "right") - 1]
    )
    # Problems that reach into a row group that is not read would be shown with a part of their rollouts.
    problems = analysis.problems.num_rows
    outside = np.bincount(code[~whole], minlength=problems)
    return np.flatnonzero((np.bincount(code[whole], minlength=problems) > 0) & (outside == 0))


def _interest(analysis: Analysis) -> NDArray[np.float64]:
    """(problems,) higher is more interesting: flags first, then mixed outcomes, then long responses."""
    rate = analysis.column("pass_rate", 0.0).astype(np.float64)
    tokens = analysis.column("tokens_mean", 0.0).astype(np.float64)
    longest = tokens.max() if len(tokens) and tokens.max() > 0 else 1.0
    names, flag = analysis.coded("flag")
    flagged = np.array([bool(name) for name in names], bool)[flag] if names else 0.0
    return 2.0 * flagged + (1 - np.abs(2 * rate - 1)) + tokens / longest


def read_texts(
    analysis: Analysis, numbers: IntArray, *, most: int = PER_PROBLEM, chars: int | None = None
) -> list[ProblemText]:
    """The texts of these problems; right and wrong rollouts both, where there are both.

    most: rollouts of each. chars: of the head and of the tail of a response; as the budget allows unless given.
    """
    if len(numbers) == 0:
        return []
    gold = gold_column(analysis)
    # A half, for head and tail.
    chars = chars or max(120, BUDGET // (len(numbers) * most) // 2)
    found = analysis.samples(numbers.tolist(), [*_COLUMNS, *filter(None, [gold])], most)
    return [
        _problem(number, records, gold, chars=chars, threshold=analysis.threshold)
        for number, records in found.items()
        if records
    ]


def shorter(text: ProblemText, share: float) -> ProblemText:
    """The problem with that share of its prompt and of its longer responses."""
    samples = [_shorter(sample, share) for sample in text.samples]
    prompt = text.prompt if len(text.prompt) <= _SHORT else _cut(text.prompt, int(len(text.prompt) * share))
    return text._replace(prompt=prompt, samples=samples)


def _shorter(sample: Sample, share: float) -> Sample:
    if len(sample.head) + len(sample.tail) <= _SHORT:
        return sample
    chars = max(int((len(sample.head) + len(sample.tail)) * share / 2), 1)
    return sample._replace(head=sample.head[:chars], tail=(sample.tail or sample.head)[-chars:])


def read_problem(
    analysis: Analysis, number: int, *, first: int = 0, most: int = 64, chars: int = 20_000
) -> tuple[ProblemText, int]:
    """One problem with its rollouts from the `first` on, at most `most` of them, in the order of the file.

    Responses longer than twice `chars` are shown by head and tail. Returns the text and how many rollouts there are.
    """
    if analysis.rollouts is None:  # of a problem without its rollouts the training row is known
        row = analysis.training_row(number)
        gold = gold_column_of([name for name, value in row.items() if value is not None], _key(analysis))
        truth = "" if gold is None else ground_truth_text(row[gold])
        return ProblemText(number, as_text(row.get(PROMPT)), truth, []), 0
    gold = gold_column(analysis)
    records = analysis.samples([number], [*_COLUMNS, *filter(None, [gold])])[number]
    prompt, truth = _prompt_and_truth(records, gold)
    samples = [_sample(record, chars, analysis.threshold) for record in records[first : first + most]]
    return ProblemText(number, prompt, truth, samples), len(records)


def gold_column(analysis: Analysis) -> str | None:
    """The column of the rollouts that holds the reward information; None if there is none."""
    if analysis.rollouts is None:
        return None
    return gold_column_of(analysis.rollouts.schema.names, _key(analysis))


def _key(analysis: Analysis) -> str:
    return analysis.summary.get("settings", {}).get("reward_fn_key") or DEFAULT_REWARD_FN_KEY


def _has(analysis: Analysis, name: str) -> bool:
    return analysis.rollouts is not None and name in analysis.rollouts.schema.names


def _problem(
    number: int, records: list[dict[str, Any]], gold: str | None, *, chars: int, threshold: float
) -> ProblemText:
    # By reward, so that right and wrong ones are both there; those without a reward come last.
    shown = sorted(records, key=lambda record: -(record[REWARD] if record[REWARD] is not None else -1.0))
    prompt, truth = _prompt_and_truth(records, gold)
    samples = [_sample(one, chars, threshold) for one in shown]
    return ProblemText(number, _cut(prompt, _PROMPT_CHARS), _cut(truth, 600), samples)


def _prompt_and_truth(records: list[dict[str, Any]], gold: str | None) -> tuple[str, str]:
    if not records:
        return "", ""
    return as_text(records[0].get(PROMPT)), ground_truth_text(records[0].get(gold)) if gold else ""


def _sample(record: dict[str, Any], chars: int, threshold: float) -> Sample:
    deciding = record.get(REWARD_PASS_VALUE)
    deciding = record[REWARD] if deciding is None else deciding
    text = record.get(RESPONSE) or ""
    # Head and tail: how it set out, and the end, where the answer is.
    whole = len(text) <= 2 * chars
    return Sample(
        record[REWARD],
        record[REWARD_STATUS],
        record[REWARD] is not None and deciding >= least_passing(threshold),
        record.get(RESPONSE_TOKENS),
        as_text(record.get(FINISH_REASON)) or None,
        record.get(_REWARD_ANSWER),
        text if whole else text[:chars],
        "" if whole else text[-chars:],
        len(text),
    )


def ground_truth_text(value: Any) -> str:
    """The ground truth in a value of the reward information, as text; "" where there is none."""
    from analyzer.rollouts.problems import NoGroundTruth, ground_truth

    try:
        return as_text(ground_truth(value))
    except NoGroundTruth:  # as it may be where the rewards are those of the input
        return ""


def as_text(value: Any) -> str:
    """A prompt or a ground truth for a person: a chat list as its messages, anything else as JSON."""
    import orjson

    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and value and all(isinstance(item, dict) and "content" in item for item in value):
        return "\n\n".join(f"[{item.get('role', '')}]\n{as_text(item['content'])}" for item in value)
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _cut(text: str, chars: int) -> str:
    return (
        text
        if len(text) <= chars
        else f"{text[: chars // 2]}\n[... {len(text) - chars} characters ...]\n{text[-chars // 2 :]}"
    )
