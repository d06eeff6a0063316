"""An analysis as it lies in its output folder: problems as columns, the summary, and rollouts by row ranges."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from analyzer.errors import InputError
from analyzer.files import outputs
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Reader
from analyzer.schema import DATA_IDX, PASS_THRESHOLD, PROMPT, REWARD, REWARD_PASS_VALUE, REWARD_STATUS

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import IntArray


@dataclass(frozen=True)
class Analysis:
    """An output folder of analyze_rollouts. Raises InputError where it is none."""

    folder: Path

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json."""
        return self._json(outputs.SUMMARY, needed=True)

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json; empty where there is none."""
        return self._json(outputs.PROVENANCE, needed=False)

    def _json(self, name: str, needed: bool) -> dict[str, Any]:
        try:
            found: dict[str, Any] = orjson.loads((self.folder / name).read_bytes())
            return found
        except FileNotFoundError:
            if not needed:
                return {}
            raise InputError(
                f"{self.folder}: there is no {name}; name an output folder of analyze_rollouts or filter_difficulty"
            ) from None
        except ValueError:
            raise InputError(f"{self.folder / name}: not valid JSON; analyse the rollouts again") from None

    @functools.cached_property
    def problems(self) -> pa.Table:
        """problem_metrics.parquet: one row per problem, ascending by data_idx."""
        import pyarrow.parquet as pq

        path = self.folder / outputs.TABLE
        if not path.exists():
            raise InputError(
                f"{self.folder}: there is no {outputs.TABLE}; name an output folder of analyze_rollouts or "
                "filter_difficulty"
            )
        return pq.read_table(path)

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
        return float(self.summary.get("settings", {}).get("pass_threshold") or PASS_THRESHOLD)

    @functools.cached_property
    def passes(self) -> tuple[IntArray, IntArray]:
        """(problems,) passing rollouts of each problem, and scored ones."""
        scored = self.column("num_scored").astype(np.int64)
        if "passes" in self.problems.column_names:
            return self.column("passes").astype(np.int64), scored
        return np.rint(self.column("pass_rate", 0.0) * scored).astype(np.int64), scored

    @functools.cached_property
    def sources(self) -> tuple[list[str], IntArray]:
        """The data sources, and the (problems,) number of each problem's."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        of_rewards = self.summary.get("data_sources") or {}  # none where the rollouts brought rewards along
        names = list(of_rewards or (self.summary.get("difficulty") or {}).get("data_sources") or {})
        path = self.folder / outputs.PROBLEMS
        if len(names) <= 1 or not path.exists() or "data_source" not in pq.read_schema(path).names:
            return names or [""], np.zeros(self.problems.num_rows, np.int64)
        column = pq.read_table(path, columns=["data_source"])["data_source"]
        code = pa.compute.index_in(column, pa.array(names)).fill_null(0)
        return names, code.to_numpy().astype(np.int64)

    @functools.cached_property
    def rollouts(self) -> dataset.Dataset | None:
        """rollouts_with_rewards.parquet; None where the analysis was written without text."""
        path = self.folder / outputs.ROLLOUTS
        if not path.exists():
            return None
        file, schema = dataset.describe(str(path))
        return dataset.Dataset((file,), schema)

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
        ids = self.problems[DATA_IDX].combine_chunks()
        starts, names = [], []
        for row, batch in Reader(rollouts.files, [DATA_IDX], threads=True).all():
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
        first, stop, code = self.rows
        owners = np.repeat(code, stop - first)
        for row, batch in Reader(rollouts.files, [REWARD_STATUS], threads=True).all():
            column = batch.column(0).cast("string")
            for bit, name in enumerate(names):
                where = np.flatnonzero(pc.equal(column, name).to_numpy(zero_copy_only=False))
                bits[owners[row + where]] |= 1 << bit
        return names, bits

    def identities(self) -> Iterator[tuple[Any, Any]]:
        """The prompt and the reward information of each problem, in the order of `problems`; None: not there."""
        import pyarrow.parquet as pq

        path = self.folder / outputs.PROBLEMS
        if not path.exists():
            yield from [(None, None)] * self.problems.num_rows
            return
        key = self.summary.get("settings", {}).get("reward_fn_key")
        with pq.ParquetFile(path) as file:
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
            passing = np.arange(scored.sum()) - np.repeat(np.cumsum(scored) - scored, scored) < np.repeat(
                passes, scored
            )
            values = passing.astype(np.float64)
            return np.repeat(np.arange(len(scored)), scored), values, values
        first, stop, code = self.rows
        names = [name for name in (REWARD, REWARD_PASS_VALUE) if name in rollouts.schema.names]
        parts = [
            np.stack([column.to_numpy(zero_copy_only=False).astype(np.float64) for column in batch.columns])
            for _, batch in Reader(rollouts.files, names, threads=True).all()
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
        if not path.exists() or PROMPT not in pq.read_schema(path).names:
            return []
        found: list[int] = []
        start = 0
        with pq.ParquetFile(path) as file:
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

    def samples(self, problems: Sequence[int], columns: Sequence[str]) -> dict[int, list[dict[str, Any]]]:
        """The rollouts of some problems, by number, with these of their columns that are there."""
        rollouts = self.rollouts
        found: dict[int, list[dict[str, Any]]] = {int(problem): [] for problem in problems}
        if rollouts is None:
            return found
        first, stop, code = self.rows
        wanted = np.flatnonzero(np.isin(code, list(found)))
        names = [name for name in columns if name in rollouts.schema.names]
        ranges = [(int(first[run]), int(stop[run])) for run in wanted]
        owners = np.repeat(code[wanted], stop[wanted] - first[wanted])
        done = 0
        for _, batch in Reader(rollouts.files, names).batches(ranges):
            for record in batch.to_pylist():
                found[int(owners[done])].append(record)
                done += 1
        return found


def _differ(column: pa.Array) -> NDArray[np.bool_]:
    """(n - 1,) whether each value differs from the one before it."""
    import pyarrow.compute as pc

    changed = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
    return np.asarray(changed.to_numpy(zero_copy_only=False), dtype=bool)
