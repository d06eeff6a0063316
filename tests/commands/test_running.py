"""What the system refuses to any command is one line that names the limit, and no bug."""

from __future__ import annotations

import errno
import os
import resource
import sys

import pytest

from analyzer.commands.running import check_addresses, run
from analyzer.errors import EXIT_BUG, EXIT_OK, EXIT_USER


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RuntimeError("can't start new thread"), EXIT_USER, "error: the system allows no more processes or threads"),
        (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), EXIT_USER, "error: the system allows no more processes"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), EXIT_USER, "error: too many open files"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), EXIT_USER, "error: the system has no more memory"),
        (MemoryError(), EXIT_USER, "error: the system has no more memory"),
        (
            ImportError("x.so: failed to map segment from shared object", name="numpy"),
            EXIT_USER,
            "error: the system has",
        ),
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


@pytest.mark.parametrize(
    ("limit", "code", "says"),
    [
        (resource.RLIM_INFINITY, EXIT_OK, ""),
        (8 << 30, EXIT_OK, ""),
        (1500 << 20, EXIT_OK, "warning: `ulimit -v` allows each process 1,500 MB of addresses: libraries may crash"),
        (
            1600 << 20,
            EXIT_USER,
            "error: not enough memory: `ulimit -v` allows each process 1,600 MB of addresses; allow",
        ),
        (400 << 20, EXIT_USER, "error: not enough memory: `ulimit -v` allows each process 400 MB of addresses; allow"),
    ],
)
def test_too_few_addresses_are_named_before_a_library_crashes(
    limit: int, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        check_addresses()
        if limit == 1600 << 20:
            raise RuntimeError("can't start new thread")
        return EXIT_OK

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        assert run(command) == code
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    err = capsys.readouterr().err
    assert err.startswith(says) or err.splitlines()[-1].startswith(says)


def without_a_reader() -> int:
    """A pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("place", ["a pipe that nobody reads", "/dev/full"])
def test_a_stderr_that_cannot_be_written_to_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    with open(place if place.startswith("/") else without_a_reader(), "w") as stream:
        for name in ("stderr", "__stderr__"):
            monkeypatch.setattr(sys, name, stream)
        written = []

        def command() -> int:
            print("scoring: 1 of 2 rollouts", file=sys.stderr)
            written.append("the outputs")
            return EXIT_OK

        assert (run(command), written) == (EXIT_OK, ["the outputs"])


def test_only_a_pipe_of_stdout_may_be_closed_by_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> int:
        raise BrokenPipeError  # of a worker, say

    with open(without_a_reader(), "w") as broken, open(os.devnull, "w") as whole:
        monkeypatch.setattr(sys, "stdout", whole)
        assert run(command) == EXIT_BUG
        monkeypatch.setattr(sys, "stdout", broken)
        assert run(command) == EXIT_OK
