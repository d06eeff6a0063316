"""Bad input: one clear line on stderr that says what, where and what to do; exit 2; nothing written."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from tests.commands import (
    SAMPLE,
    SCRIPT,
    TOKENIZER,
    Outcome,
    Row,
    changed,
    flags,
    jsonl,
    known_tokenizer,
    parquet,
    real_command,
    rollouts,
)

ROWS = rollouts()
GOLD = "original_reward_model"
LONG = random.Random(0).randbytes(3000).hex()


class Case(NamedTuple):
    """An input that is bad, the flags it is given with, and what the line must say."""

    make: Callable[[Path], Path]  # in a folder of its own -> the value of --rollouts
    says: tuple[str, ...]
    flags: dict[str, Any] = {}  # noqa: RUF012  # never changed


def without(*names: str) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in ROWS]


def of(rows: Sequence[Row] | pa.Table) -> Callable[[Path], Path]:
    """The rows as a parquet file."""
    return lambda folder: parquet(folder / "rollouts.parquet", rows)


def with_column(name: str, values: pa.Array) -> Callable[[Path], Path]:
    table = pa.Table.from_pylist(ROWS)
    at = table.schema.get_field_index(name)
    return of(table.set_column(at, name, values) if at >= 0 else table.append_column(name, values))


def lines(name: str, *rows: Row | str | bytes, end: bytes = b"\n") -> Callable[[Path], Path]:
    """The rows as a jsonl file of that name."""
    return lambda folder: jsonl(folder / name, rows, end)


def damaged(name: str, spoil: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A good file, spoilt."""

    def make(folder: Path) -> Path:
        good = folder / name
        parquet(good, ROWS, compression="snappy") if name.endswith(".parquet") else jsonl(good, [*ROWS, {"x": LONG}])
        good.write_bytes(spoil(good.read_bytes()))
        return good

    return make


