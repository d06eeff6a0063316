"""The journal: whatever tears its end, all answers before it are there and counted once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import OutputError, StorageError
from analyzer.generation.journal import Answer, Journal
from analyzer.generation.wanted import every

PROMPTS = 5
TWO_EACH = every(PROMPTS, 2)


def answer(data_idx: int, first: int, *texts: str) -> Answer:
    return Answer(data_idx, first, list(texts), ["stop"] * len(texts), [None] * len(texts), 7)


def write(path: Path, *answers: Answer) -> None:
    journal = Journal(path, TWO_EACH)
    for one in answers:
        journal.append(one)
    journal.close()


def read(path: Path) -> tuple[list[Answer], list[int], int]:
    journal = Journal(path, TWO_EACH)
    try:
        return list(journal.ordered()), journal.have.tolist(), journal.torn_bytes
    finally:
        journal.close()


SOME = (answer(3, 0, "a\nb", "ü\x00\u2028"), answer(0, 0, "c"), answer(3, 2, "d"), answer(0, 1, ""))


def test_answers_come_back_in_order_of_prompt_and_sample(tmp_path: Path) -> None:
    write(tmp_path / "j", *SOME)
    assert read(tmp_path / "j") == ([SOME[1], SOME[3], SOME[0], SOME[2]], [2, 0, 0, 3, 0], 0)


def test_a_journal_cut_anywhere_keeps_all_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *SOME)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole), 7), *(end + shift for end in ends for shift in (-2, -1, 0))}):
        path.write_bytes(whole[:cut])
        lines = sum(end <= cut for end in ends)
        found, _, torn = read(path)
        assert sorted(found) == sorted(SOME[:lines])
        assert torn == cut - max([0, *ends[:lines]])
        write(path, *SOME[lines:])
        assert path.read_bytes() == whole


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_never_gives_a_changed_text(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, *SOME)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    assert set(map(str, read(path)[0])) <= set(map(str, SOME))


def test_a_line_that_a_disk_damaged_costs_its_own_rollouts_only(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *SOME)
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + b"#" + whole[21:])
    journal = Journal(path, TWO_EACH)
    assert (journal.damaged_lines, journal.torn_bytes, journal.have.tolist()) == (1, 0, [2, 0, 0, 0, 0])
    journal.append(SOME[0])
    journal.close()
    # What came behind the damage still has no beginning at the next start; the new line gives it none either.
    assert read(path) == ([SOME[1], SOME[3], SOME[0]], [2, 0, 0, 2, 0], 0)


def test_what_is_missing_is_given_as_ranges(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TWO_EACH)
    assert journal.missing() == [(0, 5)]
    for data_idx, texts in ((0, "ab"), (2, "a"), (4, "ab")):
        journal.append(answer(data_idx, 0, *texts))
    assert journal.missing() == [(1, 4)]
    journal.close()


def test_only_one_process_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TWO_EACH)
    with pytest.raises(OutputError, match="another process"):
        Journal(tmp_path / "j", TWO_EACH)
    journal.close()


def test_a_full_disk_is_a_storage_error_and_the_torn_line_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    write(path, SOME[1])
    journal = Journal(path, TWO_EACH)
    real = os.write

    def nearly_full(fd: int, data: memoryview) -> int:
        if len(data) > 20:
            return real(fd, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(StorageError, match="No space left"):
        journal.append(SOME[0])
    monkeypatch.undo()
    journal.close()
    found, have, torn = read(path)
    assert (found, have[3]) == ([SOME[1]], 0)
    assert torn > 0
