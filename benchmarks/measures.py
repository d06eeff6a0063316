"""The measures: what the program takes beside its peers, one function for each group of lines of the table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial

import inputs
import processes
from bench import FOLDER, Bench, Row, Side

LOOP = "the published loop, repaired, x cores"
POOL = "Math-Verify per rollout in a pool"


def short_rollouts(bench: Bench) -> Iterator[Row]:
    """A million short rollouts against the published loop, and against verl's scorer alone."""
    source, cores = inputs.SHORT, bench.settings.cores
    rows = bench.sized(1_000_000, 100_000)
    sample = bench.part(source, bench.sized(8, 32))
    sides = {
        "job": bench.program(source, bench.copies(source, rows=rows)),
        "loop": bench.peer("naive_loop", source, sample, inputs.tokenizer(), verl=True),
    }
    found = bench.rounds(sides)
    seen = found.said["loop"]["rollouts"]
    ratio = found.ratio("job", "loop", rows / seen / cores)
    yield Row(
        f"short rollouts ({rows:,}), whole job, vs {LOOP}",
        ratio,
        "x",
        20,
        40,
        True,
        f"{found.told('job', 'loop')}; the loop ({found.said['loop']['engine']}) on {seen:,} of them, scaled",
    )
    if bench.settings.verl_python:
        alone = bench.rounds({"scorer": bench.peer("verl_scorer", source, sample, verl=True)}).said["scorer"]
        rate = alone["rollouts"] / alone["seconds"]
        yield Row(
            "short rollouts, whole job, vs verl's scorer alone x cores (text in memory, no tokens, no files)",
            rows / found.seconds("job") / rate / cores,
            "x",
            None,
            None,
            True,
            f"{rate:,.0f} rollouts/s for each core, {alone['engine']}",
        )


def long_rollouts(bench: Bench) -> Iterator[Row]:
    """Long rollouts against the published loop and the copy floor; then another strategy on the same rollouts."""
    source, cores = inputs.LONG, bench.settings.cores
    rows = bench.sized(50_000, 5_000)
    rollouts, sample = bench.copies(source, rows=rows), bench.part(source, bench.sized(1, 2))
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        first = bench.command(rollouts, folder)
        again = [*first, "--bucketing_strategy", "pass_rate", "--overwrite"]
        processes.run(first)
        job = bench.program(source, rollouts)
        sides = {
            "job": job,
            "second strategy": Side(partial(processes.run, again), job.start, job.key),
            "floor": bench.peer("copy_floor", source, rollouts, FOLDER),
            "loop": bench.peer("naive_loop", source, sample, inputs.tokenizer(), verl=True),
        }
        found = bench.rounds(sides)
    seen = found.said["loop"]["rollouts"]
    ratio = found.ratio("job", "loop", rows / seen / cores)
    told = f"{found.told('job', 'loop')}; the loop ({found.said['loop']['engine']}) on {seen:,} of them, scaled"
    yield Row(f"long rollouts ({rows:,}), whole job, vs {LOOP}", ratio, "x", 20, 40, True, told)
    told = found.told("job", "floor")
    yield Row("long rollouts, whole job, vs copy floor", found.ratio("floor", "job"), "x", 2.0, 1.25, False, told)
    told = found.told("second strategy", "floor")
    ratio = found.ratio("floor", "second strategy")
    yield Row("second strategy on the same rollouts vs copy floor", ratio, "x", 1.3, 1.1, False, told)


def numeric_maths(bench: Bench) -> Iterator[Row]:
    """MATH level 5, where many of a problem's answers are the same."""
    rows = _against_pool(bench, inputs.MATH, bench.part(inputs.MATH, bench.sized(1, 8)))
    yield Row(f"math_l5 with math_verify, whole job, vs {POOL}", rows[0], "x", 6, 15, True, rows[1])


def symbolic_maths(bench: Bench) -> Iterator[Row]:
    """CARP and Gaokao, two samples a problem: nearly no answer is there twice."""
    rows = _against_pool(bench, inputs.SYMBOLIC, bench.part(inputs.SYMBOLIC, bench.sized(1, 2)))
    yield Row(f"carp_en + gaokao with math_verify, whole job, vs {POOL}", rows[0], "x", 1.5, 3, True, rows[1])


def _against_pool(bench: Bench, source: inputs.Source, rollouts: inputs.Path) -> tuple[float, str]:
    found = bench.rounds(
        {
            "job": bench.program(source, rollouts, "--reward_fn", "math_verify"),
            "pool": bench.peer("math_verify_pool", source, rollouts, bench.settings.cores),
        }
    )
    peer = found.said["pool"]
    return found.ratio("job", "pool"), f"{peer['rollouts']:,} rollouts: {found.told('job', 'pool')}; {peer['engine']}"
