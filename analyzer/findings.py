"""The report: the summary put together, and all outputs written as one set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer import buckets, rewards
from analyzer.buckets import Assignment, Strategy
from analyzer.cache.score_files import SourceCount
from analyzer.config import AnalysisSettings
from analyzer.difficulty import metrics, stability
from analyzer.difficulty.stability import Stability
from analyzer.files import outputs
from analyzer.planning.preparation import Prepared, limits_of
from analyzer.rewards import BaseReward, Reward
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import Metrics
from analyzer.stages import audit, summary, write
from analyzer.stages.audit import GoldAudit, SecondOpinion
from analyzer.stages.merge import Merged
from analyzer.stages.read import Input
from analyzer.tokens import TokenCounter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray


class Audit(NamedTuple):
    """What the audit found, by data_source."""

    golds: dict[str, GoldAudit]
    opinions: dict[str, SecondOpinion]


class Findings(NamedTuple):
    """What a run found out: of each rollout, of each problem, and the bucket of each problem."""

    merged: Merged
    metrics: Metrics
    assignment: Assignment
    stability: Stability | None
    audit: Audit


def bucket_stability(
    settings: AnalysisSettings, strategy: Strategy, numbering: Numbering, merged: Merged
) -> Stability | None:
    """How many problems would stay in their buckets if all were sampled again."""

    def place(codes: IntArray, values: FloatArray, problems: int) -> NDArray[np.int8]:
        return buckets.assign(strategy, metrics.problem_metrics(codes, values, problems)).positions

    rank = np.argsort(numbering.order())  # (problems,) so that the order of the rows changes nothing
    return stability.stability(
        place,
        strategy.buckets,
        codes=rank[merged.codes],
        rewards=merged.rewards,
        problems=numbering.problems,
        seed=settings.seed,
    )


def audit_rewards(settings: AnalysisSettings, opened: Input, prepared: Prepared, merged: Merged) -> Audit:
    """Ask whether each reward is right for its data; nothing where the rewards came with the input."""
    if prepared.keep_rewards or prepared.gold_column is None:
        return Audit({}, {})
    source = audit.Source(
        opened.dataset.files,
        prepared.numbering,
        prepared.gold_column,
        "" if prepared.by_column else next(iter(prepared.sources)),
        prepared.rewards,
        limits_of(settings),
        settings.seed,
    )
    golds = audit.audit_golds(source)
    if not settings.audit:
        return Audit(golds, {})
    opinions = audit.second_opinions(
        source,
        lambda rows: merged.rewards[prepared.numbering.positions(rows)],
        TokenCounter(prepared.tokenizer).strip,
        lambda reward: rewards.build(reward.second_grader) if reward.second_grader else None,
    )
    return Audit(golds, opinions)


def summarise(settings: AnalysisSettings, opened: Input, prepared: Prepared, findings: Findings) -> dict[str, Any]:
    """summary.json as a dict: a pure function of the input and the settings."""
    merged, measured, assignment, stable, audited = findings
    overall = metrics.overall_metrics(measured)
    statuses = summary.status_counts(merged.statuses)
    sources = {
        name: summary.SourceReport(_name_of(prepared.rewards[name]), prepared.rewards[name].expects, seen)
        for name, seen in merged.sources.items()
    }
    truncated = summary.truncated_share(opened.dataset, prepared.numbering.kept_ranges(), merged.tokens)
    warnings = [
        *sandbox_warnings(prepared),
        *opened.warnings,
        *summary.input_warnings(opened.replaced, _unused(settings) if prepared.keep_rewards else None),
        *summary.unscored_warnings(statuses, sources),
        *audit.warnings({name: source.reward for name, source in sources.items()}, *audited),
        *summary.low_warnings(sources, overall.mean_pass_rate, opened.dataset.files),
        *summary.truncation_warnings(truncated),
        *assignment.warnings,
    ]
    return {
        "total_problems": prepared.numbering.problems,
        "total_rollouts": len(merged.codes),
        "bucketing_strategy": settings.bucketing_strategy,
        "bucket_distribution": assignment.sizes(),
        "overall_metrics": {
            "mean_pass_rate": summary.number(overall.mean_pass_rate),
            "mean_reward": summary.number(overall.mean_reward),
            "mean@5": summary.number(overall.mean_at_5),
        },
        "stability": None if stable is None else stable._asdict(),
        "reward_status": statuses,
        "data_sources": {
            name: {
                "reward": source.reward,
                "rollouts": source.seen.rows,
                "answer_found": _answer_found(prepared.rewards[name], source.seen),
            }
            for name, source in sources.items()
        },
        "audit": {
            "ground_truths": {name: gold._asdict() for name, gold in audited.golds.items()},
            "second_grader": {name: _plain(opinion) for name, opinion in audited.opinions.items()},
        },
        "response_tokens": summary.token_counts(merged.tokens),
        "truncated": None if truncated is None else round(truncated, 6),
        "settings": {
            "reward_fn_key": settings.reward_fn_key,
            "data_source": settings.data_source,
            "limit": settings.limit,
            "seed": settings.seed,
            "max_unscored": settings.max_unscored,
            "reward_timeout": settings.reward_timeout,
            "reward_memory": settings.reward_memory,
            "rewards_from_input": prepared.keep_rewards,
            "rewards": prepared.parts["rewards"],
        },
        "versions": {"rollout-analyzer": prepared.parts["analyzer"], **prepared.parts["libraries"]},
        "warnings": warnings,
    }


def _name_of(reward: BaseReward) -> str:
    """As the user gave it, without the folder of a file: where it lies is no part of the results."""
    return os.path.basename(str(reward))


def _unused(settings: AnalysisSettings) -> str | None:
    return f"--reward_fn {settings.reward_fn}" if settings.reward_fn else None


def sandbox_warnings(prepared: Prepared) -> list[str]:
    """What the user must be told of the sandbox that programs ran in."""
    from analyzer.grading.sandbox import Level

    levels = {str(reward.options["sandbox"]) for reward in prepared.rewards.values() if "sandbox" in reward.options}
    return [warning for level in sorted(levels) if (warning := Level(level).warning)]


def write_outputs(folder: Path, opened: Input, numbering: Numbering, findings: Findings, said: dict[str, Any]) -> None:
    """Write every output file of a run to an empty folder; `said` is the summary."""
    merged, measured, assignment, *_ = findings
    names, positions = _named(assignment)
    order = numbering.order()
    values = write.RowValues(
        merged.rewards, merged.statuses, merged.tokens, merged.extra, positions[merged.codes].astype(np.int8)
    )
    write.write_rollouts(
        opened.dataset,
        numbering.kept_ranges(),
        values,
        str(folder / outputs.ROLLOUTS),
        [str(folder / outputs.bucket_file(name)) for name in names],
    )
    ids, placed = numbering.ids.to_pylist(), [names[at] for at in positions]
    write.write_metrics(str(folder / outputs.METRICS), ids, measured, order)
    write.write_metrics_table(str(folder / outputs.TABLE), numbering.ids, measured, placed, order)
    write.write_buckets(str(folder / outputs.BUCKETS), ids, placed, order)
    (folder / outputs.SUMMARY).write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")


def _answer_found(reward: BaseReward, seen: SourceCount) -> float | None:
    """The share of responses with an answer; None for a reward that looks at the whole response."""
    return round(seen.found / max(seen.rows, 1), 6) if isinstance(reward, Reward) else None


def _plain(opinion: SecondOpinion) -> dict[str, Any]:
    return opinion._asdict() | {"examples": [example._asdict() for example in opinion.examples]}


def _named(assignment: Assignment) -> tuple[list[str], NDArray[np.int8]]:
    """Bucket names with `unscored` last where there are such problems, and the (problems,) position of each."""
    names = list(assignment.sizes())
    positions = assignment.positions
    if buckets.UNSCORED in names:
        positions = np.where(positions < 0, names.index(buckets.UNSCORED), positions).astype(np.int8)
    return names, positions


def plan_lines(opened: Input, prepared: Prepared) -> list[str]:
    """What --dry_run prints: files, rows, problems, shards, data sources and the reward of each."""
    rows = sum(stop - start for start, stop in prepared.numbering.kept_ranges())
    lines = [
        f"Files: {len(opened.paths)}",
        f"Rollouts: {rows}",
        f"Problems: {prepared.numbering.problems}",
        f"Shards: {prepared.shards.total}",
        f"Tokenizer: {prepared.tokenizer.engine} counts",
    ]
    if prepared.keep_rewards:
        return [*lines, "Rewards: those of the input are kept (--rescore scores anew)"]
    lines.append("Data sources:")
    for name, count in prepared.sources.items():
        lines.append(f"  {name}: {count} rollouts, reward {prepared.rewards[name]}")
    return lines
