"""The pipeline: read -> plan -> score -> merge -> metrics -> bucket -> write -> summary, in that order and one way."""

from __future__ import annotations

import functools

from analyzer import buckets, findings
from analyzer.cache import runs
from analyzer.config import AnalysisSettings
from analyzer.difficulty import metrics
from analyzer.files.outputs import TIMINGS, OutputFolder
from analyzer.planning import preparation
from analyzer.progress import Bar, Clock
from analyzer.result import Result
from analyzer.stages import merge, read, score
from analyzer.workers.executor import Work, run_shards


def analyze(settings: AnalysisSettings, progress: bool = True) -> Result | None:
    """Analyse rollouts; returns None for a --part, which scores its share and writes no outputs.

    Raises the errors of analyzer.errors; `exit_code` of each says how the command ends.
    """
    try:
        return _analyze(settings, progress)
    finally:
        preparation.end_rewards()


def _analyze(settings: AnalysisSettings, progress: bool) -> Result | None:
    clock = Clock()
    strategy = buckets.build(settings.bucketing_strategy, settings.seed)
    backend, part = preparation.backend_of(settings), preparation.part_of(settings.part)
    cache_dir = runs.cache_folder(settings.cache_dir)

    with clock("read"):
        opened = read.open_input(settings.rollouts, cache_dir)
    with clock("plan"):
        prepared = preparation.prepare(settings, opened, cache_dir)
        outputs = OutputFolder(settings.output_dir, preparation.output_parts(settings, prepared))
        names = [*strategy.buckets, buckets.UNSCORED]
        outputs.check(settings.overwrite, names, settings.rollouts, opened.paths)
        run = runs.open_run(cache_dir, prepared.parts)
        if not run.is_scored(part):
            preparation.start_rewards(prepared.rewards, preparation.limits_of(settings))
        shards = preparation.write_job(run, settings, opened, prepared)

    with clock("score"):
        wanted = range(shards.total)[part]
        missing = functools.partial(run.missing, wanted)
        with Bar(shards.rows(), wanted, missing(), progress, run.again) as bar:
            work = Work(score.score_shard, score.end_worker, run.job_path, missing, bar.committed)
            run_shards(work, backend)
        read.still_same(opened.paths, opened.identity)
    if settings.part is not None:
        return None

    numbering = prepared.numbering
    with clock("merge"):
        merged = merge.merge_shards(run.shards_folder, shards.total, numbering)
    with clock("metrics"):
        measured = metrics.problem_metrics(merged.codes, merged.rewards, numbering.problems)
    with clock("bucket"):
        assignment = buckets.assign(strategy, measured)
    with clock("stability"):
        stable = findings.bucket_stability(settings, strategy, numbering, merged)
    with clock("audit"):
        audited = findings.audit_rewards(settings, opened, prepared, merged)
    with clock("write"), outputs.staged() as folder:
        found = findings.Findings(merged, measured, assignment, stable, audited)
        summary = findings.summarise(settings, opened, prepared, found)
        findings.write_outputs(folder, opened, numbering, found, summary)
        clock.write(folder / TIMINGS)
        read.still_same(opened.paths, opened.identity)
    return Result(settings.output_dir, summary, settings.max_unscored, bar.scored, bar.reused)


def explain(settings: AnalysisSettings) -> list[str]:
    """The lines of --dry_run or --explain_cache; nothing is scored."""
    buckets.build(settings.bucketing_strategy, settings.seed)
    cache_dir = runs.cache_folder(settings.cache_dir)
    opened = read.open_input(settings.rollouts, cache_dir)
    prepared = preparation.prepare(settings, opened, cache_dir)
    if settings.explain_cache:
        return runs.explain(cache_dir, prepared.parts)
    preparation.start_rewards(prepared.rewards, preparation.limits_of(settings))
    preparation.end_rewards()
    return findings.plan_lines(opened, prepared)
