"""The measures: what the program takes beside its peers, one function for each group of lines of the table."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import inputs
import processes
from bench import FOLDER, Bars, Bench, Rounds, Row, Side

MATH_VERIFY = ("--reward_fn", "math_verify")


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
        job = found.median("job").seconds
        alone = json.loads(bench.peer("verl_scorer", source, sample, verl=True).run().stdout)
        rate = alone["rollouts"] / alone["seconds"]
        yield Row(
            "the same vs verl's scorer alone x cores (text in memory, no tokens, no files)",
            rows / job / rate / cores,
            "x",
            None,
            f"{rate:,.0f} rollouts/s for each core, {alone['engine']}",
            without_start=rows / (job - found.starts["job"].seconds) / rate / cores,
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
        ("job", "long rollouts, whole job, vs copy floor", Bars(1.8, 1.55, False)),
        ("second strategy", "second strategy on the same rollouts vs copy floor", Bars(1.3, 1.1, False)),
    ):
        yield found.row(measure, (name, "floor"), bars)


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
    loop = found.printed["loop"]
    detail = f"the loop ({loop['engine']}) on {loop['rollouts']:,} of them, scaled"
    measure = f"{what}, whole job, vs the published loop, repaired, x cores"
    return found.row(measure, ("loop", "job"), Bars(20, 40), detail, rows / loop["rollouts"] / cores)


def numeric_maths(bench: Bench) -> Iterator[Row]:
    """MATH level 5, where many of a problem's answers are the same."""
    yield _against_pool(bench, inputs.MATH, bench.sized(1, 8), "math_l5_zeroeval", Bars(7, 10))


def many_numeric_maths(bench: Bench) -> Iterator[Row]:
    """Ten times as many: each copy of a problem is a problem of its own, and nothing is known from an earlier run."""
    source, copies = inputs.MATH, bench.sized(10, 2)
    once = bench.part(source, 1)
    sides = {
        "job": bench.program(source, bench.copies(source, rows=copies * inputs.rows_of(once)), *MATH_VERIFY),
        "pool": bench.peer("math_verify_pool", source, once, bench.settings.cores),
    }
    found = bench.rounds(sides)
    detail = f"the pool on {found.printed['pool']['rollouts']:,} of them, scaled; {found.printed['pool']['engine']}"
    measure = f"math_l5_zeroeval {copies} times with math_verify, whole job, vs Math-Verify per rollout in a pool"
    yield found.row(measure, ("pool", "job"), Bars(10, 16), detail, copies)


def later_checkpoint(bench: Bench) -> Iterator[Row]:
    """New responses to the same problems, with the cache of an earlier run that graded most of their answers."""
    source = inputs.SYMBOLIC
    earlier, later = bench.checkpoints(source)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        processes.run([*bench.command(earlier, folder), *MATH_VERIFY])
        found = bench.rounds(
            {
                "first": bench.program(source, later, *MATH_VERIFY),
                "later": bench.program(source, later, *MATH_VERIFY, cache=Path(folder) / "cache"),
                "ungraded": bench.program(source, later, "--reward_fn", "math_dapo"),
            }
        )
    measure = "carp_en + gaokao with math_verify, a later checkpoint's rollouts, vs the same without the earlier run"
    yield found.row(measure, ("first", "later"), Bars(2, 3), f"{inputs.rows_of(later):,} rollouts")
    # What no store of verdicts can exceed: this reward compares strings, in the workers.
    yield found.row(
        "the same rollouts with math_dapo, which needs no grader, vs math_verify", ("first", "ungraded"), None
    )


def symbolic_maths(bench: Bench) -> Iterator[Row]:
    """CARP and Gaokao, two samples a problem: nearly no answer is there twice."""
    yield _against_pool(bench, inputs.SYMBOLIC, bench.sized(1, 2), "carp_en + gaokao", Bars(2.5, 4, without_start=True))


def _against_pool(bench: Bench, source: inputs.Source, every: int, what: str, bars: Bars) -> Row:
    rollouts = bench.part(source, every)
    found = bench.rounds(
        {
            "job": bench.program(source, rollouts, *MATH_VERIFY),
            "pool": bench.peer("math_verify_pool", source, rollouts, bench.settings.cores),
        }
    )
    pool = found.printed["pool"]
    measure = f"{what} with math_verify, whole job, vs Math-Verify per rollout in a pool"
    return found.row(measure, ("pool", "job"), bars, f"{pool['rollouts']:,} rollouts; {pool['engine']}")


def first_run(bench: Bench) -> Iterator[Row]:
    """The embedded sample with a tokenizer that no cache knows, and the same command once more."""
    rollouts = inputs.SAMPLE / "rollouts.parquet"
    first, again = list[float](), list[float]()
    for _ in range(bench.sized(5, 3)):
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            command = bench.command(rollouts, folder, tokenizer=str(inputs.SAMPLE / "tokenizer"))
            first.append(processes.run(command).seconds)
            again.append(processes.run([*command, "--overwrite"]).seconds)
    for measure, seconds, bars in (
        ("the embedded sample, a first run with an unknown tokenizer", first, Bars(1.8, 1.2, False)),
        ("the same command once more", again, None),
    ):
        value, spread = statistics.median(seconds), (min(seconds), max(seconds))
        yield Row(measure, value, "s", bars, f"median of {len(seconds)}", spread=spread)
