"""An analysis as it lies in its output folder: problems as columns, the summary, and rollouts by row ranges."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from analyzer.difficulty.graded import pass_or_fail
from analyzer.errors import InputError
from analyzer.files import outputs
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import DATA_IDX, PROMPT, REWARD, REWARD_PASS_VALUE, REWARD_STATUS, threshold_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import IntArray


_KEPT_ROWS = 1 << 20
"""Problems up to which columns stay in memory once they are read."""
_READ_TOGETHER = 1 << 14
"""Problems up to which all columns are read at once: of so few, opening the file takes longer than any column."""
WITHOUT_ROLLOUTS = (
    "the analysis was written without its rollouts (--outputs problems); analyze them again with --outputs all for "
    "their texts, lengths and rewards, nothing is scored again"
)


class Rollouts(Protocol):
    """The rollouts of an analysis with their rewards, numbered from 0: those of a file, or as the analysis saw them."""

    rows: int
    bytes: int  # of all columns, not compressed
    schema: pa.Schema

    def read(
        self, columns: Sequence[str], ranges: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(first row, batch) of some columns; of all rows, or of ascending and disjoint ranges of them."""

    def pieces(self) -> IntArray:
        """(pieces,) the rows of each part that is decoded as one."""


class Written:
    """rollouts_with_rewards.parquet."""

    def __init__(self, path: Path) -> None:
        file, self.schema = dataset.describe(str(path))
        self._files = (file,)
        self.rows, self.bytes = file.rows, file.bytes

    def read(
        self, columns: Sequence[str], ranges: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As Rollouts says."""
        reader = Reader(self._files, columns, threads=ranges is None, narrow=ranges is None)
        return reader.all() if ranges is None else reader.batches(ranges)

    def pieces(self) -> IntArray:
        """As Rollouts says."""
        return np.array([block.rows for block in self._files[0].blocks], dtype=np.int64)


class Seen(NamedTuple):
    """The rollouts of an analysis that is being written, where no file will hold them."""

    rollouts: Rollouts
    numbering: Numbering


class Problems:
    """problem_metrics.parquet by its columns, each read when it is asked for, or all at once where problems are few.

    Of millions of problems all columns together would be gigabytes, so those of large files are read again each time.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        with outputs.readable(path), pq.ParquetFile(path) as file:
            self.column_names: list[str] = file.schema_arrow.names
            self.num_rows: int = file.metadata.num_rows
            together = file.read(use_threads=False) if self.num_rows <= _READ_TOGETHER else None
        self._read: dict[str, pa.ChunkedArray] = (
            {} if together is None else dict(zip(together.column_names, together.columns, strict=True))
        )

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        import pyarrow.parquet as pq

        if name in self._read:
            return self._read[name]
        with outputs.readable(self._path):
            column = pq.read_table(self._path, columns=[name])[name]
        if self.num_rows <= _KEPT_ROWS:
            self._read[name] = column
        return column

    def coded(self, name: str) -> tuple[list[str], NDArray[np.int32]]:
        """A column of few texts: the texts in the order in which they appear, and the code of each problem's.

        Null is the text "".
        """
        import pyarrow.parquet as pq

        if name in self._read:
            column = self._read[name].dictionary_encode()
        else:
            # Codes as they are in the file: as texts, millions of names would be hundreds of megabytes.
            with outputs.readable(self._path):
                column = pq.read_table(self._path, columns=[name], read_dictionary=[name])[name]
        column = column.unify_dictionaries()
        texts = [*(column.chunk(0).dictionary.to_pylist() if column.num_chunks else []), ""]
        parts = [chunk.indices.fill_null(len(texts) - 1).to_numpy() for chunk in column.chunks]
        codes = np.concatenate([np.zeros(0, np.int32), *parts])
        # None of a text that is not there; "" is there twice where it was written as such and as null.
        first = {code: int(np.argmax(codes == code)) for code in range(len(texts)) if (codes == code).any()}
        names = list(dict.fromkeys(texts[code] for code in sorted(first, key=first.__getitem__)))
        place = np.array([names.index(text) if text in names else 0 for text in texts], np.int32)
        return names, place[codes]


@dataclass(frozen=True)
class Analysis:
    """An output folder of analyze_rollouts. Raises InputError where it is none."""

    folder: Path
    seen: Seen | None = None

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json."""
        return self._json(outputs.SUMMARY, needed=True)

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json; empty if there is none."""
        return self._json(outputs.PROVENANCE, needed=False)

    def _json(self, name: str, needed: bool) -> dict[str, Any]:
        try:
            return outputs.record(name, self.folder, (self.folder / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            if not needed:
                return {}
            raise InputError(
                f"{self.folder}: there is no {name}; name an output folder of analyze_rollouts or filter_difficulty"
            ) from None

    @functools.cached_property
    def problems(self) -> Problems:
        """problem_metrics.parquet: one row per problem, ascending by data_idx."""
        path = self.folder / outputs.TABLE
        if not path.exists():
            raise InputError(
                f"{self.folder}: there is no {outputs.TABLE}; name an output folder of analyze_rollouts or "
                "filter_difficulty"
            )
        return Problems(path)

    def coded(self, name: str) -> tuple[list[str], NDArray[np.integer]]:
        """A column of few names, bucket or flag: the names in the order in which they appear, and the (problems,) code
        of each problem's. Null is the name ""; no names where there is no such column."""
        if name not in self.problems.column_names:
            return [], np.zeros(self.problems.num_rows, np.int32)
        return self.problems.coded(name)

    def column(self, name: str, otherwise: Any = 0) -> NDArray[Any]:
        """(problems,) a metric, with `otherwise` for null and where there is no such column."""
        import pyarrow.compute as pc

        if name not in self.problems.column_names:
            return np.full(self.problems.num_rows, otherwise)
        found: NDArray[Any] = pc.fill_null(self.problems[name], otherwise).to_numpy()
        return found

    @property
    def threshold(self) -> float:
        """The reward from which a rollout passes."""
        return threshold_of(self.summary)

    @functools.cached_property
    def passes(self) -> tuple[IntArray, IntArray]:
        """(problems,) passing rollouts of each problem, and scored ones."""
        scored = self.column("num_scored").astype(np.int64)
        # Analyses of earlier versions have the rate alone.
        if "passes" in self.problems.column_names:
            return self.column("passes").astype(np.int64), scored
        return np.rint(self.column("pass_rate", 0.0) * scored).astype(np.int64), scored

    @functools.cached_property
    def reward_is_pass_rate(self) -> bool:
        """Whether the mean rewards are the pass rates, as where rewards are 0 and 1."""
        passes, scored = self.passes
        rate = passes / np.maximum(scored, 1)
        return bool(np.allclose(self.column("mean_reward", 0.0)[scored > 0], rate[scored > 0], atol=1e-6))

    @functools.cached_property
    def reward_is_pass_or_fail(self) -> bool:
        """Whether all rewards are one of two values, the higher of which passes."""
        if not {"min_reward", "max_reward", "std_reward"} <= set(self.problems.column_names):
            return self.reward_is_pass_rate
        names = ("mean_reward", "std_reward", "min_reward", "max_reward", "pass_rate")
        return pass_or_fail(*(self.column(name, np.nan).astype(np.float64) for name in names))

    @functools.cached_property
    def sources(self) -> tuple[list[str], IntArray]:
        """The data sources, and the (problems,) number of each problem's."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        of_rewards = self.summary.get("data_sources") or {}  # none where the rollouts brought rewards along
        names = list(of_rewards or (self.summary.get("difficulty") or {}).get("data_sources") or {})
        path = self.folder / outputs.PROBLEMS
        if len(names) <= 1 or not path.exists():
            return names or [""], np.zeros(self.problems.num_rows, np.int64)
        # Not read_table, which imports pyarrow.dataset, and that pandas.
        with outputs.readable(path), pq.ParquetFile(path) as file:
            if "data_source" not in file.schema_arrow.names:
                return names, np.zeros(self.problems.num_rows, np.int64)
            column = file.read(["data_source"])["data_source"]
        # A problem whose data source the summary does not name would be lost to every table: the first one takes it.
        code = pc.index_in(column, pa.array(names)).fill_null(0)
        return names, code.to_numpy().astype(np.int64)

    @functools.cached_property
    def rollouts(self) -> Rollouts | None:
        """The rollouts with their rewards; None where the analysis was written without them (--outputs problems)."""
        if self.seen is not None:
            return self.seen.rollouts
        path = self.folder / outputs.ROLLOUTS
        return Written(path) if path.exists() else None

    @functools.cached_property
    def rows(self) -> tuple[IntArray, IntArray, IntArray]:
        """Where the rollouts of each problem are: (runs,) first rows, rows after the last, and problem numbers.

        Problems are numbered as in `problems`; runs are in the order of the file. Only the column data_idx is read.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        rollouts = self.rollouts
        if rollouts is None:
            return (np.zeros(0, np.int64),) * 3
        if self.seen is not None:
            return _runs(self.seen.numbering)
        ids = self.problems[DATA_IDX].combine_chunks()
        starts, names = [], []
        for row, batch in rollouts.read([DATA_IDX]):
            column = batch.column(0)
            edges = np.flatnonzero(np.append(True, _differ(column)))
            starts.append(edges + row)
            names.append(column.take(pa.array(edges)).cast(ids.type))
        # Looked up together: each call of index_in makes a hash table of all ids.
        code = pc.index_in(pa.chunked_array(names, ids.type), ids).to_numpy().astype(np.int64)
        first = np.concatenate(starts)
        return first, np.append(first[1:], rollouts.rows), code

    @functools.cached_property
    def statuses(self) -> tuple[list[str], IntArray]:
        """The statuses other than ok that occur, and which of them each problem has: (problems,) a bit per status."""
        import pyarrow.compute as pc

        names = [name for name in self.summary.get("reward_status", {}) if name != "ok"]
        bits = np.zeros(self.problems.num_rows, np.int64)
        rollouts = self.rollouts
        if not names or rollouts is None:
            return [], bits
        first, _, code = self.rows
        for row, batch in rollouts.read([REWARD_STATUS]):
            column = batch.column(0).cast("string")
            for bit, name in enumerate(names):
                where = np.flatnonzero(pc.equal(column, name).to_numpy(zero_copy_only=False))
                owners = code[np.searchsorted(first, row + where, side="right") - 1]
                bits[owners] |= 1 << bit
        return names, bits

    def training_row(self, number: int) -> dict[str, Any]:
        """The row of a problem in problems.parquet; empty where there is no such file."""
        import pyarrow.parquet as pq

        path = self.folder / outputs.PROBLEMS
        if not path.exists():
            return {}
        with outputs.readable(path), pq.ParquetFile(path) as file:
            # By the sizes in the footer: one row group is decoded, not all before it.
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if number < rows:
                    found: dict[str, Any] = file.read_row_group(group).slice(number, 1).to_pylist()[0]
                    return found
                number -= rows
        return {}

    def identities(self) -> Iterator[tuple[Any, Any]]:
        """The prompt and the reward information of each problem, in the order of `problems`; None: not there."""
        import pyarrow.parquet as pq

        path = self.folder / outputs.PROBLEMS
        if not path.exists():
            yield from [(None, None)] * self.problems.num_rows
            return
        key = self.summary.get("settings", {}).get("reward_fn_key")
        with outputs.readable(path), pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            gold = next((name for name in (key, "solution") if name in there), None)
            names = [name for name in (PROMPT, gold) if name in there]
            for batch in file.iter_batches(1 << 13, columns=names):
                columns = dict(zip(names, (column.to_pylist() for column in batch.columns), strict=True))
                nothing = [None] * batch.num_rows
                yield from zip(columns.get(PROMPT, nothing), columns.get(gold, nothing), strict=True)

    def rewards(self) -> tuple[IntArray, NDArray[np.float64], NDArray[np.float64]]:
        """The problem and the reward of each rollout, and what is compared with the threshold; all (rollouts,).

        NaN where it is not scored. Of a sum of rewards, one part says what passes.
        Where the analysis holds no rollouts: passes as 1, other scored ones as 0.
        """
        rollouts = self.rollouts
        if rollouts is None:
            passes, scored = self.passes
            # Which of a problem's rollouts passed is not known, and no statistic of groups depends on it.
            passing = np.arange(scored.sum()) - np.repeat(np.cumsum(scored) - scored, scored) < np.repeat(
                passes, scored
            )
            values = passing.astype(np.float64)
            return np.repeat(np.arange(len(scored)), scored), values, values
        first, stop, code = self.rows
        names = [name for name in (REWARD, REWARD_PASS_VALUE) if name in rollouts.schema.names]
        parts = [
            np.stack([column.to_numpy(zero_copy_only=False).astype(np.float64) for column in batch.columns])
            for _, batch in rollouts.read(names)
        ]
        found = np.concatenate(parts, axis=1) if parts else np.zeros((len(names), 0))
        # The last is the value of the part that decides, where there is one.
        return np.repeat(code, stop - first), found[0], np.where(np.isnan(found[-1]), found[0], found[-1])

    def search(self, text: str) -> list[int]:
        """The numbers of the problems whose prompt holds this text, whatever its case."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self.folder / outputs.PROBLEMS
        with outputs.readable(path):
            there = path.exists() and PROMPT in pq.read_schema(path).names
        if not there:
            return []
        found: list[int] = []
        start = 0
        with outputs.readable(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1 << 14, columns=[PROMPT]):
                column, of = batch.column(0), None
                if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):  # chat: of each message
                    of, column = pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)
                if pa.types.is_struct(column.type):
                    column = pc.struct_field(column, "content") if column.type.get_field_index("content") >= 0 else None
                if column is not None and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                    holds = pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)
                    where = np.flatnonzero(holds.to_numpy(zero_copy_only=False))
                    found += (np.unique(where if of is None else of[where]) + start).tolist()
                start += batch.num_rows
        return found

    def samples(
        self, problems: Sequence[int], columns: Sequence[str], most: int | None = None
    ) -> dict[int, list[dict[str, Any]]]:
        """The rollouts of some problems, by number, with these of their columns that are there.

        most: of each problem the rollouts with the highest and with the lowest rewards, half of `most` each; None: all.
        """
        rollouts = self.rollouts
        found: dict[int, list[dict[str, Any]]] = {int(problem): [] for problem in problems}
        if rollouts is None:
            return found
        first, stop, code = self.rows
        wanted = np.flatnonzero(np.isin(code, list(found)))
        owners = np.repeat(code[wanted], stop[wanted] - first[wanted])
        ranges = _joined(first[wanted], stop[wanted])
        chosen = np.ones(len(owners), bool) if most is None else _extremes(rollouts, ranges, owners, most)
        done = 0
        for _, batch in rollouts.read([name for name in columns if name in rollouts.schema.names], ranges):
            rows = np.flatnonzero(chosen[done : done + batch.num_rows])
            # Texts that nobody will see are not made into Python objects: of many samples they are most of them.
            part = batch if len(rows) == batch.num_rows else batch.take(rows)
            for owner, record in zip(owners[done + rows].tolist(), part.to_pylist(), strict=True):
                found[owner].append(record)
            done += batch.num_rows
        return found


def _joined(starts: IntArray, stops: IntArray) -> list[tuple[int, int]]:
    """Ascending ranges, those that follow upon each other as one: what is read for each range costs more than rows."""
    begins = np.append(True, starts[1:] != stops[:-1])[: len(starts)]
    ends = np.append(begins[1:], True)[: len(starts)]
    return list(zip(starts[begins].tolist(), stops[ends].tolist(), strict=True))


def _extremes(rollouts: Rollouts, ranges: Sequence[tuple[int, int]], owners: IntArray, most: int) -> NDArray[np.bool_]:
    """Which rollouts of the ranges, (rollouts,), are among the best or the worst of their problem, `owners`."""
    import pyarrow.compute as pc

    # Those without a reward come last, like in the page's order.
    rewards = [pc.fill_null(batch.column(0), -1.0).to_numpy() for _, batch in rollouts.read([REWARD], ranges)]
    # Stable: equal rewards stay in the order of the file.
    order = np.lexsort((-np.concatenate([np.zeros(0), *rewards]), owners))
    _, begins, sizes = np.unique(owners[order], return_index=True, return_counts=True)
    rank, size = np.arange(len(order)) - np.repeat(begins, sizes), np.repeat(sizes, sizes)
    chosen = np.zeros(len(order), bool)
    chosen[order] = (size <= most) | (rank < most // 2) | (rank >= size - most // 2)
    return chosen


def _runs(numbering: Numbering) -> tuple[IntArray, IntArray, IntArray]:
    """`Analysis.rows` of an analysis that is being written."""
    kept = numbering.run_codes >= 0
    sizes = (numbering.run_stops() - numbering.run_starts)[kept]
    stops = np.cumsum(sizes)
    rank = np.empty(numbering.problems, np.int64)
    rank[numbering.order()] = np.arange(numbering.problems)
    return stops - sizes, stops, rank[numbering.run_codes[kept]]


def _differ(column: pa.Array) -> NDArray[np.bool_]:
    """(n - 1,) whether each value differs from the one before it."""
    import pyarrow.compute as pc

    changed = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
    return np.asarray(changed.to_numpy(zero_copy_only=False), dtype=bool)
