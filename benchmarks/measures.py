"""The measures: what the program takes beside its peers, one function for each group of lines of the table."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import inputs
import processes
from bench import FOLDER, Bars, Bench, Rounds, Row, Side


def short_rollouts(bench: Bench) -> Iterator[Row]:
    """A million short rollouts against the published loop, and against verl's scorer alone."""
    source, cores = inputs.SHORT, bench.settings.cores
    rows = bench.sized(1_000_000, 200_000)
    sample = bench.part(source, bench.sized(2, 4))
    found = bench.rounds(
        {
            "job": bench.program(source, bench.copies(source, rows=rows)),
            "loop": _loop(bench, source, sample),
        }
    )
    yield _against_loop(found, f"short rollouts ({rows:,})", rows, cores)
    if bench.settings.verl_python:
        alone = json.loads(bench.peer("verl_scorer", source, sample, verl=True).run().stdout)
        rate = alone["rollouts"] / alone["seconds"]
        yield Row(
            "the same vs verl's scorer alone x cores (text in memory, no tokens, no files)",
            rows / found.median("job").seconds / rate / cores,
            "x",
            None,
            f"{rate:,.0f} rollouts/s for each core, {alone['engine']}",
        )


def long_rollouts(bench: Bench) -> Iterator[Row]:
    """Long rollouts against the published loop and the copy floor; then another strategy on the same rollouts."""
    source, cores = inputs.LONG, bench.settings.cores
    rows = bench.sized(50_000, 10_000)
    rollouts, sample = bench.copies(source, rows=rows), bench.part(source, 1)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        found = bench.rounds(
            {
                "job": bench.program(source, rollouts),
                "second strategy": _second_strategy(bench, folder, rollouts, bench.part(source, 0)),
                "floor": bench.peer("copy_floor", source, rollouts, FOLDER),
                "loop": _loop(bench, source, sample),
            }
        )
    yield _against_loop(found, f"long rollouts ({rows:,})", rows, cores)
    for name, measure, bars in (
        ("job", "long rollouts, whole job, vs copy floor", Bars(2.0, 1.25, False)),
        ("second strategy", "second strategy on the same rollouts vs copy floor", Bars(1.3, 1.1, False)),
    ):
        ratio = found.ratio("floor", name)
        yield Row(measure, ratio.clock, "x", bars, found.told(name, "floor"), ratio.cpu)


def _second_strategy(bench: Bench, folder: str, rollouts: Path, first: Path) -> Side:
    """Another strategy where all rollouts are scored; its start is the same on one problem that is scored."""
    sides = []
    for path, flags in ((rollouts, ()), (first, ("--limit", "1"))):
        command = bench.command(path, f"{folder}/{path.stem}", *flags)
        processes.run(command)
        sides.append(partial(processes.run, [*command, "--bucketing_strategy", "pass_rate", "--overwrite"]))
    return Side(*sides, "second strategy")


def _loop(bench: Bench, source: inputs.Source, sample: Path) -> Side:
    """The published loop, with verl where there is one: it then fails rather than do without."""
    flags = ("--verl",) if bench.settings.verl_python else ()
    return bench.peer("naive_loop", source, sample, inputs.tokenizer(), *flags, verl=True)


def _against_loop(found: Rounds, what: str, rows: int, cores: int) -> Row:
    """The loop is one process and ran on a part of the rollouts: it is given as many as there are cores, and scaled."""
    loop = found.said["loop"]
    ratio = found.ratio("job", "loop").scaled(rows / loop["rollouts"])
    told = f"{found.told('job', 'loop')}; the loop ({loop['engine']}) on {loop['rollouts']:,} of them, scaled"
    measure = f"{what}, whole job, vs the published loop, repaired, x cores"
    return Row(measure, ratio.clock / cores, "x", Bars(20, 40), told, ratio.cpu)


def numeric_maths(bench: Bench) -> Iterator[Row]:
    """MATH level 5, where many of a problem's answers are the same."""
    yield _against_pool(bench, inputs.MATH, bench.sized(1, 8), "math_l5_zeroeval", Bars(6, 15))


def symbolic_maths(bench: Bench) -> Iterator[Row]:
    """CARP and Gaokao, two samples a problem: nearly no answer is there twice."""
    yield _against_pool(bench, inputs.SYMBOLIC, bench.sized(1, 2), "carp_en + gaokao", Bars(1.5, 3))


def _against_pool(bench: Bench, source: inputs.Source, every: int, what: str, bars: Bars) -> Row:
    rollouts = bench.part(source, every)
    found = bench.rounds(
        {
            "job": bench.program(source, rollouts, "--reward_fn", "math_verify"),
            "pool": bench.peer("math_verify_pool", source, rollouts, bench.settings.cores),
        }
    )
    pool, ratio = found.said["pool"], found.ratio("job", "pool")
    told = f"{pool['rollouts']:,} rollouts: {found.told('job', 'pool')}; {pool['engine']}"
    measure = f"{what} with math_verify, whole job, vs Math-Verify per rollout in a pool"
    return Row(measure, ratio.clock, "x", bars, told, ratio.cpu)
