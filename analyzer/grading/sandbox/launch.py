"""What the levels share in starting the warm process of a sandbox, the runner."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analyzer.files import temporaries
from analyzer.grading.sandbox import python

NOBODY = 65534
"""The user that programs become where the worker is root."""


class Unavailable(Exception):
    """Raised when a level is not available here; the message says why."""


class Settings(NamedTuple):
    """What the runner gets at its start; see inside/runner.py."""

    control: int  # descriptor of the socket for requests
    scratch: str  # the only directory a program may write to
    landlock: bool = False
    filter: bool = False  # of system calls
    count_processes: bool = False  # by RLIMIT_NPROC
    uid: int | None = None  # become this user
    janitor: bool = False  # the directory must be removed in the end

    def command(self) -> list[str]:
        """The command that starts the runner."""
        return python.runner({**self._asdict(), "site": python.site_packages(), "readable": python.readable()})


class Started(NamedTuple):
    """A runner that has been started, not yet known to be ready."""

    process: subprocess.Popen[bytes]
    scratch: str | None = None  # a directory on this host, to be removed at the end
    info: int | None = None  # a pipe to read {"child-pid": N} from where the runner is not `process` but a child


def user_to_become() -> int | None:
    """65534 for root, else None: an ordinary user stays who they are."""
    return NOBODY if os.geteuid() == 0 else None


def start(command: list[str], scratch: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with nothing of the caller's but these descriptors; errors are piped."""
    return subprocess.Popen(
        command,
        # Nothing of ours: tokens and keys live in environment variables, and a program can read its own
        # environment.
        env=python.environment(scratch),
        # The runner's 0 and 1 are /dev/null for its whole life; a program gets its own by dup2 after the fork.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # close_fds is the default: a leaked descriptor would be an open door through every level, as access is
        # checked at open().
        pass_fds=tuple(descriptors),
        # A Ctrl-C is for the driver. Without a controlling terminal there is no TIOCSTI into the user's shell
        # either.
        start_new_session=True,
        cwd="/",
    )


def start_on_host(control: int, settings: Settings) -> Started:
    """Start a runner without a namespace of its own, with a new scratch directory on this host."""
    uid = user_to_become()
    folder = scratch_folder(uid)
    # The janitor removes it in nearly all cases, a SIGKILL of every process of the job not: then the next run
    # does.
    temporaries.sweep(folder)  # where the janitor was killed too
    scratch = os.path.join(folder, temporaries.name_for("analyzer-sandbox"))
    # mkdir fails where the name exists, so nobody can have put a link of that name into a shared /tmp before.
    os.mkdir(scratch, 0o700)
    if uid is not None:
        os.chown(scratch, uid, uid)
    settings = settings._replace(scratch=scratch, uid=uid, janitor=True)
    return Started(start(settings.command(), scratch, [control]), scratch)


def scratch_folder(uid: int | None) -> str:
    """Where scratch directories lie: the usual folder for temporary files, or /tmp where that user cannot get there."""
    usual = os.path.realpath(tempfile.gettempdir())
    # Execute permission for others on each directory above: without it user 65534 cannot get to its own scratch.
    private = (os.stat(path).st_mode & 0o001 == 0 for path in (usual, *map(str, Path(usual).parents)))
    return "/tmp" if uid is not None and any(private) else usual


def remove(scratch: str | None) -> None:
    """Remove a scratch directory and what is in it."""
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
