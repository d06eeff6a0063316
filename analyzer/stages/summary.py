"""summary: what the run found, as summary.json, as a block to print, and as remarks: the audit, and warnings that say
what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.cache.score_files import SourceCount
from analyzer.errors import printable
from analyzer.rollouts.dataset import Dataset, InputFile, Reader, is_text
from analyzer.schema import FINISH_REASON, MAX_TOKENS, RESPONSE, STATUSES, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING_SHARE = 0.25  # warn where no answer is found in more responses than this
LOW_REWARD = 0.05  # ... and where the mean pass rate is below this
TRUNCATED_SHARE = 0.1  # ... and where more responses than this are cut off
_EXAMPLE_LENGTH = 120
_WIDTH = 60

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


def status_counts(statuses: NDArray[np.int8]) -> dict[str, int]:
    """Rollouts by reward_status, those that occur, `ok` first."""
    counts = np.bincount(statuses, minlength=len(STATUSES))
    return {str(status): int(n) for status, n in zip(STATUSES, counts, strict=True) if n}


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


def token_counts(tokens: NDArray[np.int32]) -> dict[str, float]:
    """Mean, median, 95th percentile and maximum of the response lengths, in tokens."""
    if len(tokens) == 0:
        return {}
    middle, high = np.percentile(tokens, [50, 95], method="nearest")
    return {
        "mean": round(float(tokens.sum(dtype=np.int64) / len(tokens)), 3),
        "median": int(middle),
        "p95": int(high),
        "max": int(tokens.max()),
    }


def number(value: float) -> float | None:
    """A float for JSON: NaN as None."""
    return None if math.isnan(value) else value


def block(summary: Mapping[str, Any]) -> str:
    """The block printed on stdout."""
    rule = "=" * _WIDTH
    overall = summary["overall_metrics"]
    lines = [
        rule,
        "ANALYSIS SUMMARY",
        rule,
        f"Total problems: {summary['total_problems']}",
        f"Total rollouts: {summary['total_rollouts']}",
        f"Bucketing strategy: {summary['bucketing_strategy']}",
        "",
        "Bucket distribution:",
        *(f"  {name}: {size} problems" for name, size in summary["bucket_distribution"].items()),
        "",
        "Overall metrics:",
        f"  Mean pass rate: {_shown(overall['mean_pass_rate'])}",
        f"  Mean reward: {_shown(overall['mean_reward'])}",
        f"  Mean@5: {_shown(overall['mean@5'])}",
        rule,
    ]
    return "\n".join(lines) + "\n"


def remarks(summary: Mapping[str, Any]) -> str:
    """What is printed on stderr after the block: how sure the buckets are, the audit, and the warnings.

    Text of a model is made harmless.
    """
    lines: list[str] = []
    if stable := summary["stability"]:
        lines += ["", "How sure:", f"  {stability_line(stable)}"]
    if audited := audit_lines(summary):
        lines += ["", "Audit:", *(f"  {printable(line)}" for line in audited)]
    if summary["warnings"]:
        lines += ["", "Warnings:", *(f"  - {printable(warning)}" for warning in summary["warnings"])]
    return "".join(line + "\n" for line in lines)


def stability_line(stability: Mapping[str, Any]) -> str:
    """What another set of rollouts would change, in one sentence."""
    by_bucket = ", ".join(f"{name} {share:.0%}" for name, share in stability["by_bucket"].items())
    return (
        f"sampled again, about {stability['same_bucket']:.0%} of the problems would be in the same bucket "
        f"({by_bucket}), {stability['same_or_next_bucket']:.0%} in it or the next; more responses per problem make it "
        "surer"
    )


def audit_lines(summary: Mapping[str, Any]) -> list[str]:
    """For each data_source: answers found, ground truths that earn the maximum, the second grader with its examples."""
    golds, seconds = summary["audit"]["ground_truths"], summary["audit"]["second_grader"]
    lines = []
    for name, source in summary["data_sources"].items():
        line = f"{name}: reward {source['reward']}"
        if source["answer_found"] is not None:
            line += f"; an answer was found in {source['answer_found']:.1%} of the responses"
        if gold := golds.get(name):
            line += (
                f"; the ground truth earns the maximum in {gold['asked'] - gold['failed']} of {gold['asked']} "
                f"sampled problems, another problem's in {gold['fooled']} of {gold['others']}"
            )
        if second := seconds.get(name):
            line += (
                f"; {second['grader']} disagrees on {second['disagreed']} of {second['compared']} rollouts "
                f"(95 % interval {second['low']:.1%} to {second['high']:.1%})"
            )
        lines.append(line)
        if second:
            lines += [_side_by_side(source["reward"], second["grader"], example) for example in second["examples"]]
    return lines


def _side_by_side(reward: str, grader: str, example: Mapping[str, Any]) -> str:
    """One rollout that two graders see differently."""
    return (
        f"  data_idx {example['data_idx']!r}, sample_idx {example['sample_idx']}: {reward} {example['reward']:g}, "
        f"{grader} {example['second']:g}; ground truth {example['ground_truth']!r}, response {example['response']!r}"
    )


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
