"""tables: what is known of each problem, as problem_metrics.json and .parquet and problem_buckets.json.

Both forms are written some thousand problems at a time, and no problem becomes a Python object: of millions, a dict
each would take minutes and gigabytes. The JSON is what orjson makes of a dict a problem, to the byte.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from analyzer.difficulty.posterior import Gathered
from analyzer.schema import MEAN_AT, Metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.schema import IntArray

# Problems whose JSON is put together at a time. For four times as many, 28 MB, the kernel clears memory anew.
_ROWS = 1 << 13
_GROUP_ROWS = 1 << 20  # of a row group of the parquet file, as pyarrow makes them


def metric_columns(metrics: Metrics) -> dict[str, NDArray[Any]]:
    """Metric name -> (problems,) array, in the order of problem_metrics.json."""
    columns: dict[str, NDArray[Any]] = {f"mean@{k}": metrics.mean_at[k] for k in MEAN_AT}
    for name in ("pass_rate", "mean_reward", "max_reward", "min_reward", "std_reward", "num_samples"):
        columns[name] = getattr(metrics, name)
    for name in ("num_scored", "pass_rate_low", "pass_rate_high"):
        columns[name] = getattr(metrics, name)
    return columns | {f"mean_reward_{name}": means for name, means in metrics.parts.items()}


class Answers(NamedTuple):
    """The majority answer of each problem: the column majority_answer, which stands before majority_share."""

    majority: NDArray[np.integer]  # (problems,) position in `texts`, -1: none
    texts: pa.LargeStringArray

    def of(self, problems: IntArray) -> pa.StringArray:
        """The answers of some problems, null for none."""
        import pyarrow as pa

        chosen = self.majority[problems]
        return self.texts.take(pa.array(chosen, mask=chosen < 0)).cast(pa.string())


MAJORITY_ANSWER, BEFORE_IT = "majority_answer", "distinct_answers"


# ---------------------------------------------------------------- parquet


def write_metrics_table(
    path: str,
    ids: pa.Array,
    columns: Mapping[str, NDArray[Any] | Gathered],
    answers: Answers,
    order: IntArray,
    *,
    group_rows: int = _GROUP_ROWS,
) -> None:
    """Write problem_metrics.parquet: data_idx and the columns, those of `answers` among them, problems in `order`."""
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    try:
        for start in range(0, max(len(order), 1), group_rows):
            table = _table(ids, columns, answers, order[start : start + group_rows])
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _table(ids: pa.Array, columns: Mapping[str, NDArray[Any] | Gathered], answers: Answers, part: IntArray) -> pa.Table:
    import pyarrow as pa

    table: dict[str, pa.Array] = {"data_idx": ids.take(pa.array(part))}
    for name, values in columns.items():
        if isinstance(values, Gathered) and values.values.dtype == object:
            table[name] = pa.array(values.values.tolist(), pa.string()).take(pa.array(values.of[part]))
        else:
            table[name] = _numbers(values[part])
        if name == BEFORE_IT:
            table[MAJORITY_ANSWER] = answers.of(part)
    return pa.table(table)


def _numbers(values: NDArray[Any]) -> pa.Array:
    import pyarrow as pa

    # However few bits hold them here: the types in the file are the same in every run.
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    return pa.array(values.astype(wide, copy=False), from_pandas=values.dtype.kind == "f")


# ---------------------------------------------------------------- JSON


def write_metrics(
    path: str, ids: pa.Array, columns: Mapping[str, NDArray[Any] | Gathered], answers: Answers, order: IntArray
) -> None:
    """Write problem_metrics.json: {"<data_idx>": {metric: value or null}}, problems in `order`.

    columns: (problems,) arrays by name; NaN is null.
    """
    makers: list[str | Callable[[IntArray], pa.Array]] = []
    shared: tuple[Any, pa.Array] | None = None  # columns of the same classes, side by side, are one text for each class
    opening = ": {"
    for name, values in _by_class(columns).items():
        key = f"{opening}{orjson.dumps(name).decode()}:"
        opening = ","
        if isinstance(values, Gathered):
            texts = _joined(key, _texts(values.values))
            if shared is not None and shared[0] is values.of:
                makers.pop()
                texts = _joined(shared[1], texts)
            shared = values.of, texts
            makers.append(functools.partial(_taken, texts, values.of))
        else:
            shared = None
            makers += [key, functools.partial(_some_texts, values)]
        if name == BEFORE_IT:
            shared = None
            makers += [f',"{MAJORITY_ANSWER}":', lambda part: _json_texts(answers.of(part))]
    makers.append("}")
    with open(path, "xb") as file:
        _write_members(file, ids, order, lambda part: [one if isinstance(one, str) else one(part) for one in makers])


def _by_class(columns: Mapping[str, NDArray[Any] | Gathered]) -> dict[str, NDArray[Any] | Gathered]:
    """The columns, those as Gathered that have one value in each class of problems.

    Of rewards that are right or wrong, every metric follows from the passes and the samples of a problem, and most of
    its JSON is then the text of its class.
    """
    of = next((column.of for column in columns.values() if isinstance(column, Gathered)), np.empty(0, np.int8))
    if not len(of):
        return dict(columns)
    member = np.zeros(int(of.max()) + 1, np.int64)  # (classes,) one of its problems
    member[of] = np.arange(len(of))

    def by_class(values: NDArray[Any] | Gathered) -> NDArray[Any] | Gathered:
        if isinstance(values, Gathered):
            return values
        found = Gathered(values[member], of)
        bits = f"u{values.dtype.itemsize}"  # NaN is equal to NaN, and 0.0 has another text than -0.0
        parts = (slice(start, start + _ROWS) for start in range(0, len(of), _ROWS))  # most end at the first
        return found if all((found[part].view(bits) == values[part].view(bits)).all() for part in parts) else values

    return {name: by_class(values) for name, values in columns.items()}


def write_buckets(path: str, ids: pa.Array, buckets: Sequence[str], of: NDArray[np.integer], order: IntArray) -> None:
    """Write problem_buckets.json: {"<data_idx>": "<bucket>"}, problems in `order`.

    of: (problems,) the number of each problem's bucket.
    """
    texts = _texts(np.array(buckets, dtype=object))
    with open(path, "xb") as file:
        _write_members(file, ids, order, lambda part: [": ", _taken(texts, of, part)])


def _write_members(
    file: IO[bytes], ids: pa.Array, order: IntArray, pieces: Callable[[IntArray], Sequence[pa.Array | str]]
) -> None:
    """Stream a JSON object, one member a line: of each problem its id, then `pieces`, which are arrays of texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    file.write(b"{\n")
    end = b",\n"
    for start in range(0, len(order), _ROWS):
        part = order[start : start + _ROWS]
        names = ids.take(pa.array(part)).cast(pa.string())
        names = _joined('"', names, '"') if pa.types.is_integer(ids.type) else _json_texts(names)
        members = pc.binary_join_element_wise(names, *pieces(part), end.decode(), "")
        # One after the other in memory already: the buffer is what is to be written.
        text = memoryview(members.buffers()[2])[: _length(members)]
        file.write(text if start + _ROWS < len(order) else text[: -len(end)])
    file.write(b"\n}\n")


