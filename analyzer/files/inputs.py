"""Inputs: files of rollouts found, opened, and known again by what changes when they are written again.

A path with `://` in it is read through fsspec. Whatever the client of a store raises becomes an InputError.
"""

from __future__ import annotations

import contextlib
import os
import stat as statmodes
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from analyzer import proc
from analyzer.errors import AnalyzerError, InputError
from analyzer.files import storage

JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
INPUT_SUFFIXES = (".parquet", *JSONL_SUFFIXES)


def find(spec: str) -> list[str]:
    """The input files a file name, folder, glob or URL stands for, sorted. Raises InputError where there are none."""
    found = _find_remote(spec) if storage.is_remote(spec) else _find_local(storage.local(spec))
    if not found:
        raise InputError(f"{spec}: no rollouts found (looked for files ending in {', '.join(INPUT_SUFFIXES)})")
    return found


def _find_local(spec: str) -> list[str]:
    path = Path(spec)
    # Hidden names are those of the tools that copied the folder: ._part-0.parquet of macOS is not parquet.
    if path.is_dir():
        return sorted(str(p) for p in path.iterdir() if p.name.endswith(INPUT_SUFFIXES) and not p.name.startswith("."))
    if path.exists():
        return [spec]
    if any(character in spec for character in "*?["):
        import glob

        return sorted(p for p in glob.glob(spec, recursive=True) if p.endswith(INPUT_SUFFIXES))
    raise InputError(f"{spec}: no such file or folder")


def _find_remote(spec: str) -> list[str]:
    fs, inner = storage.filesystem(spec)
    with _readable(spec):
        if any(character in inner for character in "*?["):
            names = fs.glob(inner)
        elif fs.isdir(inner):
            names = fs.ls(inner, detail=False)
        elif fs.exists(inner):
            return [spec]
        else:
            raise InputError(f"{spec}: no such file or folder")
    return sorted(fs.unstrip_protocol(name) for name in names if name.endswith(INPUT_SUFFIXES))


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn what a disk or a remote store says of a path into an InputError."""
    try:
        yield
    except AnalyzerError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        # The errors of a store's client (aiohttp, botocore) are of its own kinds: no connection, no permission.
        if not storage.is_remote(path):
            raise
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def open_binary(path: str) -> IO[bytes]:
    """Open a file for reading. Raises InputError where that fails."""
    with _readable(path):
        if storage.is_remote(path):
            fs, inner = storage.filesystem(path)
            opened: IO[bytes] = fs.open(inner, "rb")
            return opened
        return open(storage.local(path), "rb")


_REMOTE_MARKS = (
    *("ETag", "etag", "md5", "md5Hash", "Content-MD5", "Digest", "generation", "VersionId", "blob_id", "sha", "CRC"),
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "modificationTime", "created"),
)
"""What fsspec's file systems call that which changes when a file is written again; the surest first."""


def stat(path: str) -> tuple[int, str]:
    """Size in bytes and a mark that changes when the file is written again; "" where a remote store has none.

    Of a local file the mark holds the time of its last change (ctime), which no program can set back as it can the
    time of modification, and its inode. Raises InputError for what is not a file: a pipe can be read only once.
    """
    if storage.is_remote(path):
        fs, inner = storage.filesystem(path)
        with _readable(path):
            # fsspec answers from an earlier listing otherwise, and a change of the file would not be seen.
            fs.invalidate_cache(inner)
            info = fs.info(inner)
        return int(info["size"] or 0), next((str(info[key]) for key in _REMOTE_MARKS if info.get(key)), "")
    with _readable(path):
        status = os.stat(storage.local(path))
    if not statmodes.S_ISREG(status.st_mode):
        kind = {statmodes.S_IFIFO: "pipe", statmodes.S_IFDIR: "folder", statmodes.S_IFSOCK: "socket"}
        raise InputError(
            f"{path}: is a {kind.get(statmodes.S_IFMT(status.st_mode), 'device')}, not a file; "
            "rollouts are read more than once, so write them to a file first"
        )
    # The inodes of FUSE file systems (sshfs, gcsfuse) may differ from node to node.
    inode = 0 if proc.filesystem_type(status.st_dev).startswith("fuse") else status.st_ino
    return status.st_size, f"{status.st_mtime_ns}-{status.st_ctime_ns}-{inode}"


def still_same(path: str, size: int, mark: str) -> None:
    """Raise InputError when a file has changed since `stat`."""
    try:
        same = stat(path) == (size, mark)
    except InputError:
        raise InputError(f"{path}: removed during the analysis; run again when it is back") from None
    if not same:
        raise changed(path)


def changed(path: str) -> InputError:
    """The error for a file that was written again while it was read."""
    return InputError(f"{path}: changed during the analysis; run again when the file no longer changes")
