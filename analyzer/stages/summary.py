"""summary: what the run found, as one record: summary.json, the block on stdout, and the remarks on stderr."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer.cache.score_files import SourceCount
from analyzer.config import AnalysisSettings
from analyzer.difficulty.counting import count
from analyzer.difficulty.metrics import overall_metrics
from analyzer.difficulty.stability import Stability
from analyzer.errors import percentage, printable
from analyzer.plan import Plan
from analyzer.rewards import BaseReward, Reward, leaves
from analyzer.rollouts.input import Input, unmarked
from analyzer.schema import NOT_COUNTED, NOTHING, STATUSES, Status
from analyzer.stages import audit, problems, warnings
from analyzer.stages.audit import Audit, Disagreement
from analyzer.stages.findings import Findings
from analyzer.stages.merge import Merged
from analyzer.stages.warnings import SourceReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH = 60
_COUNTED_LENGTHS = 1 << 24  # tokens; longer responses than these are sorted instead of counted


class SourceSummary(NamedTuple):
    """One data_source in the summary."""

    reward: str
    rollouts: int
    answer_found: float | None  # share of the responses; None for a reward that looks at the whole response
    pass_rate: float | None  # share of the scored rollouts; None without any
    parts: Mapping[str, float | None] = NOTHING  # of a sum: the mean of each part over the scored rollouts


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run found: a pure function of the input and the settings. The fields are the keys of summary.json."""

    total_problems: int
    total_rollouts: int
    bucketing_strategy: str
    bucket_distribution: Mapping[str, int]  # problems, hardest first
    overall_metrics: Mapping[str, float | None]  # averages over the scored problems
    stability: Stability | None
    difficulty: Mapping[str, Any]  # how hard, how sure, and why: see docs/difficulty.md
    reward_status: Mapping[str, int]  # rollouts
    data_sources: Mapping[str, SourceSummary]
    audit: Audit
    response_tokens: Mapping[str, float]
    truncated: float | None  # share of the rollouts; None where the input does not say
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def unscored_share(self) -> float:
        """The share of rollouts without a reward, 0 to 1."""
        return 1 - self.reward_status.get(Status.OK, 0) / max(sum(self.reward_status.values()), 1)

    @property
    def mostly_unscored_share(self) -> float:
        """The share of problems with more than half of their rollouts without a reward, 0 to 1."""
        return float(self.difficulty["unscored"]["share_mostly_unscored"])

    def to_json(self) -> bytes:
        """summary.json."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        audited = self.audit
        fields["audit"] = {
            "ground_truths": audited.golds,
            "second_grader": audited.opinions,
            "other_rewards": audited.trials,
        }
        return orjson.dumps(_as_json(fields), option=orjson.OPT_INDENT_2) + b"\n"

    def to_text(self) -> str:
        """The block printed on stdout."""
        rule = "=" * _WIDTH
        overall = {name: "n/a" if value is None else f"{value:.3f}" for name, value in self.overall_metrics.items()}
        lines = [
            rule,
            "ANALYSIS SUMMARY",
            rule,
            f"Total problems: {self.total_problems}",
            f"Total rollouts: {self.total_rollouts}",
            f"Bucketing strategy: {self.bucketing_strategy}",
            "",
            "Bucket distribution:",
            *(f"  {name}: {size} problems" for name, size in self.bucket_distribution.items()),
            "",
            "Overall metrics:",
            f"  Mean pass rate: {overall['mean_pass_rate']}",
            f"  Mean reward: {overall['mean_reward']}",
            f"  Mean@5: {overall['mean@5']}",
            rule,
        ]
        return "\n".join(lines) + "\n"

    def remarks(self) -> str:
        """What is printed on stderr after the block: how sure the buckets are, the audit, and the warnings.

        Text of a model is made harmless.
        """
        lines: list[str] = []
        if self.stability is not None:
            lines += ["", "How sure:", f"  {stability_line(self.stability)}"]
        if remarks := self.difficulty["remarks"]:
            lines += ["", "Difficulty:", *(f"  {printable(line)}" for line in remarks)]
        if audited := audit_lines(self):
            lines += ["", "Audit:", *(f"  {printable(line)}" for line in audited)]
        if self.warnings:
            lines += ["", "Warnings:", *(f"  - {printable(warning)}" for warning in self.warnings)]
        return "".join(line + "\n" for line in lines)


def summarise(settings: AnalysisSettings, opened: Input, plan: Plan, findings: Findings) -> Summary:
    """Put together what the stages before this one found."""
    numbering, merged, metrics, assignment, stability, audited, measured, _ = findings
    overall = overall_metrics(metrics)
    statuses = status_counts(merged.statuses)
    # The reward as the user gave it, without the folder of a file: summary.json is the same wherever that lies.
    reports = {
        name: SourceReport(os.path.basename(str(plan.rewards[name])), plan.rewards[name].expects, seen)
        for name, seen in merged.sources.items()
        if not plan.keep_rewards
    }
    return Summary(
        total_problems=numbering.problems,
        total_rollouts=len(merged.codes),
        bucketing_strategy=settings.bucketing_strategy,
        bucket_distribution=assignment.sizes(),
        overall_metrics={
            "mean_pass_rate": number(overall.mean_pass_rate),
            "mean_reward": number(overall.mean_reward),
            "mean@5": number(overall.mean_at_5),
        },
        stability=stability,
        difficulty=measured.report,
        reward_status=statuses,
        data_sources={
            name: SourceSummary(
                report.reward,
                report.seen.rows,
                _answer_found(plan.rewards[name], report.seen),
                _pass_rate(audited, name),
                _part_means(plan.rewards[name], name, merged),
            )
            for name, report in reports.items()
        },
        audit=audited,
        response_tokens=token_counts(merged.tokens),
        truncated=None if audited.cut is None else round(audited.cut.cut_share, 6),
        settings=_decisive(settings, plan),
        versions=plan.versions,
        warnings=_all_warnings(settings, opened, plan, findings, statuses=statuses, reports=reports),
    )


def _decisive(settings: AnalysisSettings, plan: Plan) -> dict[str, Any]:
    """The settings that the results depend on, and none of the machine: summary.json is the same everywhere."""
    return {
        "reward_fn_key": settings.reward_fn_key,
        "data_source": settings.data_source,
        "limit": settings.limit,
        "seed": settings.seed,
        "max_unscored": settings.max_unscored,
        "pass_threshold": settings.pass_threshold,
        "top_up": settings.top_up,
        "reward_timeout": settings.reward_timeout,
        "reward_memory": settings.reward_memory,
        "rewards_from_input": plan.keep_rewards,
        "rewards": plan.parts["rewards"],
    }


def _all_warnings(
    settings: AnalysisSettings,
    opened: Input,
    plan: Plan,
    findings: Findings,
    *,
    statuses: Mapping[str, int],
    reports: Mapping[str, SourceReport],
) -> tuple[str, ...]:
    """In the order of the run, so that what is wrong with the input comes before what may follow from it."""
    choosing = (
        (settings.reward_fn, f"--reward_fn {settings.reward_fn}"),
        (settings.reward_routes, "--reward_routes"),
        (settings.data_source, f"--data_source {settings.data_source}"),
    )
    grading = ("allow_code_execution", "reward_timeout", "reward_memory")  # of a second grader, too
    usual = {field.name: field.default for field in dataclasses.fields(settings)}
    given = [f"--{name}" for name in grading if getattr(settings, name) != usual[name] and not settings.audit]
    unused = [*(flag for value, flag in choosing if value), *given] if plan.keep_rewards else []
    merged, rewards = findings.merged, leaves(plan.rewards.values())
    of_programs = (
        warnings.program_warnings(merged.codes, merged.extra, merged.extra_texts)
        if any("sandbox" in reward.options for reward in rewards)
        else []
    )
    return (
        *warnings.sandbox_warnings(rewards),
        *opened.warnings,
        *warnings.policy_warnings([] if settings.pool else opened.policies()),
        *findings.collisions,
        *warnings.input_warnings(opened.replaced, unused),
        *warnings.overruled_warnings(settings.data_source, plan.overruled),
        *problems.replaced_warnings(opened.dataset.schema),
        *warnings.unmarked_warnings(unmarked(opened)),
        *warnings.uncounted_warnings(settings.model_path, opened.texts),
        *warnings.unscored_warnings(statuses, reports, warnings.struct_remedy(opened.dataset, plan.gold_column)),
        *of_programs,
        *audit.warnings(
            {name: report.reward for name, report in reports.items()},
            {name: report.expects for name, report in reports.items()},
            findings.audit,
        ),
        *warnings.truncation_warnings(findings.audit.cut),
        *findings.assignment.warnings,
    )


def _answer_found(reward: BaseReward, seen: SourceCount) -> float | None:
    """The share of responses with an answer; None for a reward that looks at the whole response."""
    has_answer = isinstance(reward.decider, Reward) and reward.decider.needs_gold
    return round(seen.found / max(seen.rows, 1), 6) if has_answer else None


def _part_means(reward: BaseReward, name: str, merged: Merged) -> dict[str, float | None]:
    """The mean of each part of a sum over the scored rollouts of one data_source; empty for any other reward."""
    if not reward.parts or name not in merged.source_names:
        return {}
    those = (merged.source[merged.codes] == merged.source_names.index(name)) & ~np.isnan(merged.rewards)
    # Over scored rollouts, as the mean of the sum is: of an unscored one some part failed.
    means = {part.name: merged.parts[part.name][those] for part in reward.parts if part.name in merged.parts}
    return {
        part: round(math.fsum(given.tolist()) / len(given), 6) if len(given) else None for part, given in means.items()
    }


def _pass_rate(audited: Audit, name: str) -> float | None:
    rate = audited.tallies[name].pass_rate
    return None if rate is None else round(rate, 6)


def _as_json(value: Any) -> Any:
    """Records as JSON objects, whatever they are nested in."""
    # Records inside of records: orjson takes no NamedTuple, and json would write them as lists.
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


def status_counts(statuses: NDArray[np.int8]) -> dict[str, int]:
    """Rollouts by reward_status, those that occur, `ok` first."""
    counts = count(statuses, len(STATUSES))  # np.bincount copies all statuses as 64 bits
    return {str(status): int(n) for status, n in zip(STATUSES, counts, strict=True) if n}


def token_counts(tokens: NDArray[np.int32]) -> dict[str, float]:
    """Mean, median, 95th percentile and maximum of the response lengths, in tokens."""
    # Tokens are counted for all rollouts or for none, so the first one tells.
    if len(tokens) == 0 or tokens[0] == NOT_COUNTED:
        return {}
    middle, high = percentiles(tokens, (50, 95))
    return {
        "mean": round(float(tokens.sum(dtype=np.int64) / len(tokens)), 3),
        "median": int(middle),
        "p95": int(high),
        "max": int(tokens.max()),
    }


def percentiles(tokens: NDArray[np.int32], wanted: Sequence[float]) -> list[int]:
    """Percentiles of lengths, each a length that occurs: np.percentile of method nearest.

    By counting, for to sort 100 million lengths takes a copy of them.
    """
    if tokens.min() < 0 or tokens.max() >= _COUNTED_LENGTHS:
        return [int(length) for length in np.percentile(tokens, list(wanted), method="nearest")]
    upto = np.cumsum(count(tokens, int(tokens.max()) + 1))
    places = np.around((len(tokens) - 1) * np.true_divide(list(wanted), 100))
    return [int(length) for length in np.searchsorted(upto, places, side="right")]


def number(value: float) -> float | None:
    """A float for JSON: NaN as None."""
    return None if math.isnan(value) else value


def stability_line(stability: Stability) -> str:
    """What another set of rollouts would change, in one sentence."""
    if stability.same_bucket is None or stability.same_or_next_bucket is None or stability.margin is None:
        return f"unknown: {stability.reason}"
    by_bucket = ", ".join(f"{name} {percentage(share)}" for name, share in stability.by_bucket.items())
    # The margin is symmetric, a share is not: it ends at 0 and 1.
    low, high = max(stability.same_bucket - stability.margin, 0), min(stability.same_bucket + stability.margin, 1)
    return (
        f"if you resampled, about {percentage(stability.same_bucket)} ({percentage(low)} to {percentage(high)}) of "
        f"the problems would land in "
        f"the same bucket ({by_bucket}), {percentage(stability.same_or_next_bucket)} in the same or the next; more "
        f"samples per "
        "problem raise this"
    )


def audit_lines(summary: Summary) -> list[str]:
    """For each data_source: answers found, ground truths that earn the maximum, the second grader with its examples."""
    golds, seconds = summary.audit.golds, summary.audit.opinions
    lines = []
    for name, source in summary.data_sources.items():
        line = f"{name}: reward {source.reward}"
        if source.answer_found is not None:
            line += f"; an answer was found in {percentage(source.answer_found, 1)} of the responses"
        if source.pass_rate is not None:
            line += f"; pass rate {source.pass_rate:.3f}"
            of_problems = summary.difficulty["data_sources"].get(name, {}).get("pass_rate")
            if of_problems is not None and f"{of_problems:.3f}" != f"{source.pass_rate:.3f}":
                line += f" of its rollouts, {of_problems:.3f} on average over its problems"
        if source.parts:
            means = (f"{part} {mean:.3f}" for part, mean in source.parts.items() if mean is not None)
            line += f"; means of the parts: {', '.join(means)}"
        if gold := golds.get(name):
            line += (
                f"; the correct answer scores full marks in {gold.asked - gold.failed} of {gold.asked} sampled problems"
            )
            line += f", another problem's answer in {gold.fooled} of {gold.others}" if gold.others else ""
        if second := seconds.get(name):
            line += (
                f"; {second.grader} disagrees on {second.disagreed} of {second.compared} rollouts "
                f"(95 % interval {percentage(second.low, 1)} to {percentage(second.high, 1)})"
            )
        lines.append(line)
        if second:
            lines += [_side_by_side(source.reward, second.grader, example) for example in second.examples]
    return lines


def _side_by_side(reward: str, grader: str, example: Disagreement) -> str:
    """One rollout that two graders see differently."""
    read = [
        f"{name} read {answer!r}" if answer is not None else f"{name} read nothing"
        for name, answer in ((reward, example.answer), (grader, example.second_answer))
    ]
    cut = ", which was cut off" if example.cut_off else ""
    return (
        f"  data_idx {example.data_idx!r}, sample_idx {example.sample_idx}: {reward} {example.reward:g}, "
        f"{grader} {example.second:g}; ground truth {example.ground_truth!r}, response {example.response!r}{cut}; "
        + ", ".join(read)
    )