def two_files(one: str, first: Sequence[Row], other: str, second: Sequence[Row]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name, rows in ((one, first), (other, second)):
            (parquet if name.endswith(".parquet") else jsonl)(folder / name, rows)
        return folder

    return make


def not_utf8(folder: Path) -> Path:
    offsets, text = np.arange(len(ROWS) + 1, dtype=np.int32) * 2, b"ok" * (len(ROWS) - 1) + b"\xff\xfe"
    values = pa.StringArray.from_buffers(len(ROWS), pa.py_buffer(offsets), pa.py_buffer(text))
    return with_column("response", values)(folder)


IDS = pa.array([row["data_idx"] for row in ROWS])
COLUMNS = "prompt, response, data_idx, sample_idx, original_data_source"

COLUMN_CASES = {
    "a missing required column": Case(
        of(without("response")), ("no column 'response'", "prompt, data_idx, sample_idx")
    ),
    "no ground truths": Case(
        of(without(GOLD)), (f"no column '{GOLD}'", COLUMNS, "generate_rollouts", "--reward_fn_key")
    ),
    "another reward_fn_key that is not there": Case(
        of(ROWS), ("no column 'original_answer'", GOLD, "--reward_fn_key"), {"reward_fn_key": "answer"}
    ),
    "no data source": Case(
        of(without("original_data_source")), ("'original_data_source'", "--data_source", "--reward_fn", "prompt")
    ),
    "a column twice": Case(
        of(pa.Table.from_arrays([IDS, IDS], names=["response", "response"])), ("'response' occurs twice",)
    ),
    "a response that is no text": Case(
        with_column("response", pa.array([b"x"] * len(ROWS))), ("'response' must be text", "binary")
    ),
    "a data_idx that is neither integer nor text": Case(
        with_column("data_idx", IDS.cast(pa.bool_())), ("'data_idx' must be integer or text", "bool")
    ),
    "a data_idx that is no whole number": Case(
        with_column("data_idx", pa.array([0.5] * len(ROWS))), ("row 0", "data_idx is 0.5, not a whole number")
    ),
    "a sample_idx that is no integer": Case(
        with_column("sample_idx", IDS.cast(pa.string())), ("'sample_idx' must be integer",)
    ),
    "a data source that is no text": Case(
        with_column("original_data_source", IDS), ("'original_data_source' must be text", "int64")
    ),
    "rewards that are no numbers": Case(
        with_column("reward", pa.array(["good"] * len(ROWS))),
        ("row 0", "reward in reward must be a number", "'good'"),
    ),
}

ROW_CASES = {
    "no rows": Case(of(pa.Table.from_pylist(ROWS).slice(0, 0)), ("rollouts.parquet", "no rows")),
    "a null data_idx": Case(of(changed(ROWS, 5, data_idx=None)), ("row 5", "data_idx is null")),
    "a data_idx of NaN in jsonl": Case(
        lines("r.jsonl", *changed(ROWS, 5, data_idx=float("nan"))), ("r.jsonl, line 6", "data_idx is nan")
    ),
    "a record that is JSON in JSON": Case(
        of([{**row, GOLD: json.dumps(json.dumps(row[GOLD]))} for row in ROWS]),
        ("row 0", f"ground truth in {GOLD} is JSON in JSON", "write it once"),
    ),
    "a data source without its owner": Case(
        of([{**row, "original_data_source": "gsm8k"} for row in ROWS]),
        ("'gsm8k' (12 rollouts; did you mean 'openai/gsm8k', for which it is --reward_fn gsm8k?)",),
    ),
    "a data source in capitals with a space": Case(
        of([{**row, "original_data_source": "OpenAI/GSM8K "} for row in ROWS]), ("did you mean 'openai/gsm8k'",)
    ),
    "a null sample_idx": Case(of(changed(ROWS, 5, sample_idx=None)), ("row 5", "sample_idx is null")),
    "a null data source": Case(of(changed(ROWS, 5, original_data_source=None)), ("row 5", "data_source is null")),
    "null for a struct": Case(of(changed(ROWS, 5, **{GOLD: None})), ("row 5", f"ground truth in {GOLD} is null")),
    "a null ground truth": Case(
        of(changed(ROWS, 5, **{GOLD: {"style": "rule", "ground_truth": None}})), ("row 5", f"ground truth in {GOLD}")
    ),
    "a null ground truth in a JSON string": Case(
        of([{**row, GOLD: '{"ground_truth": null}'} for row in ROWS]), ("row 0", f"ground truth in {GOLD}")
    ),
    "neighbours with one (data_idx, sample_idx)": Case(
        of(changed(ROWS, 6, sample_idx=1)), ("row 6", "data_idx 1 with sample_idx 1 occurs twice", "row 5")
    ),
    "a duplicate in another file": Case(
        two_files("a.parquet", ROWS[:6], "b.parquet", ROWS[4:]),
        ("b.parquet, row 0", "data_idx 1 with sample_idx 0 occurs twice", "a.parquet, row 4"),
    ),
    "a duplicate with a data_idx of text": Case(
        of([{**row, "data_idx": f"p{row['data_idx']}"} for row in [*ROWS, ROWS[2]]]), ("'p0' with sample_idx 2",)
    ),
    "unknown data sources": Case(
        of(changed(changed(changed(ROWS, 0, original_data_source="a"), 1, original_data_source="b"), 2,
                   original_data_source="b")),
        ("'b' (2 rollouts), 'a' (1 rollout)", "--reward_fn", "gsm8k", "reward_routes"),
    ),
}  # fmt: skip

FILE_CASES = {
    "no such file": Case(lambda folder: folder / "none.parquet", ("none.parquet", "no such file")),
    "a folder without rollouts": Case(lambda folder: folder, ("no rollouts found", ".jsonl.zst")),
    "a glob that matches nothing": Case(lambda folder: folder / "*.jsonl", ("*.jsonl", "no rollouts found")),
    "a folder named like a file": Case(
        two_files("a.parquet/part.parquet", ROWS, "b.parquet", ROWS), ("a.parquet", "is a folder, not a file")
    ),
    "both parquet and jsonl": Case(two_files("a.parquet", ROWS, "b.jsonl", ROWS), ("both parquet and jsonl", "glob")),
    "files of other columns": Case(
        two_files("a.parquet", ROWS, "b.parquet", without("prompt")), ("b.parquet", "'prompt' is missing", "a.parquet")
    ),
    "files of other types": Case(
        two_files("a.parquet", ROWS, "b.parquet", [{**row, "data_idx": "x"} for row in ROWS]),
        ("b.parquet", "'data_idx' is string instead of int64"),
    ),
    "an empty parquet file": Case(damaged("r.parquet", lambda data: b""), ("r.parquet", "empty")),
    "a parquet file cut short": Case(damaged("r.parquet", lambda data: data[:-40]), ("r.parquet", "not a readable")),
    "what is not a parquet file": Case(
        damaged("r.parquet", lambda data: b"prompt,response\n" * 9), ("not a readable",)
    ),
    "a parquet file with a flipped bit": Case(
        damaged("r.parquet", lambda data: data[:300] + bytes([data[300] ^ 64]) + data[301:]),
        ("r.parquet", "row group 0 is damaged"),
    ),
    "parquet text that is not UTF-8": Case(not_utf8, ("rollouts.parquet", "row group 0", "UTF8")),
    "an empty jsonl file": Case(damaged("r.jsonl", lambda data: b""), ("r.jsonl", "empty")),
    "a jsonl file of blank lines": Case(lines("r.jsonl", "", " "), ("r.jsonl", "empty")),
    "an empty jsonl file beside another": Case(two_files("a.jsonl", ROWS, "b.jsonl", []), ("b.jsonl", "empty")),
    "bad UTF-8": Case(lines("r.jsonl", ROWS[0], b'{"prompt": "\xff"}'), ("r.jsonl, line 2", "not UTF-8")),
    "a parquet file named jsonl": Case(damaged("r.jsonl", lambda data: b"PAR1\x15\xff"), ("parquet file", ".parquet")),
    "a gzip file named jsonl": Case(damaged("r.jsonl", lambda data: gzip.compress(b"{}")), ("gzip", ".jsonl.gz")),
    "UTF-16": Case(damaged("r.jsonl", lambda data: '{"prompt": "a"}'.encode("utf-16")), ("write it as UTF-8",)),
    "100,000 brackets": Case(lines("r.jsonl", ROWS[0], "[" * 100_000), ("r.jsonl, line 2", "nested too deeply")),
    "a line nested beyond use": Case(
        lines("r.jsonl", ROWS[0], '{"x": ' * 150 + "1" + "}" * 150), ("r.jsonl, line 2", "nested too deeply")
    ),
    "a last line cut short": Case(
        lines("r.jsonl", ROWS[0], '{"prompt": "What', end=b""),
        ("r.jsonl, line 2", "not valid JSON", "column 12", "the file ends in this line"),
    ),
    "a line that is no object": Case(lines("r.jsonl", ROWS[0], "[1, 2]"), ("r.jsonl, line 2", "is a list")),
    "JSON over several lines": Case(lines("r.jsonl", "{", '"prompt": 1', "}"), ("line 1", "one complete JSON object")),
    "responses of which some are numbers": Case(
        lines("r.jsonl", *changed(ROWS, 3, response=4)),
        ("r.jsonl, line 4", "'response' must be text, it is an integer"),
    ),
    "a list of responses": Case(
        lines("r.jsonl", *changed(ROWS, 3, response=["a", "b"])),
        ("r.jsonl, line 4", "'response' must be text, it is a list; give each response its own line"),
    ),
    "a sample_idx that is text on a line": Case(
        lines("r.jsonl", "", *changed(ROWS, 3, sample_idx="3")), ("r.jsonl, line 5", "'sample_idx' must be an integer")
    ),
    "a sample_idx with a fraction": Case(
        lines("r.jsonl", *changed(ROWS, 3, sample_idx=3.5)),
        ("r.jsonl, line 4", "sample_idx is 3.5, not a whole number"),
    ),
    "a data_idx that is an object on a line of the second file": Case(
        two_files("a.jsonl", ROWS[:6], "b.jsonl", changed(ROWS[6:], 1, data_idx={"id": 1})),
        ("b.jsonl, line 2", "'data_idx' must be an integer or text, it is an object"),
    ),
    "a .gz cut short": Case(damaged("r.jsonl.gz", lambda data: data[:-9]), ("r.jsonl.gz", "is the file complete?")),
    "a .zst cut short": Case(damaged("r.jsonl.zst", lambda data: data[:-9]), ("r.jsonl.zst", "is the file complete?")),
    "a .gz that is none": Case(damaged("r.jsonl.gz", lambda data: b"no gzip"), ("r.jsonl.gz", "cannot be read")),
    "a .zst that is none": Case(damaged("r.jsonl.zst", lambda data: b"no zstd"), ("r.jsonl.zst", "cannot be read")),
}

SETTING_CASES = {
    "an unknown flag": Case(of(ROWS), ("'bucketting_strategy'", "did you mean 'bucketing_strategy'"),
                            {"bucketting_strategy": "percentile"}),
    "the start of a flag": Case(of(ROWS), ("'overwr'", "did you mean 'overwrite'"), {"overwr": True}),
    "an unknown strategy": Case(of(ROWS), ("'pass_rat'", "did you mean 'pass_rate'"),
                                {"bucketing_strategy": "pass_rat"}),
    "an unknown reward": Case(of(ROWS), ("'gsm8'", "did you mean 'gsm8k'"), {"reward_fn": "gsm8"}),
    "an option that the reward does not know": Case(
        of(ROWS), ("'gsm8k'", "'flexible'"), {"reward_fn": "gsm8k", "reward_kwargs": {"flexible": True}}
    ),
    "options without a reward": Case(of(ROWS), ("--reward_kwargs", "--reward_fn"), {"reward_kwargs": {"a": 1}}),
    "a route that is none": Case(of(ROWS), ("reward_routes", "openai/*"),
                                 {"reward_routes": {"openai/*": {"nam": "x"}}}),
    "a misspelt option": Case(
        of(ROWS), ("there is no 'recipee' (did you mean 'recipe'?); its options are: recipe",),
        {"reward_fn": "math_verify", "reward_kwargs": {"recipee": "trl"}},
    ),
    "no workers": Case(of(ROWS), ("--n_jobs 0", "1 or more"), {"n_jobs": 0}),
    "a number that is none": Case(of(ROWS), ("--n_jobs", "'many'", "int"), {"n_jobs": "many"}),
    "a limit of no problems": Case(of(ROWS), ("--limit 0", "1 or more"), {"limit": 0}),
    "a share above 1": Case(of(ROWS), ("--max_unscored 5", "from 0 to 1"), {"max_unscored": 5}),
    "a negative seed": Case(of(ROWS), ("--seed -1",), {"seed": -1}),
    "no time": Case(of(ROWS), ("--reward_timeout 0",), {"reward_timeout": 0}),
    "a scheduler for another backend": Case(
        of(ROWS), ("--dask_scheduler needs --backend dask", "--backend loky"), {"dask_scheduler": "tcp://127.0.0.1:1"}
    ),
    "a ray cluster for another backend": Case(
        of(ROWS), ("--ray_address needs --backend ray",), {"ray_address": "127.0.0.1:1", "backend": "dask"}
    ),
    "a part that is none": Case(of(ROWS), ("--part 3/2", "1 <= I <= N"), {"part": "3/2"}),
    "no model": Case(of(ROWS), ("--model_path is required", "tokenizer"), {"model_path": None}),
    "a model that is nowhere": Case(of(ROWS), ("some/model", "offline", "cached"), {"model_path": "some/model"}),
    "a model folder that is not there": Case(of(ROWS), ("/none/a", "no such folder"), {"model_path": "/none/a"}),
    "a model that is a file": Case(of(ROWS), ("tokenizer.json", "is a file"),
                                   {"model_path": str(TOKENIZER / "tokenizer.json")}),
    "a folder without a tokenizer": Case(of(ROWS), ("the tokenizer cannot be loaded: there is no tokenizer.json",),
                                         {"model_path": str(SAMPLE.parent)}),
}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for name, case in (COLUMN_CASES | ROW_CASES | FILE_CASES | SETTING_CASES).items()
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_helps_and_nothing_is_written(
    case: Case, tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    (tmp_path / "in").mkdir()
    outcome = analyze(case.make(tmp_path / "in"), **case.flags)
    assert outcome.code == 2, outcome.err
    (line,) = outcome.errors
    assert all(text in line for text in case.says), line
    assert outcome.err.splitlines()[-1] == line
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert not outcome.folder.exists()


# ---------------------------------------------------------------- seen from outside


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (COLUMN_CASES["no ground truths"], "rollouts.parquet"),
        (FILE_CASES["100,000 brackets"], "r.jsonl"),
        (SETTING_CASES["an unknown flag"], "rollouts.parquet"),
    ],
)
def test_the_real_command_ends_with_2_and_says_one_line(case: Case, name: str, tmp_path: Path) -> None:
    given = case.make(tmp_path)
    words = flags(rollouts=given.name, model_path=TOKENIZER, output_dir="out", cache_dir="cache", **case.flags)
    outcome = real_command(tmp_path, words)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert all(text in line for text in case.says)
    assert (outcome.out, outcome.folder.exists()) == ("", False)


