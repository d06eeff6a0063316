"""A call in a process of its own: what it says, and when it is over."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable

import pytest

from analyzer.errors import TokenizerError
from analyzer.workers.processes import CallApart


def prepare(word: str) -> Callable[[str], str]:
    """As a library that prints, and that takes long to be taken down."""
    print(f"loading {word}")
    atexit.register(time.sleep, 60)
    return lambda rest: f"{word} {rest}"


def test_the_answer_does_not_wait_for_the_libraries_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    call = CallApart(prepare, "one")
    call.go_on("two")
    assert call.result() == "one two"
    assert time.monotonic() - started < 30
    assert capfd.readouterr() == ("", "loading one\n")


def refuse(name: str) -> Callable[[str], str]:
    raise TokenizerError(f"{name} needs --trust_remote_code")


def test_what_it_raises_is_raised_in_the_driver() -> None:
    call = CallApart(refuse, "mine")
    call.go_on("two")
    with pytest.raises(TokenizerError, match=r"^mine needs --trust_remote_code$"):
        call.result()
