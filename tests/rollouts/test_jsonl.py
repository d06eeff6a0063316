"""jsonl: what a value is in the text is what it is in the table, and the same rollouts give the same results."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import InputError
from analyzer.rollouts import jsonl as subject
from analyzer.rollouts.json_text import dump_json, load_json
from analyzer.rollouts.problems import group
from tests.commands import SAMPLE, Outcome, Row, compressed, jsonl, parquet, rollouts

pytestmark = pytest.mark.usefixtures("warm_zygotes")
ROWS = rollouts()
GOLD = "original_reward_model"
FORMATS = ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst"]


def converted(folder: Path, *lines: Row | str | bytes, name: str = "r.jsonl") -> pa.Table:
    """The lines as the parquet file they become."""
    folder.mkdir(exist_ok=True)
    (path,) = subject.convert([str(jsonl(folder / name, lines))], str(folder))
    return pq.read_table(path)


def column(folder: Path, *values: Any) -> pa.ChunkedArray:
    """A column of these values, after conversion; text is JSON as it stands."""
    return converted(folder, *(f'{{"x": {value}}}' for value in values))["x"]


# ---------------------------------------------------------------- values


def test_a_byte_order_mark_and_blank_lines_are_no_part_of_the_data(tmp_path: Path) -> None:
    table = converted(tmp_path, b'\xef\xbb\xbf{"x": 1}', "", "   ", b'{"x": 2}\r')
    assert table.to_pylist() == [{"x": 1}, {"x": 2}]


def test_a_last_line_needs_no_line_feed(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", ['{"x": 1}', '{"x": 2}'], end=b"")
    assert [line.row for line in subject.read_lines(str(path))] == [{"x": 1}, {"x": 2}]


def test_nan_and_infinity_are_read(tmp_path: Path) -> None:
    values = column(tmp_path, "NaN", "-Infinity", "1.5").to_pylist()
    assert math.isnan(values[0])
    assert values[1:] == [-math.inf, 1.5]


def test_a_lone_surrogate_is_replaced_and_counted_and_a_pair_is_a_character(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", [r'{"\udc00": "a\ud800b", "y": ["\udfff\udfff"]}', r'{"y": ["\ud83d\ude00"]}'])
    first, second = subject.read_lines(str(path))
    assert (first.row, first.replaced) == ({"\ufffd": "a\ufffdb", "y": ["\ufffd\ufffd"]}, 4)
    assert (second.row, second.replaced) == ({"y": ["\N{GRINNING FACE}"]}, 0)


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_an_integer_of_64_bits_stays_one(value: int, tmp_path: Path) -> None:
    assert column(tmp_path, value, 1).to_pylist() == [value, 1]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**19, 2**64, 7**5000])
def test_a_larger_integer_keeps_its_digits_as_text(value: int, tmp_path: Path) -> None:
    digits = f"-{-value}" if value < 0 else _digits(value)
    assert column(tmp_path, digits, "5").to_pylist() == [digits, "5"]


def _digits(value: int) -> str:
    """str(value) without the limit that Python has on it."""
    parts = []
    while value:
        value, part = divmod(value, 10**18)
        parts.append(f"{part:018d}")
    return "".join(reversed(parts)).lstrip("0")


def test_a_string_is_never_taken_for_a_date_or_a_number(tmp_path: Path) -> None:
    texts = ["2024-01-01", "2024-01-01T00:00:00Z", "1", "1e5", "true", "null", ""]
    values = column(tmp_path, *map(json.dumps, texts))
    assert values.type == pa.string()
    assert values.to_pylist() == texts


def test_integers_and_floats_are_floats_where_that_loses_nothing(tmp_path: Path) -> None:
    assert column(tmp_path, "1", "2.5").to_pylist() == [1.0, 2.5]
    assert column(tmp_path, str(2**53 + 1), "2.5").to_pylist() == [str(2**53 + 1), "2.5"]


def test_a_member_that_is_missing_is_null_and_columns_are_in_order_of_appearance(tmp_path: Path) -> None:
    table = converted(tmp_path, {"b": {"x": 1}}, {"a": [1], "b": {"y": None, "z": "t"}})
    assert table.column_names == ["b", "a"]
    assert table.to_pylist() == [{"b": {"x": 1, "y": None, "z": None}, "a": None},
                                 {"b": {"x": None, "y": None, "z": "t"}, "a": [1]}]  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [["1", '"1"'], ['{"a": 1}', "[1]"], ["true", "1"], ['"a"', "NaN", "null"],
     [str(10**30), '"a"'], [f'{{"a": {10**30}}}', '{"a": "b"}', '{"a": [1.5]}']],
)  # fmt: skip
def test_values_of_several_types_become_json_text_that_is_understood_again(values: list[str], tmp_path: Path) -> None:
    texts = [f'{{"data_idx": {i}, "gold": {value}}}' for i, value in enumerate(values) if value != "null"]
    table = converted(tmp_path, *texts)
    golds = [problem.ground_truth for problem in group(table, ["gold"], "gold", "source").problems]
    expected = [_understood(value) for value in values if value != "null"]
    assert repr(golds) == repr(expected)


def _understood(text: str) -> Any:
    """The value, a large integer as its digits."""
    return json.loads(text, parse_int=lambda digits: digits if len(digits) > 19 else int(digits))


def test_an_object_without_members_is_one_whose_members_are_null(tmp_path: Path) -> None:
    assert column(tmp_path, "{}", '{"a": [1]}').to_pylist() == [{"a": None}, {"a": [1]}]
    assert column(tmp_path, "{}", "{}").to_pylist() == ["{}", "{}"]  # parquet has no struct without members


def test_conflicts_inside_a_struct_are_understood_again_too(tmp_path: Path) -> None:
    lines = [{"data_idx": i, "gold": {"ground_truth": gold}} for i, gold in enumerate(["5", ["a", "b"], {"c": 1}])]
    table = converted(tmp_path, *lines)
    golds = [problem.ground_truth for problem in group(table, ["gold"], "gold", "source").problems]
    assert golds == ["5", ["a", "b"], {"c": 1}]


def test_a_mapping_of_very_many_keys_is_json_text_and_not_a_column_each(tmp_path: Path) -> None:
    many = {f"k{i}": i for i in range(600)}
    (text,) = column(tmp_path, json.dumps(many)).to_pylist()
    assert json.loads(text) == many


def test_deep_values_are_kept_as_json_text(tmp_path: Path) -> None:
    text = "[" * 90 + "1" + "]" * 90
    table = converted(tmp_path, f'{{"x": {text}}}')
    value = table["x"][0].as_py()
    while isinstance(value, list):
        (value,) = value
    assert "[" * 50 in value


some_scalar = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
json_values = st.recursive(
    some_scalar | st.text("ab\ud83d\x00é", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(json_values)
def test_json_text_of_a_value_is_that_value(value: Any) -> None:
    cleaned = json.loads(json.dumps(value).replace("\\ud83d", "\\ufffd"))
    assert load_json(dump_json(cleaned)) == cleaned


# ---------------------------------------------------------------- lines that disagree

ECHO = """
def echo(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": 1.0, "gold": repr(ground_truth), "extra": repr(extra_info)}
"""

DISAGREEING: dict[str, list[Any]] = {
    "integers and fractions": [5, 2.5, 5, -3],
    "integers, 5.0 and fractions": [5, 5.0, 2.5],
    "texts and an integer": ["5", "5", 5],
    "texts and true": ["true", True],
    "texts and lists": ["a", ["a", "b"]],
    "texts, objects, and a text that reads as one": ["a", {"x": 1}, '{"x": 1}'],
    "members of two types": [{"target": "a"}, {"target": ["a", 1]}, {"target": 2}],
    "items of two types": [["a", 1], ["b"]],
    "integers past and within 64 bits": [5, 2**63 - 1, 10**30],
    "wide integers and fractions": [2**53 + 1, 0.5],
    "objects and lists": [{"x": 1}, [1]],
}


@pytest.mark.parametrize("values", DISAGREEING.values(), ids=DISAGREEING)
def test_a_function_gets_each_value_as_its_line_has_it_whatever_the_other_lines_hold(
    values: list[Any], tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    got = echoed(tmp_path, analyze, values, values)
    assert got["reward_gold"].to_pylist() == got["reward_extra"].to_pylist() == list(map(shown, values))


def test_so_it_does_where_members_of_objects_disagree(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    members = [{what: values[i % len(values)] for what, values in DISAGREEING.items()} for i in range(4)]
    golds = [{"style": "rule", "ground_truth": each} for each in members]
    got = echoed(tmp_path, analyze, golds, members)
    assert got["reward_gold"].to_pylist() == got["reward_extra"].to_pylist() == list(map(shown, members))


def echoed(tmp_path: Path, analyze: Callable[..., Outcome], golds: list[Any], extras: list[Any]) -> pa.Table:
    """The rollouts of lines with these ground truths and this extra info, with what a function was given of them."""
    (tmp_path / "echo.py").write_text(ECHO)
    rows = [
        {"prompt": f"p{i}", "response": "r", "data_idx": i, "sample_idx": 0, GOLD: gold, "original_extra_info": extra}
        for i, (gold, extra) in enumerate(zip(golds, extras, strict=True))
    ]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows), reward_fn=f"{tmp_path}/echo.py:echo")
    assert outcome.code == 0, outcome.err
    return outcome.table()


def shown(value: Any) -> str:
    """What `echo` is to show of a value: an integer past 64 bits is its digits, in every column."""
    return repr(json.loads(json.dumps(value), parse_int=_integer))


def _integer(digits: str) -> int | str:
    return digits if len(digits) > 19 else int(digits)


def test_pandas_and_datasets_read_texts_as_they_were_and_numbers_as_numbers(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    import datasets  # here: half a second of each worker of pytest

    columns: dict[str, list[Any]] = {}
    for what, values in DISAGREEING.items():
        columns[what] = [values[i % len(values)] for i in range(len(ROWS))]
        columns[f"members that are {what}"] = [{"of": value} for value in columns[what]]
    rows = [{**row, **{name: values[i] for name, values in columns.items()}} for i, row in enumerate(ROWS)]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0, outcome.err
    path = str(outcome.folder / "rollouts_with_rewards.parquet")
    frame = pd.read_parquet(path)
    loaded = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "hf"))
    for what in DISAGREEING:
        inside = [row["of"] for row in frame[f"members that are {what}"]]
        for shown in (frame[what], inside, loaded[what]):
            for value, told in zip(columns[what], shown, strict=True):
                if isinstance(value, str):
                    assert told == value, what
                elif isinstance(told, str):
                    assert json.loads(told) == value, what
                elif isinstance(value, int | float):
                    assert told == value, what


def test_rewards_stay_what_they_are_when_outputs_are_analyzed_again(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    """f1 takes the best of a list of targets, so it matters that a list among texts comes back as one."""
    golds = ["two words", ["other", "two words"], "none of them"]
    rows = [{**ROWS[i], "data_idx": i, "response": "two words", GOLD: gold} for i, gold in enumerate(golds)]
    first = analyze(jsonl(tmp_path / "r.jsonl", rows), reward_fn="f1", output_dir=tmp_path / "first")
    assert first.table()["reward"].to_pylist() == [1.0, 1.0, 0.0], first.err
    again = analyze(tmp_path / "first" / "rollouts_with_rewards.parquet", reward_fn="f1", rescore=True)
    assert again.table()["reward"].to_pylist() == [1.0, 1.0, 0.0]


def test_numbers_among_texts_that_name_problems_are_texts(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    rows = [{**row, "data_idx": row["data_idx"] or "gsm-0"} for row in ROWS]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0
    assert outcome.table()["data_idx"].to_pylist() == [str(row["data_idx"]) for row in rows]
    assert list(outcome.json("problem_buckets.json")) == ["1", "2", "gsm-0"]
    assert outcome.table()["reward"].to_pylist() == [float(row["sample_idx"] < row["data_idx"]) for row in ROWS]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        (GOLD, ["5", "5", 5], f"r.jsonl, line 4: {GOLD} is an integer, but text in r.jsonl, line 1"),
        (GOLD, [{"ground_truth": 5}, {"ground_truth": 0.5}], f"r.jsonl, line 2: {GOLD}.ground_truth is a floating-poi"),
        ("prompt", ["a", [{"role": "user", "content": "a"}]], "r.jsonl, line 2: prompt is a list, but text in r.jsonl"),
        ("data_idx", ["a", 7], "r.jsonl, line 2: data_idx is an integer, but text in r.jsonl, line 1; all are read as"),
        ("note", [1, 0.5], None),
        ("note", [None, 1, None], None),
        ("note", [{}, {"a": 1}], None),
    ],
)
def test_lines_that_disagree_are_said_with_column_and_line(
    column: str, values: list[Any], said: str | None, tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    rows: list[Row | str] = [{**ROWS[i], "data_idx": i, column: value} for i, value in enumerate(values)]
    if said and "line 4" in said:
        rows.insert(1, "")  # a blank line counts as one
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows), reward_fn=f"{tmp_path}/echo.py:echo")
    assert outcome.code == 0, outcome.err
    found = [warning for warning in outcome.json("summary.json")["warnings"] if "r.jsonl, line" in warning]
    assert len(found) == (said is not None)
    assert all(warning.startswith(str(said)) for warning in found)


def test_further_columns_of_a_reward_show_texts_as_they_are(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    (tmp_path / "f.py").write_text(
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    return {'score': 1.0, 'pred': ['a', 5, '7', 10**30][extra_info['index'] % 4]}\n"
    )
    rows = [{**row, "original_extra_info": {"index": i}} for i, row in enumerate(ROWS[:4])]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows), reward_fn=f"{tmp_path}/f.py:f")
    assert outcome.code == 0, outcome.err
    assert outcome.table()["reward_pred"].to_pylist() == ["a", "5", "7", str(10**30)]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", FORMATS)
def test_compressed_files_are_read_to_the_end(name: str, tmp_path: Path) -> None:
    assert converted(tmp_path, *ROWS, name=name).to_pylist() == ROWS


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_file_of_several_compressed_pieces_is_read_to_the_end(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(compressed(name, b'{"x": 1}\n') + compressed(name, b'{"x": 2}\n'))
    assert [line.row["x"] for line in subject.read_lines(str(path))] == [1, 2]


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_file_cut_between_two_lines_is_noticed(name: str, tmp_path: Path) -> None:
    data = compressed(name, b"".join(b'{"x": %d}\n' % i for i in range(1000)))
    for keep in range(20, len(data), max(1, len(data) // 40)):
        (tmp_path / name).write_bytes(data[:keep])
        with pytest.raises(InputError, match="is the file complete"):
            list(subject.read_lines(str(tmp_path / name)))


def test_gzip_of_another_writer_is_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "r.jsonl.gz", "wt", compresslevel=1) as file:
        file.write('{"x": 1}\n')
    assert [line.row for line in subject.read_lines(str(tmp_path / "r.jsonl.gz"))] == [{"x": 1}]


def test_several_files_have_one_schema_the_union_of_all(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    jsonl(tmp_path / "in" / "a.jsonl", [{**row, "note": 1} for row in ROWS[:5]])
    jsonl(tmp_path / "in" / "b.jsonl", [{**row, "note": 0.5} for row in ROWS[5:8]])
    jsonl(tmp_path / "in" / "c.jsonl", ROWS[8:])
    outcome = analyze(tmp_path / "in")
    assert outcome.code == 0
    assert outcome.table()["note"].to_pylist() == [1.0] * 5 + [0.5] * 3 + [None] * 4


# ---------------------------------------------------------------- the same rollouts, the same results


def assert_same_results(
    analyze: Callable[..., Outcome], rows: list[Row], folder: Path, names: Sequence[str] = FORMATS
) -> None:
    """The rows as parquet and in forms of jsonl: equal metrics and buckets, byte for byte, and equal rows."""
    expected = analyze(parquet(folder / "r.parquet", rows), output_dir=folder / "from_parquet")
    assert expected.code == 0
    for name in names:
        outcome = analyze(jsonl(folder / name, rows), output_dir=folder / f"from_{name}")
        for file in ("problem_metrics.json", "problem_buckets.json"):
            assert outcome.files()[file] == expected.files()[file]
        assert outcome.table().to_pylist() == expected.table().to_pylist()
        assert outcome.json("summary.json") == expected.json("summary.json")


def test_the_sample_gives_the_same_as_parquet_and_as_jsonl(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    assert_same_results(analyze, pq.read_table(SAMPLE).slice(0, 200).to_pylist(), tmp_path)


def test_real_rollouts_give_the_same_as_parquet_and_as_jsonl(
    tmp_path: Path, analyze: Callable[..., Outcome], shared: Callable[[str], Path]
) -> None:
    rows = pq.read_table(shared("data/gsm8k_openai.parquet")).slice(0, 200).to_pylist()
    assert_same_results(analyze, rows, tmp_path)


@pytest.mark.parametrize("ids", [str, lambda idx: (1 << 53) + idx], ids=["text", "wide integers"])
def test_problems_of_any_name_give_the_same_as_parquet_and_as_jsonl(
    ids: Callable[[int], Any], tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    rows = [{**row, "data_idx": ids(row["data_idx"])} for row in ROWS]
    assert_same_results(analyze, rows, tmp_path, FORMATS[:1])  # however they are compressed, the lines are the same


def test_chat_prompts_and_ragged_extra_info_go_through_jsonl(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    chat = [{"role": "user", "content": "What is 1 + 1?"}]
    extra: list[Any] = [{"index": 1}, {"index": "one"}, {}, None, [1, {"a": 2}]]
    rows = [{**row, "prompt": chat, "original_extra_info": extra[i % 5]} for i, row in enumerate(ROWS)]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0
    table = outcome.table()
    assert table["prompt"].to_pylist() == [chat] * len(rows)
    texts = table["original_extra_info"].to_pylist()
    assert [None if text is None else json.loads(text) for text in texts] == [
        row["original_extra_info"] for row in rows
    ]


@pytest.mark.parametrize("dialect", ["struct", "JSON string", "bare", "mixed"])
def test_every_dialect_of_the_ground_truth_is_scored_alike_from_jsonl(
    dialect: str, tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    def said(number: int, gold: dict[str, str]) -> Any:
        forms = [gold, json.dumps(gold), gold["ground_truth"]]
        return forms[number % 3] if dialect == "mixed" else forms[["struct", "JSON string", "bare"].index(dialect)]

    rows = [{**row, GOLD: said(number, row[GOLD])} for number, row in enumerate(ROWS)]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0
    assert outcome.table()["reward"].to_pylist() == [float(row["sample_idx"] < row["data_idx"]) for row in rows]


def test_replaced_surrogates_are_reported(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    rows = [{**row, "prompt": "\ud800 and \udc00"} if row["data_idx"] == 0 else row for row in ROWS]
    outcome = analyze(jsonl(tmp_path / "r.jsonl", rows))
    assert outcome.code == 0
    assert "8 lone surrogates" in outcome.err
    assert outcome.table()["prompt"][0].as_py() == "\ufffd and \ufffd"
    assert outcome.table().schema.metadata is None
