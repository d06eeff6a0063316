"""Training data: every form of a prompt is read, and what cannot be asked says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import InputError
from analyzer.generation.prompts import Prompt, TrainingData, open_data, read_prompts

CHAT = [{"role": "user", "content": "What is 2+3?"}]


def opened(path: Path, limit: int | None = None, key: str = "prompt") -> TrainingData:
    return open_data(str(path), key, limit, str(path.parent / "cache"))


def prompts_of(path: Path, values: list[Any], kind: pa.DataType | None = None) -> list[Prompt]:
    pq.write_table(pa.table({"prompt": pa.array(values, kind)}), path)
    data = opened(path)
    return list(read_prompts(data, [(0, data.rows)]))


def test_text_and_chat_lists_and_chat_lists_as_json_are_prompts(tmp_path: Path) -> None:
    assert prompts_of(tmp_path / "a.parquet", ["hello", "[1, 2] is a list"]) == [
        Prompt(0, "hello"),
        Prompt(1, "[1, 2] is a list"),
    ]
    assert prompts_of(tmp_path / "b.parquet", [CHAT]) == [Prompt(0, CHAT)]
    assert prompts_of(tmp_path / "c.parquet", [json.dumps(CHAT)]) == [Prompt(0, CHAT)]
    assert prompts_of(tmp_path / "d.parquet", ["x", "x"], pa.dictionary(pa.int32(), pa.string()))[1].content == "x"


def test_keys_that_a_struct_column_adds_to_a_message_are_not_sent(tmp_path: Path) -> None:
    named = [{"role": "system", "content": "s", "name": "n"}, {"role": "user", "content": "u", "name": None}]
    (prompt,) = prompts_of(tmp_path / "a.parquet", [named])
    assert prompt.content == [{"role": "system", "content": "s", "name": "n"}, {"role": "user", "content": "u"}]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "the prompt is null"),
        ([], "the prompt is empty"),
        ([{"role": "user", "content": None}], "message 0 of the prompt lacks a role or content"),
        ([CHAT[0], None], "message 1"),
    ],
)
def test_a_prompt_that_cannot_be_asked_says_why_and_the_others_are_read(tmp_path: Path, value: Any, why: str) -> None:
    bad, good = prompts_of(tmp_path / "a.parquet", [value, CHAT])
    assert why in bad.problem
    assert good == Prompt(1, CHAT)


def test_jsonl_gives_the_same_prompts_as_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": p, "n": 2**70}) for p in ("a", "b")) + "\n")
    data = opened(path)
    assert [p.content for p in read_prompts(data, [(0, 2)])] == ["a", "b"]
    assert opened(path).dataset == data.dataset  # the second time the converted file is there


def test_each_line_of_a_file_keeps_its_own_form_of_a_prompt(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    lines = [
        CHAT,
        [{"role": "user", "content": parts}],
        [{"role": "user", "content": 5}],
        "text",
        json.dumps(CHAT),
        ["no", "chat"],
        7,
    ]
    # Together and one file each: what a line means does not depend on its neighbours.
    for name, group in [
        ("all", lines),
        *((str(number), [line]) for number, line in enumerate(lines[:5]) if number != 2),
    ]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in group))
        data = opened(path)
        found = [prompt.content for prompt in read_prompts(data, [(0, data.rows)])]
        wanted = [CHAT, lines[1], [{"role": "user", "content": "5"}], "text", CHAT, '["no","chat"]', "7"]
        assert found == (wanted if name == "all" else [wanted[int(name)]]), name


def test_keys_that_a_struct_column_adds_to_the_parts_of_a_message_are_not_sent(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    (prompt,) = prompts_of(tmp_path / "a.parquet", [[{"role": "user", "content": parts}]])
    assert prompt.content == [{"role": "user", "content": parts}]


def test_rows_are_numbered_over_all_files_and_limit_takes_the_first(tmp_path: Path) -> None:
    for number in range(2):
        pq.write_table(pa.table({"prompt": [f"{number}.{row}" for row in range(3)]}), tmp_path / f"{number}.parquet")
    data = opened(tmp_path)
    assert list(read_prompts(data, [(2, 4)])) == [Prompt(2, "0.2"), Prompt(3, "1.0")]
    assert opened(tmp_path, limit=4).rows == 4
    assert opened(tmp_path, limit=400).rows == 6


def test_columns_that_are_not_sent_are_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "images": [[b"png"]]}), tmp_path / "a.parquet")
    assert opened(tmp_path / "a.parquet").notes == ("the column 'images' is not sent to the model: prompts are text",)


def test_prompts_that_hold_an_answer_are_said(tmp_path: Path) -> None:
    asked, answered = {"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "5"}
    said, shown = "the last message is the assistant's in", ": if that is the answer, the model is shown it"
    for chats, note in (
        ([[asked], [asked, answered, asked]], None),
        ([[asked], [asked, answered]], f"{said} 1 of the 2 prompts{shown}"),
        ([[asked, answered]] * 130, f"{said} 100 of the first 100 prompts{shown}"),
    ):
        pq.write_table(pa.table({"prompt": chats}), tmp_path / "a.parquet")
        assert [found.partition(";")[0] for found in opened(tmp_path / "a.parquet").notes] == [note] * bool(note)


def test_unusable_data_is_an_input_error_that_names_file_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": ["a"], "n": [1]}), path)
    with pytest.raises(InputError, match=r"no column 'prompt'; the columns are: question, n; .*--prompt_key"):
        opened(path)
    with pytest.raises(InputError, match="the column 'n' must be text or a list"):
        opened(path, key="n")
    assert opened(path, key="question").rows == 1
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    with pytest.raises(InputError, match="no rows"):
        opened(path)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="not a readable parquet"):
        opened(path)
    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "b.parquet")


def test_files_of_different_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": ["a"], "n": [1]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: its columns differ"):
        opened(tmp_path)
