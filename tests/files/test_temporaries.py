"""What killed processes leave behind is removed, what others are at is left alone, and one of many builds a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from analyzer.files import storage, temporaries


def name_of(process: str | None, name: str = "file", node: str | None = None) -> str:
    made = temporaries.name_for(name).removesuffix(f".{temporaries.process(os.getpid())}.tmp")
    return f"{made.rpartition('.')[0]}.{node}.{process}.tmp" if node else f"{made}.{process}.tmp"


def dead_process() -> str | None:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        return temporaries.process(process.pid)


def test_sweep_removes_what_dead_processes_of_this_node_left(tmp_path: Path) -> None:
    dead = dead_process()
    (tmp_path / name_of(dead)).write_bytes(b"half")
    (tmp_path / name_of(dead, "folder")).mkdir()
    kept = [
        tmp_path / name_of(temporaries.process(os.getpid())),
        tmp_path / ".mine.tmp",
        tmp_path / "file.tmp",
        tmp_path / ".hidden",
    ]
    for path in kept:
        path.touch()
    temporaries.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_sweep_removes_what_is_of_a_process_whose_id_another_has_now(tmp_path: Path) -> None:
    pid, _, began = str(temporaries.process(os.getpid())).partition("-")
    (tmp_path / name_of(f"{pid}-{int(began) - 1}")).touch()
    temporaries.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_what_is_of_a_process_that_nobody_has_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (tmp_path / name_of(temporaries.process(process.pid))).touch()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        temporaries.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sweep_leaves_those_of_other_nodes_for_a_day(tmp_path: Path) -> None:
    young, old = (tmp_path / name_of(dead_process(), name, node="0" * 12) for name in ("young", "old"))
    for path in (young, old):
        path.mkdir()
        (path / "part").touch()
    for path in (old / "part", old):
        os.utime(path, (0, time.time() - 25 * 3600))
    temporaries.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_sweep_of_a_folder_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    temporaries.sweep(tmp_path / "nowhere")


def test_of_many_that_need_a_folder_one_builds_it(tmp_path: Path) -> None:
    built: list[int] = []

    def build(folder: str) -> None:
        built.append(1)
        time.sleep(0.2)
        (Path(folder) / "part").write_bytes(b"content")

    first = threading.Thread(target=storage.build_folder, args=(tmp_path / "folder", build))
    first.start()
    while not built:
        time.sleep(0.001)
    others = [threading.Thread(target=storage.build_folder, args=(tmp_path / "folder", build)) for _ in range(3)]
    for thread in others:
        thread.start()
    for thread in (first, *others):
        thread.join()
    assert len(built) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "part").read_bytes() == b"content"


def test_a_builder_that_died_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / name_of(dead_process(), "folder")).mkdir()
    silent = tmp_path / name_of("1-1", "folder", node="0" * 12)
    silent.mkdir()
    os.utime(silent, (0, time.time() - 3600))
    storage.build_folder(tmp_path / "folder", lambda folder: (Path(folder) / "part").touch())
    assert (tmp_path / "folder" / "part").exists()


def test_a_folder_whose_building_fails_is_not_there(tmp_path: Path) -> None:
    def build(folder: str) -> None:
        (Path(folder) / "part").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        storage.build_folder(tmp_path / "folder", build)
    assert list(tmp_path.iterdir()) == []
