"""warnings: what a user should know before trusting a summary, each a sentence or two: what, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.cache import masking
from analyzer.cache.score_files import SourceCount
from analyzer.difficulty.by_source import Tally
from analyzer.errors import counted, percentage
from analyzer.rewards import BaseReward
from analyzer.rollouts.dataset import Dataset, is_text
from analyzer.rollouts.problems import is_record
from analyzer.schema import Status

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_SOURCES_SHOWN = 3
TRUNCATED_SHARE = 0.1  # warn where more responses than this are cut off

REMEDIES = {
    Status.GOLD_ERROR: "their ground truth cannot be graded by this reward: choose another with --reward_fn",
    Status.LIMIT: "their answers are over a grader's limits: look at some of them",
    Status.TIMEOUT: "grading took too long: raise --reward_timeout",
    Status.MEMORY: "grading took too much memory: raise --reward_memory",
    Status.CRASH: "the grading process died: look at the reward function",
    Status.ERROR: "the reward function raised: look at the reward function",
    Status.INVALID_RESULT: "the reward function did not return a finite number: correct it",
    Status.ABSTAIN: "the reward function returned None",
    Status.INPUT_ERROR: "there is no response, or no data_idx: correct the data",
    Status.SANDBOX_UNAVAILABLE: "the sandbox failed: see docs/sandbox.md",
}


class SourceReport(NamedTuple):
    """One data_source in the summary."""

    reward: str
    expects: str  # how an answer looks, as a phrase
    seen: SourceCount


LIKELY_TEXTS = ("target", "answer", "solution", "ground_truth", "expected_answer", "value")
"""Members of a ground truth that are what a reward for text wants, the likeliest first."""


def struct_remedy(dataset: Dataset, gold_column: str | None) -> str | None:
    """What to do about a ground truth that is a struct with a text in it; None where it is none."""
    import pyarrow as pa

    if gold_column is None:
        return None
    field = dataset.schema.field(gold_column)
    part = field.type.field("ground_truth") if is_record(field) else field
    if not pa.types.is_struct(part.type):
        return None
    members = [part.type.field(at) for at in range(part.type.num_fields)]
    texts = {member.name for member in members if is_text(member.type)}
    # A guess, by the names that data sets use; the message shows the flag, and the user decides.
    likely = next((name for name in LIKELY_TEXTS if name in texts), None)
    if likely is None:
        return None
    path = f"{gold_column}.{'ground_truth.' if is_record(field) else ''}{likely}"
    return (
        f"their ground truth is a struct ({', '.join(member.name for member in members)}), this reward wants a text: "
        f"take {likely!r} with --columns '{{ground_truth: {path}}}'"
    )


_OF_THE_INPUT = (
    "the input has none for them; --rescore scores every response, also what there is of rollouts that broke off"
)


def unscored_warnings(
    counts: Mapping[str, int], sources: Mapping[str, SourceReport], of_structs: str | None = None
) -> list[str]:
    """One sentence for each status without a reward: how many, why, an example, and the remedy.

    Without `sources` the rewards came with the input. `of_structs`: the remedy where ground truths are structs.
    """
    total = sum(counts.values())
    found = []
    for status, number in counts.items():
        if status == Status.OK:
            continue
        # The first row of any data source: which one is shown must not depend on the order of the shards.
        examples = sorted(source.seen.failed[status] for source in sources.values() if status in source.seen.failed)
        example = f" (row {examples[0][0]}: {examples[0][1]})" if examples and examples[0][1] else ""
        # Rewards of the input were not made by a reward of ours, whose remedy would be the wrong one.
        known = of_structs if status == Status.GOLD_ERROR and of_structs else REMEDIES[Status(status)]
        remedy = known if sources else _OF_THE_INPUT
        found.append(
            f"{number} of {counted(total, 'rollout')} {'has' if number == 1 else 'have'} no reward ({status}), left "
            f"out of the means: {remedy}{example}."
        )
    return found


def input_warnings(replaced: int, unused: Sequence[str]) -> list[str]:
    """`replaced`: lone surrogates in jsonl; `unused`: flags that choose a reward though the input has rewards."""
    found = []
    if replaced:
        found.append(
            f"{counted(replaced, 'lone surrogate')} (half a character) in the jsonl input "
            f"{'was' if replaced == 1 else 'were'} replaced by U+FFFD, because no other file format can hold them."
        )
    if unused:
        found.append(
            f"the input already has rewards and they were kept: {' and '.join(unused)} "
            f"{'was' if len(unused) == 1 else 'were'} not used; add --rescore to score again."
        )
    return found


def overruled_warnings(data_source: str | None, overruled: Mapping[str, int]) -> list[str]:
    """That rollouts were scored as of --data_source, though the data names another one for them."""
    if not overruled:
        return []
    names = ", ".join(f"{name!r}" for name in list(overruled)[:_SOURCES_SHOWN])
    names += ", ..." if len(overruled) > _SOURCES_SHOWN else ""
    return [
        f"{counted(sum(overruled.values()), 'rollout is', 'rollouts are')} of data source {names} in the input, and "
        f"scored as {data_source!r}, which --data_source names for all; leave it out to score each by its own."
    ]


def policy_warnings(policies: Sequence[str]) -> list[str]:
    """That rollouts name several models, which may be several policies."""
    if len(policies) < 2:
        return []
    names = ", ".join(f"{name!r}" for name in policies[:_SOURCES_SHOWN])
    return [
        f"rollouts are of {len(policies)} models ({names}) and taken for samples of one policy: pick one with --rows "
        f'"model == {policies[0]!r}", or pass --pool if they belong together.'
    ]


def unmarked_warnings(files: Sequence[str]) -> list[str]:
    """That a change of these input files may not be seen: their store gives neither ETag nor time."""
    if not files:
        return []
    return [
        f"the store of {masking.text(files[0])} reports neither an ETag nor a time for its files, and large ones "
        "are compared in pieces: after a change that keeps the size, remove the run from the cache, or give the file "
        "another name."
    ]


def uncounted_warnings(model_path: str | None, texts: bool) -> list[str]:
    """That tokens were not counted, and why."""
    if texts and model_path is not None:
        return []
    why = "no --model_path to count them with" if texts else "there are no responses, only rewards"
    return [f"response_tokens is null: {why}."]


def truncation_warnings(counts: Tally | None) -> list[str]:
    """One sentence where many responses were cut off, with what they earned. counts: of all rollouts."""
    if counts is None or counts.cut_share <= TRUNCATED_SHARE:
        return []
    # Beside those cut off, so that the reader sees whether the limit costs passes or such problems fail anyway.
    whole, whole_passed = counts.scored - counts.cut_scored, counts.passed - counts.cut_passed
    others = f", {percentage(whole_passed / whole)} of the others do" if whole else ""
    return [
        f"{percentage(counts.cut_share)} of the responses are cut off at their token limit: of these "
        f"{counts.cut_passed} of "
        f"{counts.cut_scored} pass{others}. Problems look harder than they are; sample with a larger max_tokens."
    ]


_OF_THE_SANDBOX = {
    "refused": "they asked for what the sandbox refuses (a new process, directory or socket, a file elsewhere)",
    "uncrossable": "they returned an object to their test, and only values and functions cross the sandbox",
}
"""Verdicts on programs that may be right elsewhere."""


def program_warnings(
    codes: NDArray[np.int32], extra: NDArray[np.int32] | None, extra_texts: pa.LargeStringArray
) -> list[str]:
    """How many programs count as wrong since they need what the sandbox does not give.

    codes, extra: (rollouts,) problem, and position in `extra_texts`, the further columns as JSON, or -1.
    """
    if extra is None:
        return []
    import pyarrow.compute as pc

    found = []
    for verdict, why in _OF_THE_SANDBOX.items():
        # Also of a part of a sum, whose columns begin with its name. -1, of rollouts without columns, takes the last.
        of_text = pc.match_substring_regex(extra_texts, rf'"(\w+_)?verdict": ?"{verdict}"').to_numpy(False)
        rows = np.append(of_text, False)[extra]
        if number := int(rows.sum()):
            problems = counted(len(np.unique(codes[rows])), "problem")
            found.append(
                f"{counted(number, 'program')} ({problems}) count{'s' * (number == 1)} as wrong because {why}: verdict "
                f"{verdict!r} of docs/code_rewards.md. If such programs are right, leave these problems out."
            )
    return found


def sandbox_warnings(rewards: Iterable[BaseReward]) -> list[str]:
    """What the user must know of the sandbox that programs ran in."""
    from analyzer.grading.sandbox import find_level

    levels = {str(reward.options["sandbox"]) for reward in rewards if "sandbox" in reward.options}
    return [warning for level in sorted(levels) if (warning := find_level(level).warning)]
