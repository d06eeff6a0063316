"""write: whatever a disk refuses, and whenever it does, ends the run with one line and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import EXIT_OK, EXIT_STORAGE, EXIT_USER, InputError, StorageError
from analyzer.files import storage
from analyzer.rollouts import dataset
from analyzer.rollouts.grouped import GROUP_BYTES
from analyzer.stages import audit, estimate, write
from analyzer.stages.rewarded import Rewarded, RowValues
from tests import processes
from tests.commands import SAMPLE, SCRIPT, TOKENIZER, Outcome, flags, known_tokenizer, parquet, rollouts


@pytest.fixture
def write_to(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a few rollouts as a run does: all of them to one file, those of the one bucket to another."""
    file, schema = dataset.describe(str(parquet(tmp_path / "in.parquet", rollouts())))
    n = file.rows
    bytes_, counts = np.zeros(n, np.int8), np.zeros(n, np.int32)
    texts = pa.array([], pa.large_string())
    values = RowValues(np.zeros(n), bytes_, counts, counts - 1, texts, None, texts)
    rewarded = Rewarded(dataset.Dataset((file,), schema), [(0, n)], values)

    def run(all_path: str, bucket_path: str) -> None:
        with storage.storage_errors(tmp_path / "out"):
            write.write_rollouts(rewarded, bytes_, all_path, [bucket_path])

    return run


def test_a_full_disk_is_reported_whichever_file_hits_it(tmp_path: Path, write_to: Callable[[str, str], None]) -> None:
    """/dev/full takes nothing, as a full disk does; here no group is full before the end, so the last flush fails."""
    for paths in [("/dev/full", str(tmp_path / "b")), (str(tmp_path / "a"), "/dev/full"), ("/dev/full", "/dev/full")]:
        with pytest.raises(StorageError, match=f"{tmp_path}/out: No space left on device; "):
            write_to(*paths)
        for path in tmp_path.glob("[ab]"):
            path.unlink()


@pytest.mark.parametrize("method", ["write_table", "close"])
@pytest.mark.parametrize(
    "failure",
    [
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "Disk quota exceeded"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (OSError("Error writing bytes to file. Detail: [errno 27] File too large"), "File too large"),
        (pa.ArrowInvalid("Unexpected end of stream"), "Unexpected end of stream"),
    ],
    ids=["EDQUOT", "EIO", "EFBIG as arrow says it", "arrow"],
)
def test_whatever_a_write_raises_and_when_is_a_storage_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_to: Callable[[str, str], None],
    method: str,
    failure: tuple[Exception, str],
) -> None:
    error, said = failure
    real = getattr(pq.ParquetWriter, method)

    def fail(self: Any, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        raise error

    monkeypatch.setattr(pq.ParquetWriter, method, fail)
    with pytest.raises(StorageError, match=f"{tmp_path}/out: {said}; "):
        write_to(str(tmp_path / "a"), str(tmp_path / "b"))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], subprocess.CompletedProcess[str]]:
    """The command on the sample, scored before, with a limit on the bytes of a file (`ulimit -f`)."""
    cache = known_tokenizer(tmp_path_factory.mktemp("limited") / "cache")

    def run(folder: Path, size: int) -> subprocess.CompletedProcess[str]:
        words = flags(rollouts=SAMPLE, model_path=TOKENIZER, output_dir=folder, n_jobs=1, cache_dir=cache)
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
        return processes.run(processes.after(limit, [SCRIPT, *words]))

    assert run(cache.parent / "whole", resource.RLIM_INFINITY).returncode == EXIT_OK
    return run


@pytest.mark.parametrize("size", [1 << 10, 20 << 10, 50 << 10, 70 << 10])
def test_outputs_larger_than_a_file_may_be_end_with_74_and_one_line(
    limited: Callable[[Path, int], subprocess.CompletedProcess[str]], tmp_path: Path, size: int
) -> None:
    done = limited(tmp_path / "out", size)
    assert done.returncode == EXIT_STORAGE, done.stderr
    # On a busy machine it says what it is about: "writing the outputs ...".
    said = [line for line in done.stderr.splitlines() if "scor" not in line and not line.endswith(" ...")]
    assert said == done.stderr.splitlines()[-1:]
    assert (
        "File too large; allow larger files (`ulimit -f`) and run the same command again; no output is half-written"
        in done.stderr
    )
    assert not list(tmp_path.rglob("*.parquet")) + list(tmp_path.rglob("*.json"))