def test_a_null_that_no_statistics_tell_of_is_met_by_the_worker_and_named(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    rows = changed(ROWS, 5, **{GOLD: {"style": "rule", "ground_truth": None}})
    outcome = analyze(parquet(tmp_path / "r.parquet", rows, write_statistics=False))
    assert outcome.code == 2
    assert f"r.parquet, row 5 (counted from 0): the ground truth in {GOLD} is null" in outcome.errors[0]
    assert not outcome.folder.exists()


def test_a_null_beyond_the_limit_is_no_error(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    given = parquet(tmp_path / "r.parquet", changed(ROWS, 10, **{GOLD: None}))
    assert analyze(given, limit=2).code == 0


@pytest.mark.parametrize("make", [parquet, jsonl])
def test_a_null_response_is_an_input_error_of_its_row_and_the_others_are_scored(
    make: Callable[..., Path], tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    rows = changed(changed(ROWS, 5, response=None), 9, response=None)
    outcome = analyze(make(tmp_path / f"r.{make.__name__}", rows))
    assert outcome.code == 3  # 2 of 12 have no reward, more than --max_unscored
    table = outcome.table()
    assert [at for at, status in enumerate(table["reward_status"].to_pylist()) if status == "input_error"] == [5, 9]
    rewards = [float(row["sample_idx"] < row["data_idx"]) for row in ROWS]
    assert table["reward"].to_pylist() == [None if at in (5, 9) else reward for at, reward in enumerate(rewards)]
    assert table["response"].null_count == 2
    said = [warning for warning in outcome.json("summary.json")["warnings"] if "input_error" in warning]
    assert said == [said[0]]
    assert "2 of 12 rollouts have no reward (input_error)" in said[0]
    assert "(row 5: the response is null)" in said[0]


def test_a_missing_scikit_learn_is_reported_before_any_work(
    tmp_path: Path, analyze: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sklearn", "sklearn.cluster"):  # whether or not a test has imported it
        monkeypatch.setitem(sys.modules, module, None)  # so that to import it fails
    outcome = analyze(parquet(tmp_path / "r.parquet", ROWS), bucketing_strategy="adaptive")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "adaptive needs scikit-learn" in line
    assert "pip install scikit-learn" in line
    assert not outcome.folder.exists()


def test_a_steering_character_in_a_name_reaches_no_terminal(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    rows = [{**row, "\x1b]0;owned\x07\nerror: forged": 1} for row in without("response")]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows))
    (line,) = outcome.err.splitlines()
    assert line.isprintable()


def test_a_tiny_file_of_very_many_equal_rows_ends_at_its_first_duplicate(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    count = 1 << 22
    one = {name: pa.array([value] if isinstance(value, int) else [str(value)]) for name, value in ROWS[0].items()}
    encoded = {name: values.dictionary_encode().dictionary for name, values in one.items()}
    index = pa.repeat(pa.scalar(0, pa.int32()), count)
    columns = {name: pa.DictionaryArray.from_arrays(index, values) for name, values in encoded.items()}
    columns |= {name: pa.repeat(one[name][0], count) for name in ("data_idx", "sample_idx")}
    given = parquet(tmp_path / "bomb.parquet", pa.table(columns), row_group_size=count)
    assert given.stat().st_size < 1 << 18
    tracemalloc.start()
    outcome = analyze(given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcome.code == 2
    assert "row 1 (counted from 0): data_idx 0 with sample_idx 0 occurs twice" in outcome.errors[0]
    assert peak < 16 << 20


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_no_flipped_bit_is_a_bug_report(compression: str, tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    data = parquet(tmp_path / "good.parquet", ROWS, compression=compression).read_bytes()
    bits = random.Random(7)
    for number in range(8):
        at = bits.randrange(len(data))
        given = tmp_path / f"{number}.parquet"
        given.write_bytes(data[:at] + bytes([data[at] ^ 1 << bits.randrange(8)]) + data[at + 1 :])
        outcome = analyze(given, overwrite=True)
        assert outcome.code in (0, 2, 3), (at, outcome.err)


# ---------------------------------------------------------------- the output folder


def test_an_output_dir_that_is_a_file_or_below_one_is_refused(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    given, file = parquet(tmp_path / "r.parquet", ROWS), tmp_path / "file"
    file.write_text("mine")
    for place in (file, file / "below"):
        outcome = analyze(given, output_dir=place)
        assert outcome.code == 2
        assert "--output_dir" in outcome.errors[0]
        assert f"{file} is a file" in outcome.errors[0]
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused_before_scoring(
    tmp_path: Path, analyze: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, closed = parquet(tmp_path / "r.parquet", ROWS), tmp_path / "closed"
    closed.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(closed) and allowed(path, mode))
    outcome = analyze(given, output_dir=closed / "out")
    assert outcome.code == 2
    assert f"{closed} cannot be written to" in outcome.errors[0]
    outcome = analyze(given, cache_dir=closed)
    assert outcome.code == 2
    assert "--cache_dir" in outcome.errors[0]
    assert not list(closed.iterdir())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bucketing_strategy": "pass_rate"}, "bucketing_strategy percentile, not pass_rate"),
        ({"limit": 2}, "limit None, not 2"),
        ({"seed": 1, "max_unscored": 0.5}, "seed 42, not 1 and max_unscored 0.01, not 0.5"),
        ({"data_source": "lighteval/MATH"}, "data_source None, not lighteval/MATH"),
    ],
)
def test_outputs_of_other_settings_are_kept_and_the_difference_is_named(
    settings: dict[str, Any], says: str, tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    given = parquet(tmp_path / "r.parquet", ROWS)
    before = analyze(given).files()
    outcome = analyze(given, **settings)
    assert outcome.code == 2
    assert says in outcome.errors[0]
    assert "--overwrite" in outcome.errors[0]
    assert outcome.files() == before


def test_outputs_of_another_input_or_tokenizer_are_kept(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    before = analyze(parquet(tmp_path / "r.parquet", ROWS)).files()
    outcome = analyze(parquet(tmp_path / "other.parquet", rollouts(4)))
    assert outcome.code == 2
    assert "another input" in outcome.errors[0]
    assert outcome.files() == before


def test_a_file_of_somebody_else_is_never_replaced_without_overwrite(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    given = parquet(tmp_path / "r.parquet", ROWS)
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "rollouts_easy.parquet"
    mine.write_text("mine")
    outcome = analyze(given)
    assert outcome.code == 2
    assert "rollouts_easy.parquet of another program" in outcome.errors[0]
    assert (os.listdir(tmp_path / "out"), mine.read_text()) == (["rollouts_easy.parquet"], "mine")
    assert analyze(given, overwrite=True).code == 0


def test_a_manifest_that_cannot_be_read_is_none(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    given = parquet(tmp_path / "r.parquet", ROWS)
    analyze(given)
    for text in ("", "[1]", '{"of": 3}', '{"key": "x", "files": []}'):
        (tmp_path / "out" / ".rollout-analyzer.json").write_text(text)
        outcome = analyze(given)
        assert outcome.code == 2
        assert "of another program" in outcome.errors[0]


def test_the_input_is_never_replaced(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    first = analyze(parquet(tmp_path / "r.parquet", ROWS))
    before = first.files()
    for name in ("rollouts_with_rewards.parquet", "rollouts_hard.parquet"):
        outcome = analyze(first.folder / name, limit=1, overwrite=True, bucketing_strategy="pass_rate")
        assert outcome.code == 2
        assert f"{name}, which is read, would be replaced; give another folder" in outcome.errors[0]
    assert first.files() == before


def test_outputs_are_not_put_among_the_rollouts_of_a_folder(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    parquet(tmp_path / "in" / "r.parquet", ROWS)
    outcome = analyze(tmp_path / "in", output_dir=tmp_path / "in")
    assert outcome.code == 2
    assert "all files in it are read as rollouts" in outcome.errors[0]
    assert os.listdir(tmp_path / "in") == ["r.parquet"]
    assert analyze(tmp_path / "in" / "r.parquet", output_dir=tmp_path / "in").code == 0


def test_a_path_without_permission_is_one_line_and_not_a_bug(tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if os.getuid() == 0 and setpriv is None:
        pytest.skip("root may read everything, and there is no setpriv to take that away")
    words = [setpriv, "--bounding-set=-dac_override,-dac_read_search"] if setpriv and os.getuid() == 0 else []
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    try:
        usual = {"model_path": TOKENIZER, "cache_dir": known_tokenizer(tmp_path / "cache")}
        commands = [
            flags(rollouts=closed, output_dir=tmp_path / "out", **usual),
            flags(rollouts=SAMPLE, output_dir=closed / "out", **usual),
            flags(rollouts=SAMPLE, output_dir=tmp_path / ("x" * 300), **usual),
        ]
        code = (  # one after the other: the interpreter takes longer than they do
            f"import runpy, sys\nfor sys.argv[1:] in {commands!r}:\n"
            f"    try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
            "    except SystemExit as end: print('ended with', end.code, file=sys.stderr)\n"
        )
        command = [*words, sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        said = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]  # on a busy machine
        assert said[1::2] == ["ended with 2"] * 3, done.stderr
        assert [line for line in said[::2] if "ermission" in line or "too long" in line] == said[::2]
        assert all(line.startswith("error:") for line in said[::2])
    finally:
        closed.chmod(0o700)
