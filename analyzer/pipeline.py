"""The pipeline, one way: read, plan, score, merge, metrics, bucket, estimate, audit, summary, write."""

from __future__ import annotations

import functools

from analyzer import buckets, planning, report, scoring
from analyzer.cache import runs
from analyzer.config import AnalysisSettings
from analyzer.difficulty.metrics import problem_metrics
from analyzer.files.outputs import PROVENANCE, TIMINGS
from analyzer.progress import Bar, Clock
from analyzer.result import Result
from analyzer.stages import (
    audit,
    collisions,
    difficulty,
    estimate,
    merge,
    provenance,
    read,
    score,
    spill,
    summary,
    write,
)
from analyzer.stages.findings import Findings
from analyzer.workers.executor import Work, run_shards


def analyze(settings: AnalysisSettings, progress: bool = True) -> Result | None:
    """Analyse rollouts; returns None for a --part, which scores its share and writes no outputs.

    Raises the errors of analyzer.errors; `exit_code` of each says how the command ends.
    """
    try:
        return _analyze(settings, progress)
    finally:
        scoring.end_rewards()


def _analyze(settings: AnalysisSettings, progress: bool) -> Result | None:
    clock = Clock()
    strategy = buckets.build(settings.bucketing_strategy, settings.seed)
    part = settings.shards_of_part
    cache_dir = runs.cache_folder(settings.cache_dir, settings.shared_cache)

    with clock("read"):
        opened = read.open_rollouts(settings.reading, cache_dir)
        if progress:
            opened.tell()
    with clock("plan"):
        numbering = planning.number_problems(opened.dataset, settings.limit)
        plan = planning.make_plan(settings, opened, numbering, cache_dir)
        outputs = planning.output_folder(settings, plan)
        outputs.check(settings.overwrite, [*strategy.buckets, buckets.UNSCORED], settings.rollouts, opened.paths)
        run = runs.open_run(cache_dir, plan.parts)
        wanted = range(plan.total)[part]
        if run.missing(wanted):
            collisions.look(plan, numbering)
            scoring.start_rewards(plan.rewards.values(), plan.limits)
            spill.spill(plan, opened, numbering, run.folder)
            plan.save(run.folder)
    with clock("score"):
        missing = functools.partial(run.missing, wanted)
        with Bar(plan.shard_rows, wanted, missing(), progress, run.again) as bar:
            score_shard = functools.partial(score.score_shard, plan.seal)
            run_shards(Work(score_shard, score.end_worker, run.folder, missing, bar.committed), settings.workers)
        opened.still_same()
    if settings.part is not None:
        return None

    with clock("merge"):
        merged = merge.merge_shards(run.shards_folder, plan.total, numbering, settings.pass_threshold)
        collided = collisions.check(plan, numbering, merged)
    with clock("metrics"):
        metrics = problem_metrics(merged.codes, merged.rewards, numbering.problems, settings.pass_threshold)
    with clock("bucket"):
        assignment = buckets.assign(strategy, metrics)
    with clock("estimate"):
        stability = estimate.bucket_stability(strategy, numbering, merged, settings.seed, settings.pass_threshold)
        analysed = difficulty.Analysed(settings, plan, opened.dataset, numbering, merged, metrics, strategy, assignment)
        measured = difficulty.measure(analysed)
    with clock("audit"):
        audited = audit.audit_rewards(settings, plan, opened.dataset, numbering, merged)
    with clock("summary"):
        findings = Findings(numbering, merged, metrics, assignment, stability, audited, measured, collided)
        summed_up = summary.summarise(settings, opened, plan, findings)
    with clock("write"), outputs.staged() as folder:
        write.write_outputs(folder, opened.dataset, findings, summed_up.to_json(), settings.reward_fn_key)
        (folder / PROVENANCE).write_bytes(provenance.provenance(settings, plan, opened))
        if not settings.no_report:
            report.write_report(folder, seed=settings.seed)
        clock.write(folder / TIMINGS)
        opened.still_same()
    return Result(settings.output_dir, summed_up, settings.max_unscored, bar.scored, bar.reused)


def explain(settings: AnalysisSettings) -> list[str]:
    """The lines of --dry_run or --explain_cache; nothing is scored."""
    buckets.build(settings.bucketing_strategy, settings.seed)
    cache_dir = runs.cache_folder(settings.cache_dir, settings.shared_cache)
    opened = read.open_rollouts(settings.reading, cache_dir)
    opened.tell()
    numbering = planning.number_problems(opened.dataset, settings.limit)
    plan = planning.make_plan(settings, opened, numbering, cache_dir)
    if settings.explain_cache:
        return runs.explain(cache_dir, plan.parts)
    try:
        scoring.start_rewards(plan.rewards.values(), plan.limits)
    finally:
        scoring.end_rewards()
    return plan.lines(numbering.problems)
