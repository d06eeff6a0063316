"""warnings: what a user should know before trusting a summary, each a sentence or two: what, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from analyzer.cache.score_files import SourceCount
from analyzer.difficulty.by_source import Tally
from analyzer.rewards import BaseReward
from analyzer.schema import Status

if TYPE_CHECKING:
    pass

TRUNCATED_SHARE = 0.1  # warn where more responses than this are cut off

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


def truncation_warnings(counts: Tally | None) -> list[str]:
    """One sentence where many responses were cut off, with what they earned. counts: of all rollouts."""
    if counts is None or counts.cut_share <= TRUNCATED_SHARE:
        return []
    whole, whole_passed = counts.scored - counts.cut_scored, counts.passed - counts.cut_passed
    others = f", {whole_passed / whole:.0%} of the others do" if whole else ""
    return [
        f"{counts.cut_share:.0%} of the responses are cut off at their token limit: of these {counts.cut_passed} of "
        f"{counts.cut_scored} pass{others}. Problems look harder than they are; sample with a larger max_tokens."
    ]


def sandbox_warnings(rewards: Iterable[BaseReward]) -> list[str]:
    """What the user must know of the sandbox that programs ran in."""
    from analyzer.grading.sandbox import Level

    levels = {str(reward.options["sandbox"]) for reward in rewards if "sandbox" in reward.options}
    return [warning for level in sorted(levels) if (warning := Level(level).warning)]
