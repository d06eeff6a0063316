"""Files of other formats are named as what they are, and the line that converts them works."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analyzer.errors import EXIT_USER, InputError
from analyzer.files import foreign
from tests.commands import Outcome

ROW = {
    "prompt": "2+3?",
    "response": "#### 5",
    "data_idx": 0,
    "sample_idx": 0,
    "ground_truth": "5",
    "date": "2020-01-01",
}


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "feather"])
def test_a_table_of_another_format_is_named_and_its_line_converts_it(
    ending: str, tmp_path: Path, analyze: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, frame = tmp_path / f"rollouts.{ending}", pd.DataFrame([ROW])
    write: dict[str, Callable[..., object]] = {
        "csv": frame.to_csv,
        "tsv": lambda p, **o: frame.to_csv(p, sep="\t", **o),
        "feather": frame.to_feather,
    }
    if ending == "json":
        path.write_text(json.dumps([ROW]))
    else:
        write[ending](path, **({} if ending == "feather" else {"index": False}))
    if ending == "json":  # of rollouts it is read, of training data refused
        line = str(foreign.refuse_json(str(path)))
    else:
        refused = analyze(path, reward_fn="gsm8k")
        assert refused.code == EXIT_USER
        (line,) = [line for line in refused.err.splitlines() if line]
    assert str(path) in line
    assert "parquet and jsonl" in line
    command = shlex.split(re.search(r"python -c .*", line)[0])  # type: ignore[index]
    assert command[:2] == ["python", "-c"]
    monkeypatch.chdir(tmp_path)
    exec(command[2], {})
    converted = analyze(tmp_path / "rollouts.parquet", reward_fn="gsm8k")
    assert converted.code == 0
    # CSV has no types, so that a number may be text; no text has become a number or a date.
    assert [str(converted.table()[name][0]) for name in ROW] == [str(value) for value in ROW.values()]


def test_what_is_packed_or_has_no_ending_is_named_with_what_to_do(
    tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    cases: list[tuple[str, bytes, list[str]]] = [
        ("a.jsonl.xz", b"\xfd7zXZ\0", ["is compressed as .xz", "unpack it with unxz"]),
        ("a.parquet.gz", b"\x1f\x8b", ["is compressed as .gz", "unpack it with gunzip"]),
        ("a.csv.gz", b"\x1f\x8b", ["is CSV", "pd.read_csv('{path}', dtype=str", ".to_parquet('a.parquet')"]),
        ("a.ndjson", b'{"prompt": 1}\n', ["begins as JSON does", "rename it to .jsonl"]),
        ("a.rollouts", b"\x28\xb5\x2f\xfd", ["begins as a zstd file does", "rename it to .jsonl.zst"]),
        ("a.bin", b"ARROW1\0\0", ["begins as an Arrow file does"]),
        ("a.txt", b"some text", ["not a readable parquet file"]),
    ]
    for name, start, said in cases:
        path = tmp_path / name
        path.write_bytes(start + b" " * 20)
        refused = analyze(path, reward_fn="gsm8k")
        assert refused.code == EXIT_USER, name
        [line] = refused.errors
        assert all(part.format(path=path) in line for part in said), (name, line)


@pytest.mark.parametrize("name", ["rollout_7.pt", "x.pkl", "x.pickle", "x.npz"])
def test_a_pickle_is_never_opened(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(InputError, match="is a pickle, which can run code"):
        foreign.refuse(str(path))
    assert not (tmp_path / "opened").exists()


def test_an_archive_is_to_be_unpacked() -> None:
    with pytest.raises(InputError, match="is an archive; unpack it"):
        foreign.refuse("rollouts.tar.gz")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.eval", "no_ending"])
def test_what_is_read_passes(name: str) -> None:
    foreign.refuse(name)
