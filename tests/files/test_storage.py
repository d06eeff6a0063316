"""What a disk or a limit of the process refuses: the remedy fits, and no file is called damaged for it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.dialects import joining
from analyzer.errors import StorageError
from analyzer.files import outputs, storage
from analyzer.generation import wanted, writer
from analyzer.rollouts.dataset import Reader, close_files, describe, file_at


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table({"data_idx": [1], "samples": [1], "first_sample_idx": [0]}), path)
    return path


@pytest.fixture
def no_more_files() -> Iterator[Callable[[], None]]:
    """A call after which this process may open no file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def forbid() -> None:
        # No number is as low as this one: another thread of arrow may close a file after this.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))

    yield forbid
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def analysis(path: str) -> Any:
    with outputs.readable(path):
        return pq.read_table(path)


READERS: dict[str, Callable[[str], Any]] = {
    "footer": describe,
    "join": lambda path: joining.load(path, None),
    "top-up": lambda path: wanted.top_up(path, 9),
    "generated": lambda path: list(writer.read_rollouts(Path(path), "parquet")),
    "analysis": analysis,
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_a_limit_forbids_to_open_is_not_called_damaged(
    name: str, parquet: Path, no_more_files: Callable[[], None]
) -> None:
    if name != "generated":
        READERS[name](str(parquet))  # imports are files, too
    no_more_files()
    with pytest.raises(OSError, match="Too many open files") as error:
        READERS[name](str(parquet))
    assert error.value.errno == errno.EMFILE


def test_rows_that_a_limit_forbids_to_read_are_not_called_damaged(
    parquet: Path, no_more_files: Callable[[], None]
) -> None:
    rows = Reader((file_at(str(parquet)),), ["data_idx"])
    assert len(list(rows.all())) == 1
    close_files()
    no_more_files()
    with pytest.raises(OSError, match="Too many open files"):
        list(rows.all())


def test_a_disk_that_fails_is_not_a_damaged_file() -> None:
    with open("/proc/self/mem", "rb", buffering=0) as failing, pytest.raises(OSError, match="output error") as error:
        failing.read(1)  # nothing is mapped at 0
    with pytest.raises(StorageError, match=r"r: cannot be read \(Input/output error\); check that disk and run"):
        storage.check_of_the_file(error.value, "r")
    for of_the_file in (OSError("CRC check failed"), ValueError("bad"), FileNotFoundError(errno.ENOENT, "none")):
        storage.check_of_the_file(of_the_file, "r")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; free some space and run"),
        (errno.EDQUOT, "Disk quota exceeded; free some space and run"),
        (errno.EFBIG, "File too large; allow larger files (`ulimit -f`) and run"),
        (errno.EIO, "Input/output error; check that disk and run"),
    ],
)
def test_the_remedy_is_that_of_the_failure(number: int, remedy: str) -> None:
    for error in (OSError(number, os.strerror(number)), OSError(f"Error writing bytes. Detail: [errno {number}] x")):
        with pytest.raises(StorageError) as raised, storage.storage_errors("out"):
            raise error
        assert str(raised.value).startswith(f"out: {remedy} the same command again")