def test_a_writer_that_compresses_a_row_group_does_not_stop_the_other(tmp_path: Path) -> None:
    """A row group's worth of tables and more can wait, and yet not all of the input."""
    table = pa.table({"response": ["x" * (4 << 20)]})
    busy, handed = threading.Event(), 0

    def split(table: pa.Table, rows: slice) -> list[pa.Table]:
        busy.wait(60)
        return [table]

    def hand_over(sink: Any) -> None:
        nonlocal handed
        for row in range(40):
            sink.put(table, slice(row, row + 1))
            handed += 1

    with write._Sink(table.schema, [str(tmp_path / "all.parquet")], split) as sink:
        thread = threading.Thread(target=hand_over, args=(sink,), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while handed < GROUP_BYTES // table.nbytes + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        waiting = handed
        busy.set()
        thread.join(60)
        sink.finish()
    assert GROUP_BYTES // table.nbytes + 2 <= waiting <= 2 * GROUP_BYTES // table.nbytes + 2
    assert pq.read_metadata(tmp_path / "all.parquet").num_rows == handed == 40


# ---------------------------------------------------------------- beside the rest of the analysis


def test_the_text_is_written_while_the_rest_is_found_out(
    analyze: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated, seen = estimate.bucket_stability, list[int]()

    def wait_for_the_text(*args: Any) -> Any:
        """Estimate only once all rollouts lie in the staging folder: for ever, if they were written afterwards."""
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.02)
            for path in tmp_path.glob("out/.*/rollouts_with_rewards.parquet"):
                with contextlib.suppress(pa.ArrowInvalid):  # no footer yet
                    seen.append(pq.read_metadata(path).num_rows)
        return estimated(*args)

    monkeypatch.setattr(estimate, "bucket_stability", wait_for_the_text)
    data = parquet(tmp_path / "in.parquet", rollouts(8, 4))
    assert analyze(data, output_dir=tmp_path / "out").code == EXIT_OK
    assert seen == [32]


def test_the_metrics_are_written_while_the_text_is(
    analyze: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rollouts, seen, switching = write.write_rollouts, list[str](), list[float]()

    def wait_for_the_metrics(*args: Any, **options: Any) -> None:
        """Write the text only once all that can be written without it is there."""
        deadline = time.monotonic() + 60
        while "summary.json" not in seen and time.monotonic() < deadline:
            time.sleep(0.02)
            seen[:] = [path.name for path in tmp_path.glob("out/.*/*")]
        switching.append(sys.getswitchinterval())
        write_rollouts(*args, **options)

    monkeypatch.setattr(write, "write_rollouts", wait_for_the_metrics)
    before = sys.getswitchinterval()
    data = parquet(tmp_path / "in.parquet", rollouts(8, 4))
    assert analyze(data, output_dir=tmp_path / "out").code == EXIT_OK
    assert {"problem_metrics.json", "problem_metrics.parquet", "problem_buckets.json", "summary.json"} <= {*seen}
    assert "problems.parquet" not in seen
    assert (switching[0] < before / 5, sys.getswitchinterval()) == (True, before)


def test_what_fails_beside_the_writing_ends_it_and_keeps_the_old_outputs(
    analyze: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = parquet(tmp_path / "in.parquet", rollouts(8, 4)), tmp_path / "out"
    analyze(data, output_dir=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*args: Any, **options: Any) -> Any:
        raise InputError("no")

    monkeypatch.setattr(audit, "audit_rewards", fail)
    assert analyze(data, output_dir=out, overwrite=True).code == EXIT_USER
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_what_the_writing_meets_ends_the_run(
    analyze: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write, "write_rollouts", full)
    outcome = analyze(parquet(tmp_path / "in.parquet", rollouts(8, 4)), output_dir=tmp_path / "out")
    assert (outcome.code, len(outcome.errors)) == (EXIT_STORAGE, 1)
    assert not list((tmp_path / "out").iterdir())
