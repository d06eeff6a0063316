"""warnings: what a user should know before trusting a summary, each a sentence or two: what, why, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.cache.score_files import SourceCount
from analyzer.rewards import BaseReward
from analyzer.rollouts.dataset import Dataset, InputFile, Reader, is_text
from analyzer.schema import FINISH_REASON, MAX_TOKENS, RESPONSE, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING_SHARE = 0.25  # warn where no answer is found in more responses than this
LOW_REWARD = 0.05  # ... and where the mean pass rate is below this
TRUNCATED_SHARE = 0.1  # ... and where more responses than this are cut off
_EXAMPLE_LENGTH = 120

REMEDIES = {
    Status.GOLD_ERROR: "their ground truth cannot be graded by this reward: choose another with --reward_fn",
    Status.LIMIT: "their answers are beyond what a grader is given: look at a few of them",
    Status.TIMEOUT: "grading took too long: raise --reward_timeout",
    Status.MEMORY: "grading took too much memory: raise --reward_memory",
    Status.CRASH: "the grading process died: look at the reward function",
    Status.ERROR: "the reward function raised: look at the reward function",
    Status.INVALID_RESULT: "the reward function returned no finite number: correct it",
    Status.ABSTAIN: "the reward function returned None",
    Status.INPUT_ERROR: "their data_idx is empty or holds NUL: correct the data",
    Status.SANDBOX_UNAVAILABLE: "the sandbox failed: see docs/sandbox.md",
}


class SourceReport(NamedTuple):
    """One data_source in the summary."""

    reward: str
    expects: str  # how an answer looks, as a phrase
    seen: SourceCount


def unscored_warnings(counts: Mapping[str, int], sources: Mapping[str, SourceReport]) -> list[str]:
    """One sentence for each status without a reward: how many, why, an example, and the remedy.

    Without `sources` the rewards came with the input.
    """
    total = sum(counts.values())
    found = []
    for status, number in counts.items():
        if status == Status.OK:
            continue
        examples = sorted(source.seen.failed[status] for source in sources.values() if status in source.seen.failed)
        example = f" (row {examples[0][0]}: {examples[0][1]})" if examples and examples[0][1] else ""
        remedy = REMEDIES[Status(status)] if sources else "so the input has it; --rescore scores all anew"
        found.append(
            f"{number} of {total} rollouts have no reward ({status}) and are left out of the means: {remedy}{example}."
        )
    return found


def input_warnings(replaced: int, unused: str | None) -> list[str]:
    """`replaced`: lone surrogates in jsonl; `unused`: the reward that was asked for though the input has rewards."""
    found = []
    if replaced:
        found.append(
            f"{replaced} lone surrogates (halves of characters) in the jsonl input were replaced by U+FFFD: "
            "no other file format can hold them."
        )
    if unused:
        found.append(
            f"the input already has rewards and they were kept: {unused} was not used; add --rescore to score anew."
        )
    return found


def low_warnings(sources: Mapping[str, SourceReport], mean_pass_rate: float, files: Sequence[InputFile]) -> list[str]:
    """Warnings for data sources in whose responses few answers are found, with two examples, and for low rewards."""
    found: list[str] = []
    for name, report in sources.items():
        share = 1 - report.seen.found / max(report.seen.rows, 1)
        if share > MISSING_SHARE:
            examples = "; ".join(f'"...{text}"' for text in endings(files, report.seen.missing))
            found.append(
                f"no answer was found in {share:.0%} of the responses of {name}, which count as wrong: reward "
                f"{report.reward} looks for {report.expects}, e.g. not there in {examples}. If the answers are "
                "written in another way, choose the reward that reads it with --reward_fn."
            )
    if not found and not math.isnan(mean_pass_rate) and mean_pass_rate < LOW_REWARD and sources:
        found.append(
            f"rewards are low everywhere (mean pass rate {mean_pass_rate:.3f}) although answers were found: "
            "check that --reward_fn_key names the right ground truth and that the reward fits the data."
        )
    return found


def truncated_share(source: Dataset, kept: Sequence[tuple[int, int]], tokens: NDArray[np.int32]) -> float | None:
    """The share of responses that were cut off: finish_reason is length, or else as many tokens as max_tokens allows.

    `tokens`: the length of each response of `kept`, (rollouts,). None where the input has neither column.
    """
    import pyarrow as pa

    fits = {FINISH_REASON: is_text, MAX_TOKENS: pa.types.is_integer}
    there = [name for name in fits if name in source.schema.names and fits[name](source.schema.field(name).type)]
    if not there:
        return None
    column = there[0]
    cut = done = 0
    for _, batch in Reader(source.files, [column], threads=True).batches(kept):
        values = batch.column(0).to_numpy(zero_copy_only=False)
        lengths = tokens[done : done + len(values)]
        full = values == "length" if column == FINISH_REASON else (values > 0) & (lengths >= values)
        cut += int(np.count_nonzero(full))
        done += len(values)
    return cut / max(done, 1)


def truncation_warnings(share: float | None) -> list[str]:
    """One sentence where many responses were cut off."""
    if share is None or share <= TRUNCATED_SHARE:
        return []
    return [
        f"{share:.0%} of the responses are cut off at their token limit and rarely hold an answer: problems look "
        "harder than they are; sample with a larger max_tokens."
    ]


def endings(files: Sequence[InputFile], rows: Sequence[int]) -> list[str]:
    """The last characters of the responses in these rows, each on one line."""
    reader = Reader(files, [RESPONSE])
    texts = [
        text
        for _, batch in reader.batches([(row, row + 1) for row in sorted(rows)])
        for text in batch.column(0).to_pylist()
    ]
    return [" ".join(text.split())[-_EXAMPLE_LENGTH:] for text in texts]


def sandbox_warnings(rewards: Iterable[BaseReward]) -> list[str]:
    """What the user must know of the sandbox that programs ran in."""
    from analyzer.grading.sandbox import Level

    levels = {str(reward.options["sandbox"]) for reward in rewards if "sandbox" in reward.options}
    return [warning for level in sorted(levels) if (warning := Level(level).warning)]
