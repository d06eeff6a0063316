"""Tables of problems: the JSON is what orjson makes of a dict a problem, the parquet file what one write makes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.difficulty import metrics
from analyzer.difficulty.posterior import Gathered
from analyzer.planning import sharding
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import Dataset
from analyzer.stages import tables
from tests.commands import parquet

texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(['"', "\\frac{1}{2}", "a,b\n", "\x7f\x00"])
numbers = st.floats(allow_infinity=False) | st.sampled_from([0.1, 1 / 3, 1e-7, 1e22, 5e-324, -0.0, 123456789.125])


@st.composite
def columns(draw: Any) -> tuple[pa.Array, dict[str, Any], list[str | None], np.ndarray]:
    size = draw(st.integers(0, 12))
    ids = draw(
        st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=size, max_size=size, unique=True)
        | st.lists(texts, min_size=size, max_size=size, unique=True)
    )
    of = np.array(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)), int)
    of_classes = np.array([0.0, np.nan, 0.25])[of]
    held: dict[str, Any] = {
        "mean@1": np.array(draw(st.lists(numbers, min_size=size, max_size=size)), float),
        "mean@3": of_classes,
        # Equal to a column of classes, and yet another text, or another number, in one place.
        "mean@5": np.where(np.arange(size) == draw(st.integers(0, 20)), draw(numbers), of_classes),
        "num_samples": of * (1 << 40),
        "passes": np.array(draw(st.lists(st.integers(0, 1 << 40), min_size=size, max_size=size)), np.int64),
        tables.BEFORE_IT: np.array(draw(st.lists(st.integers(0, 99), min_size=size, max_size=size)), np.int32),
        "pass@1": Gathered(np.array([0.1, np.nan, 2.0]), of),
        "flag": Gathered(
            np.array(["", 'cut"off'], object),
            np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)), np.int8),
        ),
    }
    answers = draw(st.lists(st.none() | texts, min_size=size, max_size=size))
    order = np.array(draw(st.permutations(range(size))), np.int64)
    return pa.array(ids, pa.string() if ids and isinstance(ids[0], str) else pa.int64()), held, answers, order


def plain(values: Any, at: int) -> Any:
    value = np.asarray(values[np.array([at])])[0]
    return value if isinstance(value, str) else value.item()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns(), st.sampled_from([1, 3, 100]))
def test_json_and_parquet_are_those_of_a_dict_a_problem(
    tmp_path: Path, made: tuple[pa.Array, dict[str, Any], list[str | None], np.ndarray], rows: int
) -> None:
    ids, held, answers, order = made
    given_answers = [text for text in answers if text is not None]
    place = np.full(len(answers), -1)
    place[[at for at, text in enumerate(answers) if text is not None]] = np.arange(len(given_answers))
    known = tables.Answers(place, pa.array(given_answers, pa.large_string()))
    for path in tmp_path.iterdir():
        path.unlink()
    tables.write_metrics(str(tmp_path / "m.json"), ids, held, known, order)
    tables.write_metrics_table(str(tmp_path / "m.parquet"), ids, held, known, order, group_rows=rows)
    of = np.arange(len(ids)) % 2
    tables.write_buckets(str(tmp_path / "b.json"), ids, ["hard", "easy"], of, order)
    lines, records = [], []
    for at in order.tolist():
        record: dict[str, Any] = {}
        for name, values in held.items():
            record[name] = plain(values, at)
            if name == tables.BEFORE_IT:
                record[tables.MAJORITY_ANSWER] = answers[at]
        lines.append(orjson.dumps(str(ids[at].as_py())) + b": " + orjson.dumps(record))
        records.append({"data_idx": ids[at].as_py(), **record})
    assert (tmp_path / "m.json").read_bytes() == b"{\n" + b",\n".join(lines) + b"\n}\n"
    buckets = [orjson.dumps(str(ids[at].as_py())) + b": " + orjson.dumps(["hard", "easy"][at % 2]) for at in order]
    assert (tmp_path / "b.json").read_bytes() == b"{\n" + b",\n".join(buckets) + b"\n}\n"
    table = pq.read_table(tmp_path / "m.parquet")
    assert repr(table.to_pylist()).replace("None", "nan") == repr(records).replace("None", "nan")
    assert str(table.schema.field(tables.BEFORE_IT).type) == "int64"


def test_more_problems_than_are_put_together_at_a_time_are_one_object(tmp_path: Path) -> None:
    size = 2 * tables._ROWS + 1
    names, of = ["hard", "easy"], np.arange(size) % 2
    tables.write_buckets(str(tmp_path / "b.json"), pa.array(range(size)), names, of, np.arange(size))
    text = (tmp_path / "b.json").read_bytes()
    assert orjson.loads(text) == {str(at): names[at % 2] for at in range(size)}
    assert text.count(b"\n") == size + 2


def test_metrics_that_follow_from_the_class_of_a_problem_are_joined_once_for_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formatted = list[int]()
    make_texts = tables._texts

    def counting(values: np.ndarray) -> pa.StringArray:
        formatted.append(len(values))
        return make_texts(values)

    monkeypatch.setattr(tables, "_texts", counting)
    size = 3 * tables._ROWS
    of = np.arange(size) % 5
    held: dict[str, Any] = {
        "mean@1": np.array([0.0, np.nan, 0.25, 1 / 3, 1.0])[of],
        "num_samples": np.array([4, 0, 4, 3, 2])[of],
        "solve_rate": Gathered(np.array([0.1, np.nan, 0.3, 0.4, 0.9]), of),
    }
    held["tokens_mean"] = np.where(np.arange(size) == size - 1, 0.5, held["mean@1"])
    answers = tables.Answers(np.full(size, -1), pa.array([], pa.large_string()))
    tables.write_metrics(str(tmp_path / "m.json"), pa.array(range(size)), held, answers, np.arange(size))
    assert formatted == [5, 5, 5, *[tables._ROWS] * 3]
    read = orjson.loads((tmp_path / "m.json").read_bytes())
    assert read["1"] == {"mean@1": None, "num_samples": 0, "solve_rate": None, "tokens_mean": None}
    assert read[str(size - 1)]["tokens_mean"] == 0.5


def test_row_groups_are_those_of_one_write(tmp_path: Path) -> None:
    ids, values = pa.array(range(50)), np.linspace(0, 1, 50)
    held: dict[str, Any] = {
        "mean@1": values,
        tables.BEFORE_IT: np.arange(50),
        "flag": Gathered(np.array(["a", ""], object), np.arange(50) % 2),
    }
    answers = tables.Answers(np.full(50, -1), pa.array([], pa.large_string()))
    tables.write_metrics_table(str(tmp_path / "ours"), ids, held, answers, np.arange(50))
    table = pq.read_table(tmp_path / "ours")
    pq.write_table(table, tmp_path / "whole", compression="zstd", write_page_checksum=True)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "whole").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abcdé"), st.integers(0, 30)), st.sampled_from([0.0, 1.0, 0.1, 0.7]), min_size=1
    ),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_metrics_do_not_depend_on_the_order_of_the_rows(
    tmp_path: Path, rewards: dict[tuple[str, int], float], group_rows: int, chance: random.Random
) -> None:
    rows = [{"data_idx": idx, "sample_idx": sample, "reward": reward} for (idx, sample), reward in rewards.items()]
    first = metrics_json(tmp_path, rows, group_rows)
    chance.shuffle(rows)
    assert metrics_json(tmp_path, rows, group_rows + 1) == first


def metrics_json(folder: Path, rows: Sequence[dict[str, Any]], group_rows: int) -> bytes:
    """problem_metrics.json for these rewards."""
    dataset.close_files()
    path = parquet(folder / "r.parquet", rows, row_group_size=group_rows)
    file, schema = dataset.describe(str(path))
    numbering = sharding.number_problems(Dataset((file,), schema))
    values = np.array([row["reward"] for row in rows])
    measured = metrics.problem_metrics(numbering.row_codes(), values, numbering.problems)
    target = folder / "m.json"
    target.unlink(missing_ok=True)
    columns = tables.metric_columns(measured) | {tables.BEFORE_IT: np.zeros(numbering.problems, np.int64)}
    answers = tables.Answers(np.full(numbering.problems, -1), pa.array([], pa.large_string()))
    tables.write_metrics(str(target), numbering.ids, columns, answers, numbering.order())
    return target.read_bytes()
