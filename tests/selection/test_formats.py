"""Formats: the columns that each trainer's loader reads, from training data of every kind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.config import SelectionSettings
from analyzer.errors import ConfigError
from analyzer.schema import GROUND_TRUTH, MADE, METRIC
from analyzer.selection import formats, recipes
from analyzer.selection.formats import Context
from analyzer.selection.select import select
from tests.selection.conftest import ROOT, Make, settings

ORIGINS = ["verl", "trl", "hf"]
CONTEXT = Context("made", False, "shortest", 1, 42)


def rows(analysis_of: Make, tmp_path: Path, origin: str, kind: str | None, ending: str = "parquet") -> Any:
    output = tmp_path / f"o.{ending}"
    made = select(settings(analysis=analysis_of(origin).folder, output=output, format=kind, overwrite=True))
    assert made.rows == made.kept == 24
    if ending == "parquet":
        return pq.read_table(output).to_pylist()
    return [json.loads(line) for line in output.read_text().splitlines()]


def is_chat(prompt: Any, number: int) -> bool:
    return prompt == [{"role": "user", "content": f"What is {number} + {number}?"}]


@pytest.mark.parametrize("origin", ORIGINS)
def test_verl_rows(analysis_of: Make, tmp_path: Path, origin: str) -> None:
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "verl")):
        assert is_chat(row["prompt"], number)
        assert row["data_source"] == ("made" if origin != "verl" else ["openai/gsm8k", "sums"][number % 2])
        assert row["reward_model"] == {"style": "rule", "ground_truth": str(2 * number)}
        assert row["extra_info"]["index"] == number
        assert row["difficulty_pass_rate"] == number % 9 / 8


def test_verl_rows_that_are_verls_stay_byte_for_byte_what_they_were(analysis_of: Make, tmp_path: Path) -> None:
    made = analysis_of("verl")
    output = tmp_path / "train.parquet"
    assert select(settings(analysis=made.folder, output=output)).manifest["format"] == "verl"
    training, table = pq.read_table(made.training), pq.read_table(output)
    own = table.select(training.column_names)
    assert own.schema.equals(training.schema, check_metadata=True)
    assert own.equals(training)
    rest = table.column_names[training.num_columns :]
    assert all(name.startswith("difficulty_") for name in rest)
    assert pa.concat_tables([own, training]).num_rows == 48
    assert not [field for field in table.schema if field.metadata]


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_the_other_loaders_read(analysis_of: Make, tmp_path: Path, origin: str) -> None:
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "trl")):
        assert row["solution"] == str(2 * number)
        assert row["prompt"] == f"What is {number} + {number}?" or is_chat(row["prompt"], number)
    for ending in ("parquet", "jsonl"):
        for number, row in enumerate(rows(analysis_of, tmp_path, origin, "openrlhf", ending)):
            assert is_chat(row["prompt"], number)
            assert row["label"] == str(2 * number)
            assert isinstance(row["datasource"], str)
        for number, row in enumerate(rows(analysis_of, tmp_path, origin, "slime", ending)):
            assert is_chat(row["prompt"], number)
            assert row["label"] == str(2 * number)
            assert row["metadata"]["index"] == number
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "swift")):
        assert is_chat(row["messages"], number)
        assert row["solution"] == str(2 * number)
        assert "prompt" not in row
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "skyrl")):
        assert is_chat(row["prompt"], number)
        assert row["reward_spec"] == {"method": "rule", "ground_truth": str(2 * number)}
        assert row["env_class"] == ("gsm8k" if origin == "verl" and number % 2 == 0 else "aime")
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "nemo_rl", "jsonl")):
        assert row["input"] == f"What is {number} + {number}?"
        assert row["output"] == str(2 * number)
    for number, row in enumerate(rows(analysis_of, tmp_path, origin, "roll", "jsonl")):
        assert row["id"] == str(number)
        assert is_chat(json.loads(row["messages"]), number)
        assert row["ground_truth"] == str(2 * number)
        assert row["difficulty"] == number % 9 / 8
        assert isinstance(row["tag"], str)


def problems(**columns: Any) -> pa.Table:
    """Rows of problems.parquet of our making."""
    fields = [pa.field(name, pa.array(values).type) for name, values in columns.items()]
    marks = {"label": GROUND_TRUTH, "difficulty_data_idx": METRIC, "difficulty_pass_rate": METRIC}
    fields = [field.with_metadata({MADE: marks[field.name]}) if field.name in marks else field for field in fields]
    return pa.table(columns, schema=pa.schema(fields))


METRICS: dict[str, list[Any]] = {"label": ["4"], "difficulty_data_idx": [7], "difficulty_pass_rate": [0.5]}


def test_a_chat_that_the_data_holds_as_json_text_is_a_chat() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    table = problems(prompt=[json.dumps(chat)], **METRICS)
    assert formats.build("openrlhf", CONTEXT).rows(table)["prompt"].to_pylist() == [chat]
    for content in (None, [{"type": "image"}]):
        more = json.dumps([*chat, {"role": "assistant", "content": content}])
        with pytest.raises(ConfigError, match=r"more than text in it \(a message of assistant has (NoneType|list)"):
            formats.build("openrlhf", CONTEXT).rows(problems(prompt=[more], **METRICS))
    assert formats.build("trl", CONTEXT._replace(json_chats=True)).rows(table)["prompt"].to_pylist() == [chat]
    table = problems(prompt=['[1, 2] and "role"'], **METRICS)
    assert formats.build("verl", CONTEXT).rows(table)["prompt"].to_pylist() == [
        [{"role": "user", "content": '[1, 2] and "role"'}]
    ]


def test_nemo_rl_refuses_what_it_would_drop() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    with pytest.raises(ConfigError, match="one user message"):
        formats.build("nemo_rl", CONTEXT).rows(problems(prompt=[chat], **METRICS))


def test_what_a_format_cannot_hold_or_its_trainer_cannot_load_is_refused() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}]
    with pytest.raises(ConfigError, match="prompts of text, and one has a message of several parts"):
        formats.build("nemo_rl", CONTEXT).rows(problems(prompt=[parts], **METRICS))
    bare = {"prompt": ["p"], "solution": ["4"], **METRICS}
    for name in ("nemo_rl", "roll", "swift", "sft", "dpo", "kto"):
        with pytest.raises(ConfigError, match=f"--format {name} holds text alone, .* in the column 'images'"):
            formats.build(name, CONTEXT).check(problems(images=[[{"bytes": b"x"}]], **bare).schema)
        formats.build(name, CONTEXT).check(problems(images=[None], **bare).schema)
    with pytest.raises(ConfigError, match=r"--format verl needs extra_info as a struct, and .* it is string"):
        formats.build("verl", CONTEXT).check(problems(extra_info=['{"index": 1}'], **bare).schema)
    for extra_info, index in ((None, 7), ({"index": 1}, 1)):
        table = problems(extra_info=[extra_info], **bare)
        formats.build("verl", CONTEXT).check(table.schema)
        assert formats.build("verl", CONTEXT).rows(table)["extra_info"].to_pylist() == [{"index": index}]


def test_the_types_are_the_same_for_any_part_of_the_rows(analysis_of: Make) -> None:
    for origin in ORIGINS:
        table = pq.read_table(analysis_of(origin).folder / "problems.parquet")
        for name in formats.names():
            made = formats.build(name, CONTEXT)
            if name not in ("sft", "dpo", "kto"):
                whole = made.rows(table).schema
                assert made.rows(table.slice(0, 0)).schema.equals(whole)
                assert made.rows(table.slice(3, 2)).schema.equals(whole)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("of_verl", [True, False])
def test_a_data_source_that_is_null_is_the_one_that_was_named_for_all(of_verl: bool, kind: pa.DataType) -> None:
    prompts: list[Any] = [[{"role": "user", "content": "2+3?"}]] * 2 if of_verl else ["2+3?"] * 2
    gold = [{"style": "rule", "ground_truth": "5"}] * 2
    metrics = {name: values * 2 for name, values in METRICS.items()}
    table = problems(prompt=prompts, reward_model=gold, data_source=pa.array(["own", None]).cast(kind), **metrics)
    made = formats.build("verl", CONTEXT._replace(data_source="named")).rows(table).column("data_source")
    assert made.to_pylist() == ["own", "named"]
    assert not of_verl or made.type == kind  # rows of verl keep their types
    unnamed = formats.build("verl", CONTEXT._replace(data_source=None)).rows(table)
    assert unnamed.column("data_source").to_pylist() == ["own", None]


def test_a_data_source_of_nothing_but_nulls_is_the_one_that_was_named_for_all() -> None:
    gold = [{"style": "rule", "ground_truth": "5"}] * 2
    metrics = {name: values * 2 for name, values in METRICS.items()}
    prompts = [[{"role": "user", "content": "2+3?"}]] * 2
    table = problems(prompt=prompts, reward_model=gold, data_source=pa.nulls(2), **metrics)
    made = formats.build("verl", CONTEXT._replace(data_source="named"))
    assert made.rows(table).column("data_source").to_pylist() == ["named"] * 2
    assert made.rows(table.slice(0, 0)).schema.equals(made.rows(table).schema)


def test_a_format_says_what_the_rows_lack() -> None:
    bare = problems(prompt=["p"], difficulty_data_idx=[1], difficulty_pass_rate=[0.5]).schema
    nothing = Context(None, False, "shortest", 1, 42)
    for name in ("verl", "trl", "openrlhf", "nemo_rl", "slime", "skyrl", "roll", "swift"):
        with pytest.raises(ConfigError, match=f"--format {name} needs the ground truth"):
            formats.build(name, nothing).check(bare)
    with pytest.raises(ConfigError, match="needs a data_source"):
        formats.build("verl", nothing).check(problems(prompt=["p"], **METRICS).schema)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("roll", "o.parquet", "is read as .jsonl only"),
        ("nemo_rl", "o.parquet", "is read as .jsonl only"),
        ("rows", "o.csv", "must end in .parquet or .jsonl"),
    ],
)
def test_endings(analysis_of: Make, tmp_path: Path, kind: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(settings(analysis=analysis_of("verl").folder, output=tmp_path / name, format=kind))


def test_bytes_cannot_go_to_jsonl(tmp_path: Path) -> None:
    from analyzer.selection.writing import open_sink

    with pytest.raises(ConfigError, match="'image' holds bytes"):
        open_sink(str(tmp_path / "o.jsonl"), pa.schema([("image", pa.struct([("bytes", pa.binary())]))]))


def test_every_format_is_on_the_page_and_those_of_the_help_are_formats() -> None:
    page = (ROOT / "docs" / "select_problems.md").read_text(encoding="utf-8")
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(SelectionSettings)}
    for name in formats.names():
        assert f"`{name}`" in page
    some = helps["format"].partition(": ")[2].partition(";")[0].split(", ")  # --format list shows all
    assert set(some) <= {*formats.names(), "..."}
    for recipe in recipes.RECIPES:
        assert f"`{recipe.name}`" in page
