"""What the system refuses to any command is one line that names the limit, and no bug."""

from __future__ import annotations

import errno
import os

import pytest

from analyzer.commands.running import run
from analyzer.errors import EXIT_BUG, EXIT_USER


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RuntimeError("can't start new thread"), EXIT_USER, "error: the system allows no more processes or threads"),
        (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), EXIT_USER, "error: the system allows no more processes"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), EXIT_USER, "error: too many open files"),
        (RuntimeError("another"), EXIT_BUG, "Traceback"),
    ],
)
def test_a_limit_of_the_system_is_one_line(
    error: Exception, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert run(command) == code
    assert capsys.readouterr().err.startswith(says)
