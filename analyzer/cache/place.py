"""Where the cache is, and whether it is to be trusted; apart from what is in it, since to know where takes no time."""

from __future__ import annotations

import contextlib
import os

from analyzer.errors import ConfigError, OutputError
from analyzer.files import storage

PARTS = ("runs", "inputs", "tokenizers", "verdicts")
"""The folders in a cache directory."""


def path_of(given: str | None) -> str:
    """The cache directory as an absolute path: the given one, or the user's own (XDG_CACHE_HOME honoured)."""
    import platformdirs

    return storage.absolute(given or platformdirs.user_cache_dir("rollout-analyzer"))


def cache_folder(given: str | None, shared: bool = False) -> str:
    """The cache directory as an absolute path: the given one, or the user's own (XDG_CACHE_HOME honoured).

    Where it is not there it is made, for this user alone. Whoever can write to it can make up scores, so one that
    belongs to another user, or that others may write to, is taken only where it is `shared`: files of its owner and of
    this user then count, and no others. One that is there need not be writable: it may hold all that is asked for.

    Raises ConfigError for a URL, OutputError where it cannot be made or is not to be trusted.
    """
    if given is not None and storage.is_remote(given):
        raise ConfigError(f"--cache_dir {given}: must be a local or mounted folder; input and output may be URLs")
    folder = path_of(given)
    advice = "name a folder for the cache with --cache_dir"
    if not os.path.isdir(folder):
        storage.make_folder(folder, advice, mode=0o777 if shared else 0o700)
    # Not W_OK: a run that is complete can be used from a cache that is mounted read-only.
    if not os.access(folder, os.R_OK | os.X_OK):
        raise OutputError(f"{folder}: the cache cannot be read (permission denied); {advice}")
    if not shared:
        _check_trusted(folder)
    for name in PARTS:
        part = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # a read-only one; what must be written there will say so
            os.mkdir(part, mode=0o777 if shared else 0o700)
        if not shared and os.path.isdir(part):
            with contextlib.suppress(OSError):
                os.chmod(part, 0o700)
            _check_trusted(part)
        elif os.path.isdir(part) and not storage.is_trusted(part, folder):
            raise OutputError(f"--cache_dir {folder}: {part} belongs neither to you nor to the owner of the cache")
    return folder


def _check_trusted(folder: str) -> None:
    """Raise OutputError where another user owns a folder of the cache, or may write to it."""
    status = os.stat(folder)
    if status.st_uid != os.geteuid():
        raise OutputError(
            f"--cache_dir {folder}: belongs to {_name_of(status.st_uid)}, and scores of other users are not trusted; "
            "name a folder of your own, or add --shared_cache to trust those of its owner"
        )
    # Distributions that give each user a group of their own make folders group-writable; that group lets nobody else
    # in.
    if status.st_mode & 0o022 & ~(0o020 if _is_private(status.st_gid) else 0):
        raise OutputError(
            f"--cache_dir {folder}: other users may write to it and could forge scores; `chmod go-w {folder}`, or add "
            "--shared_cache to share it and trust only its owner's files and your own"
        )


def _name_of(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _is_private(gid: int) -> bool:
    """Whether a group is this user's alone, as many systems make one for each user."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    # The name alone proves nothing: members may have been added to the group.
    return group.gr_name == user and set(group.gr_mem) <= {user}
