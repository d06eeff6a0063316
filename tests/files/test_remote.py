"""Input and output behind fsspec URLs: the same results as from local files, on the memory:// file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from analyzer.errors import EXIT_OK, EXIT_STORAGE, EXIT_USER
from analyzer.files.outputs import SUMMARY
from tests.commands import OF_THE_RUN, Outcome, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty memory:// file system."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


def put(memory: Any, path: Path, name: str) -> str:
    memory.pipe_file(f"/data/{name}", path.read_bytes())
    return f"memory://data/{name}"


def files(memory: Any, folder: str) -> dict[str, bytes]:
    """The outputs that are a pure function of input and settings."""
    names = {path.rpartition("/")[2]: path for path in memory.ls(folder, detail=False)}
    return {name: memory.cat_file(path) for name, path in names.items() if not name.startswith((".", *OF_THE_RUN))}


def test_remote_input_and_output_give_the_bytes_of_local_ones(analyze: Analyze, memory: Any, tmp_path: Path) -> None:
    local = parquet(tmp_path / "rollouts.parquet", rollouts(6, 5), row_group_size=7)
    expected = analyze(local).files()
    outcome = analyze(put(memory, local, "rollouts.parquet"), output_dir="memory://out/analysis")
    assert (outcome.code, outcome.errors) == (EXIT_OK, [])
    assert files(memory, "/out/analysis") == expected
    assert not list(tmp_path.glob("memory:*"))


def test_remote_globs_and_jsonl_are_read_too(analyze: Analyze, memory: Any, tmp_path: Path) -> None:
    rows = rollouts(6, 5)
    expected = analyze(parquet(tmp_path / "rollouts.parquet", rows)).files()
    for number, part in enumerate((rows[:13], rows[13:])):
        name = f"{number}.jsonl.gz"
        put(memory, jsonl(tmp_path / name, part), name)
    outcome = analyze("memory://data/*.jsonl.gz", output_dir=tmp_path / "from_jsonl")
    assert outcome.code == EXIT_OK
    for name in ("problem_metrics.json", "problem_buckets.json"):
        assert outcome.files()[name] == expected[name]


def test_remote_outputs_are_replaced_as_a_set_and_nothing_else_is_touched(
    analyze: Analyze, memory: Any, tmp_path: Path
) -> None:
    local = parquet(tmp_path / "rollouts.parquet", rollouts(6, 5))
    analyze(local, output_dir="memory://out")
    memory.pipe_file("/out/notes.txt", b"mine")
    refused = analyze(local, output_dir="memory://out", bucketing_strategy="pass_rate")
    assert (refused.code, len(refused.errors)) == (EXIT_USER, 1)
    replaced = analyze(local, output_dir="memory://out", bucketing_strategy="pass_rate", overwrite=True)
    assert replaced.code == EXIT_OK
    expected = analyze(local, bucketing_strategy="pass_rate").files()
    assert files(memory, "/out") == expected | {"notes.txt": b"mine"}


def test_a_store_that_fails_in_mid_upload_leaves_no_summary_and_the_same_command_heals_it(
    analyze: Analyze, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = parquet(tmp_path / "rollouts.parquet", rollouts(6, 5))
    analyze(local, output_dir="memory://out")
    expected = files(memory, "/out")
    put_file, calls = type(memory).put_file, []

    def fail_at_the_third(self: Any, *args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        put_file(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "put_file", fail_at_the_third)
        failed = analyze(local, output_dir="memory://out")
    assert (failed.code, len(failed.errors), "Traceback" in failed.err) == (EXIT_STORAGE, 1, False)
    assert SUMMARY not in files(memory, "/out")
    assert analyze(local, output_dir="memory://out").code == EXIT_OK
    assert files(memory, "/out") == expected


@pytest.mark.parametrize(
    ("rollouts", "said"),
    [
        ("memory://nowhere.parquet", "no such file"),
        ("nosuchscheme://x/y.parquet", "nosuchscheme"),
        ("memory://data/*.parquet", "no rollouts found"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(analyze: Analyze, memory: Any, rollouts: str, said: str) -> None:
    outcome = analyze(rollouts)
    assert (outcome.code, len(outcome.errors), "Traceback" in outcome.err) == (EXIT_USER, 1, False)
    assert said in outcome.errors[0]


def test_the_cache_must_be_a_folder(analyze: Analyze, tmp_path: Path) -> None:
    outcome = analyze(parquet(tmp_path / "rollouts.parquet", rollouts()), cache_dir="memory://cache")
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert "--cache_dir memory://cache" in outcome.errors[0]


def test_a_server_that_does_not_answer_is_one_line_and_no_bug(analyze: Analyze) -> None:
    pytest.importorskip("aiohttp")
    refused = analyze("http://127.0.0.1:1/r.parquet")
    assert (refused.code, len(refused.errors)) == (EXIT_USER, 1)
    assert refused.errors[0].startswith("error: http://127.0.0.1:1/r.parquet: cannot be read (Connect call failed")
