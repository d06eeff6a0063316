"""The pipeline, one way: read, plan, score, merge, metrics, bucket, estimate, audit, summary, write."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from analyzer import buckets, planning, proc, report, scoring
from analyzer.buckets import Assignment, Strategy
from analyzer.cache import known_tokenizers, place, runs, verdicts
from analyzer.cache.known_tokenizers import Search, TokenizerDiffers
from analyzer.cache.runs import Run
from analyzer.config import AnalysisSettings
from analyzer.difficulty.metrics import problem_metrics
from analyzer.errors import OutputError, TokenizerError
from analyzer.files.outputs import PROVENANCE, ROLLOUTS, TIMINGS, OutputFolder
from analyzer.plan import Plan
from analyzer.progress import Bar, Clock
from analyzer.result import Result
from analyzer.rollouts import sources
from analyzer.rollouts.input import Input
from analyzer.rollouts.numbering import Numbering
from analyzer.rollouts.sizes import USUAL, Sizes
from analyzer.schema import Metrics
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
from analyzer.stages.merge import Merged
from analyzer.stages.summary import Summary
from analyzer.workers import backends
from analyzer.workers.executor import Work, run_shards

MOST_BEFORE_REWARDS = 1 << 30
"""Bytes of rollouts up to which scattered rows are gathered before it is known that the rewards can be loaded."""


def analyze(
    settings: AnalysisSettings,
    progress: bool = True,
    sizes: Sizes = USUAL,
    *,
    grown: bool = False,
    planned: Callable[[Plan, Input, Numbering], None] = lambda plan, opened, numbering: None,
) -> Result | None:
    """Analyze rollouts; returns None for a --part, which scores its share and writes no outputs.

    grown: the outputs in the folder are of fewer of these rollouts, and are replaced where nothing else differs.
    planned: called before anything is scored, to refuse what follows from the plan and the input.
    Raises the errors of analyzer.errors; `exit_code` of each says how the command ends.
    """
    strategy = buckets.build(settings.bucketing_strategy, settings.seed)
    part = settings.shards_of_part
    cache_dir = place.cache_folder(settings.cache_dir, settings.shared_cache)
    # A tokenizer that is new is proven in a process of its own while all else goes on; see cache/tokenizer_proof.py.
    with (
        _ONE_AT_A_TIME,
        known_tokenizers.searching(settings.model_path, settings.trust_remote_code, cache_dir) as search,
        Clock(progress) as clock,
    ):
        call = Call(settings, strategy, part, cache_dir, search, clock, progress, sizes, grown, planned)
        try:
            return _analyze(call)
        except TokenizerDiffers:
            if progress:
                print(_COUNTED_AGAIN.format(settings.model_path), file=sys.stderr, flush=True)
            return _analyze(call)
        finally:
            backends.end(settings.workers)
            scoring.end_rewards()


# Of each there is one in a process: joblib's pool, what its workers are forked from, the children that grade.
_ONE_AT_A_TIME = threading.RLock()
_COUNTED_AGAIN = (
    "{}: transformers counts tokens otherwise than tokenizer.json by itself; what was counted is counted again, as "
    "transformers does"
)


class Call(NamedTuple):
    """One call of `analyze`."""

    settings: AnalysisSettings
    strategy: Strategy
    part: slice  # of the shards
    cache_dir: str
    search: Search  # for what counts tokens
    clock: Clock
    progress: bool
    sizes: Sizes
    grown: bool
    planned: Callable[[Plan, Input, Numbering], None]


def _analyze(call: Call) -> Result | None:
    """Both halves. Raises TokenizerDiffers where tokens were counted wrongly; the next call then counts them right."""
    try:
        scored = _score(call)
    except (TokenizerError, OutputError):  # may be wrong where the tokenizer is
        call.search.settle()
        raise
    if call.settings.part is not None:
        call.search.settle()
        return None
    return _measure(call, scored)


class Scored(NamedTuple):
    """A run whose rollouts are scored, all or those of --part."""

    opened: Input
    numbering: Numbering
    plan: Plan
    outputs: OutputFolder
    run: Run
    now: int  # rollouts scored by this call
    reused: int  # rollouts whose scores an earlier run had committed


def _settled(call: Call, opened: Input) -> tuple[Numbering, Plan, OutputFolder]:
    """How this input is scored, and where the outputs go; whatever would stop the run is found before it begins."""
    settings, search, sizes = call.settings, call.search, call.sizes
    scoring.announce_rewards()
    # There will be work for several workers, unless a run of this input is there already: they load meanwhile.
    is_large = settings.limit is None and opened.dataset.bytes >= sizes.ahead
    if is_large and not runs.is_known(call.cache_dir, opened.identity):
        backends.begin(settings.workers, functools.partial(score.warm_up, search.likely()))
    else:
        backends.end(settings.workers)  # a command may have started them
    numbering = planning.number_problems(opened.dataset, settings.limit)
    plan = planning.make_plan(settings, opened, numbering, search, sizes)
    if call.progress and (kept := plan.kept_note()):
        print(kept, file=sys.stderr, flush=True)
    outputs = planning.output_folder(settings, plan)
    if call.grown:
        outputs = outputs._replace(regardless=frozenset({"input", "limit"}))
    names = [*call.strategy.buckets, buckets.UNSCORED]
    outputs.check(settings.overwrite, names, settings.rollouts, opened.paths)
    if settings.outputs != "all" and not settings.overwrite:
        outputs.check_kept(ROLLOUTS, "--outputs problems")
    call.planned(plan, opened, numbering)
    return numbering, plan, outputs


def _score(call: Call) -> Scored:
    """Read, plan, score: the half that takes hours, and that a killed run resumes."""
    settings, cache_dir, search, clock = call.settings, call.cache_dir, call.search, call.clock
    with clock("read"):
        opened = read.open_rollouts(settings.reading, cache_dir)
        if call.progress:
            opened.print_notes()
    with clock("plan"):
        numbering, plan, outputs = _settled(call, opened)
        run = runs.open_run(cache_dir, plan.parts)
        wanted = range(plan.total)[call.part]
        if left := run.missing(wanted):
            # Rewards are loaded and workers start while the driver gathers scattered rows.
            warm = functools.partial(score.warm_up, plan.tokenizer)
            with (
                scoring.starting(plan.rewards.values(), plan.limits) as started,
                backends.warmed(settings.workers, len(left), warm),
            ):
                verdicts.tidy(cache_dir)
                collisions.look(plan, numbering)
                if opened.dataset.bytes > MOST_BEFORE_REWARDS:
                    started.result()
                spill.spill(plan, opened, numbering, run.folder)
                plan.save(run.folder)
    with clock("score"):
        missing = functools.partial(run.missing, wanted)
        with Bar(plan.shard_rows, wanted, missing(), call.progress, run.again) as bar:
            workers = settings.workers._replace(code=plan.scoring_code)
            seal = plan.seal._replace(elsewhere=workers.elsewhere)
            score_shard = functools.partial(score.score_shard, seal)
            if left and settings.part is None and not settings.no_report:
                # Workers score, and this process waits.
                threading.Thread(target=report.layout, daemon=True).start()
            work = Work(score_shard, score.end_worker, run.folder, missing, bar.committed, search.check)
            run_shards(work, workers)
        search.hurry()
        # Before anything is merged: of an input that was written while workers read it, scores are of both versions.
        opened.still_same()
    return Scored(opened, numbering, plan, outputs, run, bar.scored, bar.reused)


def _measure(call: Call, scored: Scored) -> Result:
    """Merge, metrics, buckets, what is known of them, and the files: seconds, in this process."""
    settings, strategy, clock = call.settings, call.strategy, call.clock
    opened, numbering, plan, outputs, run, *_ = scored
    with clock("merge"):
        merged = merge.merge_shards(run.shards_folder, plan.total, numbering, settings.pass_threshold)
        collided = collisions.check(plan, numbering, merged)
        proc.give_back_memory()  # what the files of scores took
    with clock("metrics"):
        metrics = problem_metrics(merged.codes, merged.rewards, numbering.problems, merged.passing, merged.parts)
    with clock("bucket"):
        assignment = buckets.assign(strategy, metrics)
        proc.give_back_memory()
    # All outputs are made aside and replace the old set at the end: until then the folder holds the earlier analysis.
    # Compressing the text takes longest, and needs no more than the buckets: it goes on beside what follows.
    texts = settings.outputs == "all"
    with (
        outputs.staged(settings.overwrite) as folder,
        write.passing(
            folder, opened.dataset, numbering, merged, assignment, reward_fn_key=settings.reward_fn_key, texts=texts
        ) as passed,
    ):
        findings, summed_up = _findings(call, scored, merged, collided, metrics=metrics, assignment=assignment)
        findings = findings._replace(merged=merged.for_files())
        del merged  # of 100 million rollouts, 600 MB that no file is made of
        with clock("write"):
            write.write_outputs(folder, passed, findings, summed_up.to_json())
            # The report reads what it shows from these files: of 6 million problems, 1 GB need not be there twice.
            del findings, metrics, assignment
            proc.give_back_memory()
            (folder / PROVENANCE).write_bytes(provenance.provenance(settings, plan, opened))
            if not settings.no_report:
                # Drawn from the rollouts that were read where the folder has none, or where all are in memory.
                seen = report.Seen(passed.rewarded, numbering) if passed.rewarded.held or not texts else None
                report.write_report(folder, seed=settings.seed, seen=seen)
            clock.write(folder / TIMINGS)
            opened.still_same()
            call.search.settle()
    return Result(settings.output_dir, summed_up, settings.max_unscored, scored.now, scored.reused, settings.outputs)


def _findings(
    call: Call, scored: Scored, merged: Merged, collided: tuple[str, ...], *, metrics: Metrics, assignment: Assignment
) -> tuple[Findings, Summary]:
    """Everything about the rollouts besides their rewards and buckets, and its summary."""
    settings, strategy, clock = call.settings, call.strategy, call.clock
    opened, numbering, plan, _, run, *_ = scored
    with clock("estimate"):
        stability = estimate.bucket_stability(strategy, numbering, merged, settings.seed)
        cut = sources.cut_off(opened.dataset, numbering.kept_ranges(), merged.tokens)
        analyzed = difficulty.Analysed(
            settings, plan, opened.dataset, numbering, merged, metrics, strategy, assignment, cut
        )
        measured = difficulty.measure(analyzed)
        proc.give_back_memory()
    with clock("audit"):
        audited = audit.audit_rewards(
            settings, plan, opened.dataset, numbering, merged, cache_dir=runs.cache_of(run.folder), cut=cut
        )
    with clock("summary"):
        findings = Findings(numbering, merged, metrics, assignment, stability, audited, measured, collided)
        return findings, summary.summarise(settings, opened, plan, findings)


def explain(settings: AnalysisSettings, sizes: Sizes = USUAL) -> list[str]:
    """The lines of --dry_run or --explain_cache; nothing is scored."""
    buckets.build(settings.bucketing_strategy, settings.seed)
    cache_dir = place.cache_folder(settings.cache_dir, settings.shared_cache)
    opened = read.open_rollouts(settings.reading, cache_dir)
    opened.print_notes()
    numbering = planning.number_problems(opened.dataset, settings.limit)
    with known_tokenizers.searching(settings.model_path, settings.trust_remote_code, cache_dir) as search:
        plan = planning.make_plan(settings, opened, numbering, search, sizes)
        try:
            search.settle()
        except TokenizerDiffers:
            plan = planning.make_plan(settings, opened, numbering, search, sizes)
    if settings.explain_cache:
        return runs.explain(cache_dir, plan.parts)
    try:
        scoring.start_rewards(plan.rewards.values(), plan.limits)
    finally:
        scoring.end_rewards()
    return plan.lines(numbering.problems)
