"""Odd words, names and streams: one line, the right exit code, and nothing replaced that is not a file."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from analyzer.commands.all import main
from analyzer.commands.analyze_rollouts import analyze_rollouts
from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.commands.select_problems import select_problems
from tests import processes
from tests.commands import SCRIPT, analyzed, parquet, rollouts

GIVEN = ["--rollouts", "r.parquet", "--output_dir", "o"]
ASKED = ["--data_path", "t.parquet", "--use_vllm", "--overwrite"]

WORDS: dict[str, tuple[Callable[[Sequence[str]], int], list[str], str]] = {
    "a name that is no UTF-8": (
        analyze_rollouts,
        ["--rollouts", "r.parquet", "--output_dir", os.fsdecode(b"o\xfe")],
        "is not UTF-8; give a file or folder another name",
    ),
    "a key that is a number": (
        analyze_rollouts,
        [*GIVEN, "--reward_fn", "gsm8k", "--reward_kwargs", "{a: [{2: 3}]}"],
        "--reward_kwargs: the key 2 is not text; write it in quotes",
    ),
    "a route that is a number": (
        analyze_rollouts,
        [*GIVEN, "--reward_routes", "{1: gsm8k}"],
        "--reward_routes: the key 1 is not text",
    ),
    "what JSON has not": (
        generate_rollouts,
        [*ASKED, "--output_path", "o.parquet", "--extra_body", "{a: !!binary aGk=}"],
        "--extra_body: b'hi' is a bytes; give texts, numbers, lists and mappings",
    ),
    "settings nested too deeply": (analyze_rollouts, ["--config", "deep.yaml"], "deep.yaml: nested too deeply"),
    "settings in a pipe": (analyze_rollouts, ["--config", "pipe.parquet"], "is a pipe or device; it is read more than"),
    "an address with a blank": (
        generate_rollouts,
        [*ASKED, "--output_path", "o.parquet", "--vllm_url", "http://exa mple/v1"],
        "is not an address such as",
    ),
    "rollouts to a pipe": (generate_rollouts, [*ASKED, "--output_path", "pipe.parquet"], "is not a file; give"),
    "rollouts to a device": (generate_rollouts, [*ASKED, "--output_path", "/dev/null"], "is not a file; give"),
    "a selection to a pipe": (
        select_problems,
        ["--analysis", "out", "--output", "pipe.parquet", "--overwrite"],
        "--output pipe.parquet: is not a file; give the name of a file",
    ),
    "a selection to a folder": (
        select_problems,
        ["--analysis", "out", "--output", "folder.parquet", "--overwrite"],
        "--output folder.parquet: is a folder; give the name of a file",
    ),
    "a sample where nothing can be": (main, ["sample", "/proc/x"], "/proc/x/configs: the folder cannot be created"),
}


def test_odd_words_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    analyzed(tmp_path, [{**row, "reward": 1.0} for row in rollouts()])
    parquet(tmp_path / "t.parquet", [{"prompt": "p"}])
    (tmp_path / "deep.yaml").write_text("rollouts: " + "[" * 3000)
    (tmp_path / "folder.parquet").mkdir()
    os.mkfifo(tmp_path / "pipe.parquet")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    capsys.readouterr()
    for name, (command, words, said) in WORDS.items():
        assert command(words) == 2, name
        err = capsys.readouterr().err
        assert said in err, (name, err)
        assert err.count("\n") == 1, (name, err)
    assert sorted(os.listdir(tmp_path)) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert stat.S_ISFIFO(os.stat("pipe.parquet").st_mode)


def test_without_a_working_directory_it_is_one_line_and_help_is_there(tmp_path: Path) -> None:
    for words, code, out, err in (
        (["--rollouts", "/r.parquet", "--output_dir", "/o"], 2, "", "error: the working directory was removed: change"),
        (["cache", "--cache_dir", "c"], 2, "", "error: the working directory was removed: change to one that exists\n"),
        (["--help"], 0, "usage: ", ""),
    ):
        gone = tmp_path / "gone"
        gone.mkdir()
        done = processes.run(
            processes.after(f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})", [SCRIPT, *words])
        )
        assert (done.returncode, done.stdout[: len(out)], done.stderr[: len(err)]) == (code, out, err)
        assert done.stderr.count("\n") == (code == 2)


class Full(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_that_cannot_be_printed_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    assert analyze_rollouts(["--nonsense"]) == 2
    assert main(["nonsense"]) == 2


def test_a_sample_that_finds_no_room_names_its_place_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".parquet":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["sample", str(tmp_path)]) == 74
    assert f"error: {tmp_path}/examples/sample/rollouts.parquet: No space left on device" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