def _length(texts: pa.StringArray) -> int:
    """Bytes of all texts together."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    return int(offsets[len(texts)])


def _taken(texts: pa.StringArray, of: NDArray[np.integer], part: IntArray) -> pa.StringArray:
    import pyarrow as pa

    return texts.take(pa.array(of[part]))


def _some_texts(values: NDArray[Any], part: IntArray) -> pa.StringArray:
    return _texts(values[part])


def _joined(*pieces: pa.Array | str) -> pa.StringArray:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*pieces, "")


def _texts(values: NDArray[Any]) -> pa.StringArray:
    """Each value as JSON; NaN is null."""
    import pyarrow as pa

    if values.dtype == object:
        return pa.array([orjson.dumps(value).decode() for value in values.tolist()], pa.string())
    if not len(values):
        return pa.array([], pa.string())
    wide = values.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)
    # All numbers in one call, as "[0.5,null,1.0]": what stands between the commas are the texts, and their lengths are
    # all that is missing.
    text = np.frombuffer(orjson.dumps(np.ascontiguousarray(wide), option=orjson.OPT_SERIALIZE_NUMPY), np.uint8)[1:-1]
    commas = text == ord(",")
    ends = np.append(np.flatnonzero(commas) - np.arange(len(values) - 1), len(text) - (len(values) - 1))
    offsets = np.append(0, ends).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(text[~commas]))


def _json_texts(texts: pa.StringArray) -> pa.StringArray:
    """Texts as JSON strings, null as null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Looked for in all bytes of the array at once: a search in each text takes ten times as long.
    characters = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    if (characters < ord(" ")).any():  # rare, and each has an escape of its own
        return pa.array([orjson.dumps(text).decode() for text in texts.to_pylist()], pa.string())
    for special in ("\\", '"'):
        if (characters == ord(special)).any():
            texts = pc.replace_substring(texts, special, "\\" + special)
    return pc.fill_null(_joined('"', texts, '"'), "null")
