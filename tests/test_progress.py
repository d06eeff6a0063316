"""What a person sees of a run: full numbers, plain lines in a file, colours in a terminal, where to look at the end."""

from __future__ import annotations

import io
import os
import pty
import re
import termios
import threading
import time
from pathlib import Path

import pytest

from analyzer import progress
from analyzer.progress import Clock, Counter, coloured, duration
from tests.commands import SAMPLE, SCRIPT, TOKENIZER, flags, known_tokenizer, real_command
from tests.processes import DEVNULL, Process


def words_for(tmp_path: Path) -> list[str]:
    known_tokenizer(tmp_path / "cache")
    return flags(
        rollouts=SAMPLE,
        model_path=TOKENIZER,
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        backend="sequential",
        bucketing_strategy="pass_rate",
        reward_fn="exact_match",  # low rewards: there are warnings
    )


def in_a_terminal(words: list[str], **env: str) -> str:
    """What the command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    process = Process(
        [SCRIPT, *words, "--no_report"],
        stdout=DEVNULL,
        stderr=theirs,
        stdin=theirs,
        env={k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")} | {"TERM": "xterm", **env},
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 1 << 16):
            seen += part
    except OSError:  # the other end is closed: the command has ended
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return seen.decode()


def test_a_file_gets_plain_lines_and_the_last_says_what_to_open(tmp_path: Path) -> None:
    done = real_command(tmp_path, words_for(tmp_path))
    assert done.code == 0
    assert not re.search("[\r\x1b]", done.err)
    assert "scoring: 1,600 of 1,600 rollouts in " in done.err
    assert done.err.splitlines()[-1] == f"Outputs: {tmp_path}/out; open {tmp_path}/out/report.html"
    assert "Outputs:" not in done.out
    without = real_command(tmp_path, [*words_for(tmp_path), "--no_report", "--overwrite"])
    named = f"{tmp_path}/out/README.md"
    assert without.err.splitlines()[-1] == f"Outputs: {tmp_path}/out; open {named}, which says what each file holds"
    assert Path(named).exists()


def test_a_terminal_gets_a_bar_with_full_numbers_and_coloured_warnings(tmp_path: Path) -> None:
    seen = in_a_terminal(words_for(tmp_path))
    assert "1,600/1,600" in seen
    assert "1.60k" not in seen
    assert re.search("\x1b\\[33m\\s*Warnings:", seen)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(tmp_path: Path, env: dict[str, str]) -> None:
    seen = in_a_terminal([*words_for(tmp_path), "--limit", "20"], **env)
    assert "Warnings:" in seen
    assert "\x1b[33m" not in seen


def test_what_is_no_terminal_gets_no_colour() -> None:
    assert coloured("x", progress.RED, io.StringIO()) == "x"


def test_a_stage_says_what_it_does_once_it_has_taken_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Clock(shown=True, silent_seconds=0.05) as clock:
        for _ in range(3):  # none of them long
            with clock("metrics"):
                time.sleep(0.03)
        with clock("score"):  # counts rollouts
            time.sleep(0.1)
        with clock("write"), clock("merge"):  # one within the other
            time.sleep(0.2)
        with clock("merge"):
            time.sleep(0.1)
    with Clock() as unseen, unseen("write"):
        time.sleep(0.1)
    said = ["writing the outputs ...", "merging the scores ...", "merging the scores ..."]
    assert capsys.readouterr().err.splitlines() == said
    assert clock.seconds["write"] >= 0.2


def test_what_watches_the_stages_ends_with_the_run() -> None:
    before = set(threading.enumerate())
    with Clock(shown=True):
        (watching,) = set(threading.enumerate()) - before
    watching.join(5)
    assert not watching.is_alive()


def test_lines_of_progress_come_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counter = Counter("scoring", 28_380, 380, line_seconds=0.1)
    for _ in range(10):
        counter.update(1000, "5 tokens/s")
    assert capsys.readouterr().err == ""
    time.sleep(0.2)
    counter.update(1000)
    line = capsys.readouterr().err
    assert line.startswith("scoring: 11,380 of 28,380 rollouts in 0.")
    assert " left\n" in line
    Counter("scoring", 5, shown=False).close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (9.99, "10.0 s"),
        (59.4, "59 s"),
        (59.9, "1 min 0 s"),
        (3725, "1 h 2 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_are_for_a_person(seconds: float, text: str) -> None:
    assert duration(seconds) == text
