"""Analyses as large as one likes without scoring: an input next to no text is in, and the files of scores of its run.

    {"prompt": "Problem 17: how much is it and 24?", "response": "(as long as one likes, and always the same)",
     "data_idx": 17, "sample_idx": 3, "original_data_source": "made/0", "original_reward_model": {"ground_truth": "41"}}

The text compresses to nothing, so 100 million rollouts are some gigabytes on the disk, while the plan cuts them as it
cuts rollouts of that many bytes. The files of scores are made for exactly the plan that the command then finds: all of
them are committed, and it goes on with the merge.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analyzer import planning
from analyzer.cache import known_tokenizers, place, runs, score_files
from analyzer.cache.runs import Run
from analyzer.cache.score_files import EARNED, ShardFooter, SourceCount
from analyzer.config import AnalysisSettings
from analyzer.rollouts.numbering import Shards
from analyzer.schema import STATUSES, Status
from analyzer.stages import read

SOURCES = 3
GROUP_ROWS, GROUP_BYTES = 1 << 15, 1 << 24  # of a row group at most: a shard holds one at least
_WRONG = 6  # different wrong answers to a problem


@dataclass(frozen=True)
class Shape:
    """How large an input is, and how its rows stand."""

    rollouts: int
    problems: int
    scattered: bool = False  # the samples of a problem far apart, as when every epoch of sampling is a file
    graded: bool = False  # rewards between 0 and 1, not 0 or 1
    response_bytes: int = 500
    unscored: float = 0.0  # share of the rollouts
    files: int = 1


def settings(folder: Path, *, n_jobs: int = 1, **more: Any) -> AnalysisSettings:
    """Of the analysis of such an input in `folder`."""
    return AnalysisSettings(
        rollouts=str(folder / "rollouts"),
        model_path=inputs.tokenizer(),
        output_dir=str(folder / "analysis"),
        cache_dir=str(folder / "cache"),
        reward_fn="exact_match",
        max_unscored=1.0,
        n_jobs=n_jobs,
        **more,
    )


def problem_of(shape: Shape, rows: np.ndarray) -> np.ndarray:
    """The problem of each row; every problem has as many rollouts as any, or one more."""
    if shape.scattered:
        return rows % shape.problems
    each, more = divmod(shape.rollouts, shape.problems)
    edge = more * (each + 1)
    return np.where(rows < edge, rows // (each + 1), more + (rows - edge) // max(each, 1))


def sample_of(shape: Shape, rows: np.ndarray) -> np.ndarray:
    """The sample_idx of each row."""
    if shape.scattered:
        return rows // shape.problems
    each, more = divmod(shape.rollouts, shape.problems)
    edge = more * (each + 1)
    return np.where(rows < edge, rows % (each + 1), (rows - edge) % max(each, 1))


def write_input(folder: Path, shape: Shape) -> None:
    """The rollouts, in so many files."""
    edges = np.linspace(0, shape.rollouts, shape.files + 1).astype(int).tolist()
    for number, (first, stop) in enumerate(itertools.pairwise(edges)):
        _write_file(folder / f"part-{number:05d}.parquet", shape, first, stop)


def _write_file(path: Path, shape: Shape, first: int, stop: int) -> None:
    text = pa.array(["x" * shape.response_bytes])
    sources = pa.array([f"made/{number}" for number in range(SOURCES)])
    writer = None
    group_rows = min(GROUP_ROWS, max(1, GROUP_BYTES // max(shape.response_bytes, 1)))
    for start in range(first, stop, group_rows):
        rows = np.arange(start, min(start + group_rows, stop))
        problem = problem_of(shape, rows)
        distinct, code = np.unique(problem, return_inverse=True)
        codes = pa.array(code)
        prompts = pc.binary_join_element_wise(
            "Problem ", pa.array(distinct).cast(pa.string()), ": how much is it and 24?", ""
        )
        truths = pa.array(distinct + 24).cast(pa.string())
        styles = pa.array(["rule"]).take(pa.array(np.zeros(len(distinct), np.int8)))
        golds = pa.StructArray.from_arrays([styles, truths], ["style", "ground_truth"])
        table = pa.table(
            {
                "prompt": prompts.take(codes),
                "response": text.take(pa.array(np.zeros(len(rows), np.int8))),
                "data_idx": problem,
                "sample_idx": sample_of(shape, rows),
                "original_data_source": sources.take(pa.array(problem % SOURCES)),
                "original_reward_model": golds.take(codes),
            }
        )
        if writer is None:
            names = [name for name in table.column_names if name != "response"]
            writer = pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=names)
        writer.write_table(table, row_group_size=len(rows))
    assert writer is not None
    writer.close()


def write_scores(folder: Path, shape: Shape, processes: int = 2) -> int:
    """Commit the scores of all shards of the analysis in `folder`; returns their number."""
    given = settings(folder)
    cache = place.cache_folder(given.cache_dir)
    opened = read.open_rollouts(given.reading, cache)
    numbering = planning.number_problems(opened.dataset)
    with known_tokenizers.searching(given.model_path, given.trust_remote_code, cache) as search:
        plan = planning.make_plan(given, opened, numbering, search)
        search.settle()
    run = runs.open_run(cache, plan.parts)
    plan.save(run.folder)
    parts = [range(plan.total)[at::processes] for at in range(processes)]
    with ProcessPoolExecutor(processes) as pool:
        work = [pool.submit(_write_some, run, shape, plan.cut, plan.total, part) for part in parts]
        for one in work:
            one.result()
    return plan.total


def _write_some(run: Run, shape: Shape, cut: Shards, total: int, shards: Sequence[int]) -> None:
    rates = np.random.default_rng(0).beta(0.5, 0.6, shape.problems).astype(np.float32)
    owner = cut.part_of(total)  # with scattered rows several cuts are one shard, as they would be spilled into one file
    for shard in shards:
        first, last = np.searchsorted(owner, [shard, shard + 1])
        ranges = cut.ranges[cut.offsets[first] : cut.offsets[last]]
        sizes = ranges[:, 1] - ranges[:, 0]
        rows = np.sort(np.repeat(ranges[:, 0] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum()))
        scores = _scores(shape, rows, rates, np.random.default_rng((1, shard)))
        seen = {
            one["values"].as_py(): SourceCount(one["counts"].as_py(), one["counts"].as_py(), (), {})
            for one in scores.sources.value_counts()
        }
        footer = ShardFooter(run.fingerprint, shard, len(rows), seen)
        score_files.write(score_files.shard_path(run.shards_folder, shard), footer, scores)


def _scores(shape: Shape, rows: np.ndarray, rates: np.ndarray, random: np.random.Generator) -> score_files.Scores:
    size, problem = len(rows), problem_of(shape, rows)
    right = random.random(size) < rates[problem]
    rewards = right.astype(float)
    if shape.graded:
        rewards = np.where(right, 0.5 + random.random(size) / 2, random.random(size) / 2)
    unscored = random.random(size) < shape.unscored
    rewards[unscored] = np.nan
    # Wrong answers are wrong by little: a few for each problem, the first the most frequent.
    answer = problem + 24 + np.where(right, 0, random.binomial(_WRONG, 0.3, size) + 1)
    found = random.random(size) > 0.02
    # Odd stands for a problem without a prompt.
    identities = ((problem.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)) & ~np.uint64(1)
    return score_files.Scores(
        rows,
        rewards,
        np.where(unscored, STATUSES.index(Status.TIMEOUT), STATUSES.index(Status.OK)).astype(np.int8),
        (random.gamma(4, 120, size) + 5).astype(np.int32),
        found,
        [],
        pa.array(answer, mask=~found).cast(pa.string()),
        pa.array([f"made/{number}" for number in range(SOURCES)]).take(pa.array(problem % SOURCES)),
        np.full(size, EARNED, np.int8),
        identities,
        np.full(size, np.nan),
        {},
    )


def make(folder: Path, shape: Shape) -> int:
    """An input and its scores in an empty folder; returns the number of shards."""
    (folder / "rollouts").mkdir(parents=True)
    write_input(folder / "rollouts", shape)
    return write_scores(folder, shape)
