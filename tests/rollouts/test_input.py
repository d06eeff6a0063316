"""What tells one input from another: a change shows even where size, time and both ends of the file stay the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from analyzer.errors import EXIT_OK, EXIT_USER, InputError
from analyzer.files import inputs
from analyzer.rollouts import dataset, input
from analyzer.stages import read
from tests.commands import Outcome, jsonl, parquet, rollouts

Analyze = Callable[..., Outcome]
SIZE = 300 << 10
MIDDLE = SIZE // 2


class Unmarked(MemoryFileSystem):  # type: ignore[misc]
    """A store that tells nothing of a file but its size."""

    protocol = "unmarked"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("unmarked://")))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        told = super().info(path, **options)
        return {key: told[key] for key in ("name", "size", "type")}


@pytest.fixture
def store() -> Iterator[Any]:
    fsspec.register_implementation("unmarked", Unmarked, clobber=True)
    Unmarked.store.clear()
    yield Unmarked()
    Unmarked.store.clear()


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def replaced(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


@pytest.mark.parametrize("change", [in_place, replaced])
def test_a_change_in_the_middle_shows_though_size_and_time_are_the_same(
    tmp_path: Path, change: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "rollouts.parquet"
    content = bytearray(SIZE)
    path.write_bytes(content)
    before, times = input.identify(str(path)), path.stat()
    assert input.identify(str(path)) == before
    content[MIDDLE] = 1
    change(path, bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = input.identify(str(path))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert (after[0], after[2]) == (before[0], before[2])  # size, both ends
    assert after != before
    with pytest.raises(InputError, match="changed during the analysis"):
        input.still_same([str(path)], (before,))


def test_a_changed_response_of_the_same_length_is_scored_again_and_not_taken_from_the_cache(
    analyze: Analyze, tmp_path: Path
) -> None:
    """3,000 rollouts in one file, of which one in the middle is made right; `touch -r` gives the old time back."""
    rows = [row | {"prompt": row["prompt"] + "." * 100} for row in rollouts(600, 5)]
    path = jsonl(tmp_path / "rollouts.jsonl", rows)
    assert path.stat().st_size > 1 << 19
    at = 5 * 300 + 4
    for row in rows[5 * 300 : at + 1]:
        row["response"] = row["response"].replace(row["response"][-3:], "601")
    jsonl(path, rows)
    first = analyze(path)
    assert first.table()["reward"][at].as_py() == 0.0
    times = path.stat()
    rows[at]["response"] = rows[at]["response"][:-3] + "600"
    jsonl(path, rows)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    second = analyze(path, output_dir=tmp_path / "second")
    assert (second.code, second.table()["reward"][at].as_py()) == (EXIT_OK, 1.0)


@pytest.mark.parametrize("size", [10, 1 << 16, (1 << 16) + 1, SIZE])
def test_a_store_without_etag_and_time_is_compared_whole(store: Any, size: int) -> None:
    content = bytearray(size)
    store.pipe_file("/a.parquet", bytes(content))
    before = input.identify("unmarked://a.parquet")
    assert before[1] == ""
    for at in {0, size // 3, size // 2, size - 1}:
        changed = content.copy()
        changed[at] = 1
        store.pipe_file("/a.parquet", bytes(changed))
        assert input.identify("unmarked://a.parquet") != before
        with pytest.raises(InputError, match="changed during"):
            input.still_same(["unmarked://a.parquet"], (before,))
    store.pipe_file("/a.parquet", bytes(content))
    assert input.identify("unmarked://a.parquet") == before


def test_what_is_too_large_for_that_is_compared_in_pieces_and_said_to_be(store: Any, tmp_path: Path) -> None:
    rows = [row | {"prompt": os.urandom(2000).hex()} for row in rollouts(100, 4)]
    store.pipe_file("/a.parquet", parquet(tmp_path / "a.parquet", rows).read_bytes())
    size = store.info("/a.parquet")["size"]
    places = input._places(size, marked=False, whole=4 << 16)
    assert (places[0], places[-1] + (1 << 16), len(places)) == (0, size, 4)
    opened = read.open_files("unmarked://a.parquet", str(tmp_path))
    assert input.unmarked(opened, whole=4 << 16) == ["unmarked://a.parquet"]
    assert input.unmarked(opened) == []
    from analyzer.stages.warnings import unmarked_warnings

    (said,) = unmarked_warnings(["unmarked://a.parquet"])
    assert "reports neither an ETag nor a time" in said
    assert unmarked_warnings([]) == []


def test_a_mark_of_a_store_is_found_whatever_it_is_called() -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/marked", b"x")
    assert inputs.stat("memory://marked")[1] != ""
    store.rm("/marked")


def test_a_pipe_as_input_is_one_line_and_no_hang(analyze: Analyze, tmp_path: Path) -> None:
    pipe = tmp_path / "rollouts.jsonl"
    os.mkfifo(pipe)
    outcome = analyze(pipe)
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert f"{pipe}: is a pipe, not a file" in outcome.errors[0]


def test_a_pipe_of_the_shell_is_one_line_too(analyze: Analyze) -> None:
    """As `--rollouts <(zcat rollouts.jsonl.gz)` gives it."""
    reading, writing = os.pipe()
    threading.Thread(target=os.close, args=(writing,)).start()
    outcome = analyze(f"/dev/fd/{reading}")
    os.close(reading)
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert "is a pipe" in outcome.errors[0]


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_file_that_is_gone_or_another_when_its_rows_are_read_is_not_called_damaged(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "rollouts.parquet"
    pq.write_table(pa.table({"data_idx": list(range(1000))}), path)
    reader = dataset.Reader([dataset.describe(str(path))[0]], None)
    path.unlink()
    if change == "changed":
        path.write_bytes(b"PAR1 is being written again")
    with pytest.raises(InputError, match=f"^{path}: {change} during the analysis; run again when"):
        list(reader.all())
