"""plan: from the column data_idx alone, number the problems and cut the rollouts into shards of whole problems.

Rows of one problem that stand together are one run. Where every problem is one run (the usual case) a shard is one
row range; otherwise a shard is the ranges of its problems' runs, and `amplification` says how much more would be
read than is there. The cut depends on the input and the shard size, never on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.errors import InputError
from analyzer.rewards import BaseReward, Where, WholeReward
from analyzer.rollouts import dataset, problems
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.numbering import RENUMBER, Numbering, Shards
from analyzer.schema import DATA_IDX, DATA_SOURCE, ORIGINAL, PROMPT, SAMPLE_IDX

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

LARGEST_GROUP_AS_SHARD = 128 << 20


class ShardSize(NamedTuple):
    """How large shards are made."""

    aimed_at: int  # shards
    least: int  # bytes
    most: int  # bytes
    whole_groups: bool = False  # no smaller than a row group, so that none is decoded twice


SHARD_SIZES = {
    Where.WORKER: ShardSize(64, 256 << 10, 16 << 20, whole_groups=True),
    Where.CHILD: ShardSize(64, 128 << 10, 2 << 20),
    Where.SANDBOX: ShardSize(128, 16 << 10, 64 << 10),
}
"""The more a rollout costs, the smaller the shards; one is seconds to a minute of work."""
FUNCTION_SIZE = ShardSize(64, 64 << 10, 2 << 20)
"""Of a reward that is asked about each response, in the child: a function of the user's may take a second for it."""


