"""Full and failing disks, crashes between write and rename, inputs that change: nothing half-written ever counts."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.errors import EXIT_STORAGE, EXIT_USER, StorageError
from analyzer.files import storage, temporaries
from tests.commands import known_tokenizer
from tests.faults.conftest import Story
from tests.faults.drivers import ROOT, Driver, outputs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=700", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left; returns the file that does."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return filler


def test_f8_a_cache_that_runs_full_ends_with_74_and_the_run_goes_on_when_there_is_room(
    story: Story, small_disk: Path, tmp_path: Path
) -> None:
    known_tokenizer(small_disk)
    (tmp_path / "cache").symlink_to(small_disk)
    driver = story.start(tmp_path)
    driver.wait_for(lambda: driver.committed() >= 5)
    filler = fill(small_disk)
    code, err = driver.end()
    assert (code, err.count("error:"), "Traceback" in err) == (EXIT_STORAGE, 1, False), err
    assert "No space left on device" in err
    assert not (tmp_path / "output").exists()
    assert not list(small_disk.rglob(".shard-*.tmp"))
    filler.unlink()
    code, err = story.start(tmp_path, n_jobs=1).end()
    assert code == 0, err
    assert "rollouts are already scored" in err
    assert outputs(tmp_path / "output") == story.expected


def test_f8_an_output_folder_that_runs_full_keeps_its_old_outputs(story: Story, small_disk: Path, folder: Path) -> None:
    """Of a run that is in the cache: outputs are all that it writes."""
    shutil.copytree(story.clean / "cache", folder / "cache", dirs_exist_ok=True)
    shutil.copytree(story.clean / "output", small_disk, dirs_exist_ok=True)
    (folder / "output").symlink_to(small_disk)
    before = outputs(small_disk)
    filler = fill(small_disk)
    code, err = story.start(folder, "--overwrite", "--bucketing_strategy", "percentile").end()
    filler.unlink()
    assert (code, err.count("error:"), "Traceback" in err) == (EXIT_STORAGE, 1, False), err
    assert outputs(small_disk) == before


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT])
def test_f8_a_write_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, number: int
) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    target = tmp_path / "file"
    storage.write_bytes(target, b"old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StorageError, match=os.strerror(number)):
        storage.write_bytes(target, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize(("dies_in", "expected"), [("os.replace", None), ("storage.sync_folder", b"new")])
def test_f9_a_crash_around_the_rename_leaves_the_whole_file_or_none(
    tmp_path: Path, dies_in: str, expected: bytes | None
) -> None:
    code = (
        "import os; from analyzer.files import storage\n"
        f"{dies_in} = lambda *args: os._exit(9)\n"
        f"storage.write_bytes({str(tmp_path / 'file')!r}, b'new')"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 9
    left = {path.name for path in tmp_path.iterdir()}
    assert ("file" in left, len(left)) == (expected is not None, 1)
    temporaries.sweep(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"file": expected} if expected else {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("touch", "changed"),
        pytest.param("remove", "removed", marks=pytest.mark.faults),
    ],
)
def test_f19_an_input_that_changes_in_mid_run_ends_it_with_2_and_its_scores_are_not_mixed(
    story: Story, folder: Path, change: str, said: str
) -> None:
    rollouts = shutil.copytree(story.rollouts, folder / "rollouts")
    driver = Driver(
        *("--n_jobs", "2", "--reward_fn", story.reward),
        rollouts=rollouts,
        output=folder / "output",
        cache=folder / "cache",
    )
    driver.wait_for(lambda: driver.committed() >= 3)
    for path in rollouts.iterdir():
        if change == "touch":
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
        else:
            path.unlink()
    code, err = driver.end()
    assert (code, "Traceback" in err) == (EXIT_USER, False), err
    assert re.search(rf"{rollouts}/part-\d+.parquet: {said} during the analysis", err)
    assert not (folder / "output").exists()
    assert driver.committed() < 20