def shard_bytes(rollouts: Dataset, rewards: Iterable[BaseReward]) -> int:
    """Bytes of a shard of this input with these rewards."""
    # A shard holds rows of any data source, so the dearest of their rewards decides.
    sizes = [SHARD_SIZES[Where.WORKER]]
    for reward in rewards:
        is_function = reward.where is Where.CHILD and isinstance(reward, WholeReward)
        sizes.append(FUNCTION_SIZE if is_function else SHARD_SIZES[reward.where])
    size = min(sizes, key=lambda size: (size.most, size.least))
    aimed = min(max(rollouts.bytes // size.aimed_at, size.least), size.most)
    largest = max((file.largest_group for file in rollouts.files), default=0)
    return max(aimed, largest) if size.whole_groups and largest <= LARGEST_GROUP_AS_SHARD else aimed


def number_problems(rollouts: Dataset, limit: int | None = None) -> Numbering:
    """Number the problems and check that (data_idx, sample_idx) is unique.

    `limit` keeps the first N problems seen. Raises InputError for a null or a duplicate, with its place.
    """
    starts, values, samples, rising = _scan(rollouts)
    # dictionary_encode numbers values in order of first appearance, which is the numbering that is promised.
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    ids = encoded.dictionary
    # The usual case, each problem one run and sample_idx rising in it: no need to sort 100 million rows.
    if not (rising and len(ids) == len(starts)):
        _check_unique(rollouts, starts, codes, samples, ids)
    # After the check for duplicates: what --limit leaves out is still an input that is wrong.
    if limit is not None and limit < len(ids):
        codes[codes >= limit] = -1
        ids = ids.slice(0, limit)
    return Numbering(ids, starts, codes, rollouts.rows)


# ---------------------------------------------------------------- runs


def _scan(rollouts: Dataset) -> tuple[Ints, pa.Array, list[NDArray[np.signedinteger]], bool]:
    """Starts of runs, the data_idx of each run, the sample_idx of all rows (in parts), whether it rises in each run."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Files may differ in width: the widest type is what their data_idx are compared in. uint64 has no wider one.
    stored = rollouts.schema.field(DATA_IDX).type
    kind = pa.string()
    if pa.types.is_integer(stored):
        kind = pa.uint64() if pa.types.is_uint64(stored) else pa.int64()
    starts: list[Ints] = []
    values: list[pa.Array] = []
    samples: list[NDArray[np.signedinteger]] = []
    rising = True
    last, last_sample = pa.array([], type=kind), -1
    narrow = pa.types.is_integer(stored)
    for row, batch in Reader(rollouts.files, [DATA_IDX, SAMPLE_IDX], threads=True, narrow=narrow).all():
        column = batch.column(batch.schema.get_field_index(DATA_IDX)).cast(kind)
        _no_nulls(rollouts, row, column, DATA_IDX)
        _no_nulls(rollouts, row, batch.column(batch.schema.get_field_index(SAMPLE_IDX)), SAMPLE_IDX)
        sample = batch.column(batch.schema.get_field_index(SAMPLE_IDX)).to_numpy().astype(np.int64)
        different = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
        changed = np.append(column.slice(0, 1) != last, different.to_numpy(zero_copy_only=False).astype(bool))
        # Fail fast on adjacent duplicates: a few compressed bytes can stand for very many equal rows, and the check of
        # all rows would hold them in memory.
        before = np.append(last_sample, sample[:-1])
        if (again := np.flatnonzero(~changed & (sample == before))).size:
            at = int(again[0])
            raise _twice(rollouts, row + at - 1, row + at, column[at].as_py(), int(sample[at]))
        where = np.flatnonzero(changed)
        starts.append(where + row)
        values.append(column.take(pa.array(where)))
        # The step into a new run may go down.
        rising = rising and bool((changed | (sample > before)).all())
        # Mostly they are below 32,768: two bytes for each row instead of eight.
        samples.append(sample.astype(np.result_type(*map(np.min_scalar_type, (sample.min(), sample.max(), -1)))))
        last, last_sample = column.slice(len(column) - 1), int(sample[-1])
    return np.concatenate(starts), pa.concat_arrays(values), samples, rising


def _no_nulls(rollouts: Dataset, row: int, column: pa.Array, name: str) -> None:
    if column.null_count:
        at = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{dataset.locate(rollouts.files, row + at)}: {name} is null; fill it in or leave the row out")


def _check_unique(
    rollouts: Dataset, starts: Ints, codes: Ints, parts: list[NDArray[np.signedinteger]], ids: pa.Array
) -> None:
    """Raise InputError for the first (data_idx, sample_idx) that occurs twice. parts: the sample_idx of all rows."""
    samples = np.concatenate(parts)
    parts.clear()
    lowest = int(samples.min())
    span = int(samples.max()) - lowest + 1
    row_codes = np.repeat(codes, np.diff(np.append(starts, len(samples))))
    # Sorted by problem, then sample, duplicates are neighbours. One number that holds both is sorted in a fraction of
    # the time and memory; where there are duplicates, which are an error, the rows are looked for.
    if span * len(ids) < 1 << 63:
        packed = row_codes * span
        packed += samples
        packed -= lowest
        packed.sort()
        if not (packed[1:] == packed[:-1]).any():
            return
        del packed
    order = np.lexsort((samples, row_codes))
    ordered_codes, ordered_samples = row_codes[order], samples[order]
    same = (ordered_codes[1:] == ordered_codes[:-1]) & (ordered_samples[1:] == ordered_samples[:-1])
    if not same.any():
        return
    at = int(np.flatnonzero(same)[0])
    first, second = sorted((int(order[at]), int(order[at + 1])))
    raise _twice(rollouts, first, second, ids[int(row_codes[first])].as_py(), int(samples[first]))


def _twice(rollouts: Dataset, first: int, second: int, data_idx: Any, sample_idx: int) -> InputError:
    """The error for two rows of one name; what to do depends on whether they are rollouts of one problem."""
    names = [name for name in (PROMPT, f"{ORIGINAL}reward_model", DATA_SOURCE) if name in rollouts.schema.names]
    rows = Reader(rollouts.files, names).batches([(first, first + 1), (second, second + 1)])
    one, other = (row for _, batch in rows for row in batch.to_pylist())
    differing = [name for name in names if one[name] != other[name]]
    advice = "give each sample of a problem its own sample_idx"
    if differing:
        advice = f"they differ in {differing[0]!r}, so they are two problems with one data_idx: {RENUMBER}"
    return InputError(
        f"{dataset.locate(rollouts.files, second)}: data_idx {data_idx!r} with sample_idx {sample_idx} occurs twice, "
        f"first in {dataset.locate(rollouts.files, first)}; {advice}"
    )


# ---------------------------------------------------------------- shards


class Cut(NamedTuple):
    """The analyzed rows in shards."""

    shards: Shards
    amplification: float  # bytes that the shards decode over bytes that they want


def cut_shards(rollouts: Dataset, numbering: Numbering, target_bytes: int) -> Cut:
    """Cut the analyzed rows into shards of whole problems, some `target_bytes` each, in order of first appearance."""
    kept = numbering.run_codes >= 0
    starts, stops, codes = numbering.run_starts[kept], numbering.run_stops()[kept], numbering.run_codes[kept]
    # Bytes of a row are known as the average of its block: interpolation between the edges of blocks gives those of a
    # run.
    edges = dataset.edges(rollouts.files).astype(np.float64)
    sizes = np.array([block.bytes for file in rollouts.files for block in file.blocks], dtype=np.float64)
    position = np.append(0.0, np.cumsum(sizes))
    run_bytes = np.interp(stops, edges, position) - np.interp(starts, edges, position)
    problem_bytes = np.bincount(codes, weights=run_bytes)
    before = np.append(0.0, np.cumsum(problem_bytes)[:-1])
    # A problem larger than a shard leaves numbers unused; unique() closes the gaps, and keeps problems whole.
    shard_of_problem = np.unique((before // target_bytes).astype(np.int64), return_inverse=True)[1]
    shard_of_run = shard_of_problem[codes]
    order = np.lexsort((starts, shard_of_run))
    shards, starts, stops = shard_of_run[order], starts[order], stops[order]
    # Neighbouring runs of one shard become one range: in the usual case that is a single one for each shard.
    joined = (shards[1:] == shards[:-1]) & (starts[1:] == stops[:-1])
    first, last = np.append(True, ~joined), np.append(~joined, True)
    ranges = np.column_stack([starts[first], stops[last]]).astype(np.int64)
    shards = shards[first]
    # Shards ascend here, so the first range of each is where its number would be inserted.
    offsets = np.searchsorted(shards, np.arange(int(shards[-1]) + 2)).astype(np.int64)
    return Cut(Shards(offsets, ranges), _amplification(shards, ranges, edges, sizes))


def _amplification(shards: Ints, ranges: Ints, edges: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Bytes that the shards decode over bytes they want: a block is decoded from its start to the last row wanted."""
    first = np.searchsorted(edges, ranges[:, 0], side="right") - 1
    last = np.searchsorted(edges, ranges[:, 1] - 1, side="right") - 1
    # One row for each pair of a range and a block that it touches, built without a loop: first block plus 0, 1, 2, ...
    counts = last - first + 1
    block = np.repeat(first - np.append(0, np.cumsum(counts)[:-1]), counts) + np.arange(int(counts.sum()))
    stop = np.minimum(np.repeat(ranges[:, 1], counts), edges[block + 1])
    rows = np.diff(edges)[block]
    decoded = (stop - edges[block]) / rows * sizes[block]
    # A shard decodes a block once, however many of its ranges lie in it.
    pair = np.repeat(shards, counts) * len(sizes) + block
    order = np.lexsort((decoded, pair))
    deepest = np.append(pair[order][1:] != pair[order][:-1], True)  # of several ranges in a block, the last one counts
    wanted = (stop - np.maximum(np.repeat(ranges[:, 0], counts), edges[block])) / rows * sizes[block]
    return float(decoded[order][deepest].sum() / max(wanted.sum(), 1.0))


# ---------------------------------------------------------------- nulls


def check_nulls(rollouts: Dataset, numbering: Numbering, gold_column: str | None) -> None:
    """Raise InputError for a null ground truth, found by the statistics in the footers.

    They cost nothing and are read before hours of work; without statistics, scoring finds the null.
    """
    if gold_column is None:
        return
    leaf = f"{gold_column}.ground_truth" if problems.is_record(rollouts.schema.field(gold_column)) else gold_column
    suspects = dataset.ranges_with_nulls(rollouts.files, leaf)
    ranges = common_ranges(numbering.kept_ranges(), suspects) if suspects else []
    for row, batch in Reader(rollouts.files, [gold_column]).batches(ranges):
        golds, _ = problems.ground_truth_part(batch.column(0), batch.schema.field(0))
        _no_nulls(rollouts, row, golds, f"the ground truth in {gold_column}")


def common_ranges(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What two lists of ascending, disjoint ranges have in common; time grows with their sum."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, stop = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < stop:
            found.append((start, stop))
        # The one that ends first can meet nothing further.
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


# ---------------------------------------------------------------- data sources


def count_sources(rollouts: Dataset, numbering: Numbering) -> tuple[dict[str, int], int | None]:
    """Rows of each data_source among the analyzed rows, most first; and the first row that has none."""
    counts: dict[Any, int] = {}
    unnamed = None
    for row, batch in Reader(rollouts.files, [DATA_SOURCE], threads=True).batches(numbering.kept_ranges()):
        values = batch.column(0)
        if unnamed is None and values.null_count:
            unnamed = row + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        # Counted in arrow: of a batch of thousands of rows a handful of names become Python objects.
        for item in values.value_counts():
            if (name := item["values"].as_py()) is not None:
                counts[name] = counts.get(name, 0) + item["counts"].as_py()
    return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))), unnamed
