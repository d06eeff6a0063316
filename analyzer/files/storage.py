"""Where bytes lie: local paths and fsspec URLs, and files that are written atomically.

A path with `://` in it (memory://, s3://, ...) goes through fsspec; any other is a local file. A local write
goes to a temporary file in the same folder, is flushed to the disk and then renamed, so that a reader sees the
old bytes, the new bytes or nothing. On a remote store the rename is whatever that file system's move is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat as statmodes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from analyzer.errors import InputError, OutputError, StorageError
from analyzer.files import temporaries

_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE})
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    errno.EFBIG: "allow larger files (`ulimit -f`)",
}
_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST})
"""A folder cannot be made there, full disk or not: no such folder above it, not a folder, or not the user's."""
_SYNCED_AT_ONCE = 16
_ARROW_ERRNO = re.compile(r"\[errno ([0-9]+)\]")


def is_remote(path: str) -> bool:
    """Whether a path is an fsspec URL other than file://."""
    return "://" in path and not path.startswith("file://")


def local(path: str) -> str:
    """A local path without the file:// in front."""
    return path.removeprefix("file://")


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it. Raises InputError for an unknown scheme."""
    import fsspec

    try:
        fs, inner = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise InputError(f"{path}: {error}") from None
    return fs, inner


def absolute(path: str) -> str:
    """A path that means the same in a worker with another working directory."""
    return path if is_remote(path) else os.path.abspath(local(path))


@contextlib.contextmanager
def storage_errors(where: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a disk refuses into an error that names the place.

    Raises StorageError for a full, over-quota or failing disk, OutputError for a place that may not be written to.
    """
    try:
        yield
    except OSError as error:
        place = os.fspath(where)
        # Making room does not help here, unlike on a full disk.
        if _errno(error) == errno.EROFS:
            raise OutputError(f"{place}: cannot be written to (read-only file system); name another folder") from error
        # arrow may report a full disk as an OSError without errno, whose text alone has the number.
        if is_disk_error(error):
            match = _ARROW_ERRNO.search(str(error))  # arrow's own words name neither the file nor more of the reason
            reason = os.strerror(int(match[1])) if match else error.strerror or error
            remedy = _REMEDIES.get(_errno(error) or 0, "check that disk")
            raise StorageError(
                f"{place}: {reason}; {remedy} and run the same command again; no output is half-written"
            ) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise OutputError(f"{place}: cannot be written to ({error.strerror or error})") from error
        if isinstance(error, FileNotFoundError):
            raise OutputError(f"{place}: its folder was removed during the run; run the same command again") from error
        raise


def is_disk_error(error: OSError) -> bool:
    """Whether the disk is full, over quota or failing."""
    return _errno(error) in _DISK_ERRNOS


def check_of_the_file(error: Exception, path: str | os.PathLike[str]) -> None:
    """Return where an error of reading may be the file's own: damaged, or of another format.

    Raises StorageError where the disk failed, OSError where the process may open no more files or has no memory.
    """
    number = _errno(error) if isinstance(error, OSError) else None
    if number is None:
        return
    if number in _DISK_ERRNOS:
        raise StorageError(
            f"{os.fspath(path)}: cannot be read ({os.strerror(number)}); check that disk and run the same command again"
        ) from error
    if number in _OF_THE_MACHINE:
        raise OSError(number, os.strerror(number), os.fspath(path)) from error


def _errno(error: OSError) -> int | None:
    """The number of an error; arrow gives it in its text, and not always beside it."""
    match = _ARROW_ERRNO.search(str(error))
    return int(match[1]) if match else error.errno


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """A temporary name beside `path` to write to; moved to `path` at the end, removed when anything fails.

    Raises StorageError when the disk is full or failing.
    """
    target = os.fspath(path)
    # Absolute, since arrow takes a relative path such as run:1/rollouts.parquet for a URL.
    folder, name = os.path.split(os.path.abspath(target))
    temporary = os.path.join(folder, temporaries.name_for(name))
    try:
        with storage_errors(target):
            yield temporary
            commit(temporary, target)
    except BaseException:
        temporaries.remove(temporary)
        raise


def build_folder(path: Path, build: Callable[[str], None]) -> None:
    """Have `build` fill a folder that then becomes `path`; nothing where it is there already.

    Where another process is building it, wait for that: it makes the same files. Raises StorageError when the disk
    is full or failing.
    """
    if path.is_dir():
        # In a shared cache another user may have put it there, and its files would be read as the input.
        for file in (path, *path.iterdir()):
            if not is_trusted(file, path.parent):
                raise OutputError(
                    f"{file}: belongs neither to you nor to the owner of the cache; remove it, and run again"
                )
        return
    with storage_errors(path):
        make_below(path.parent)
        temporaries.sweep(path.parent)
        # Beside the target, since a rename works within one file system only.
        made = path.parent / temporaries.name_for(path.name)
        try:
            made.mkdir(mode=_mode(path.parent))
            with temporaries.turn(path, made) as mine:
                if mine:
                    build(str(made))
                    _commit_folder(made, path)
        finally:
            temporaries.remove(made)


def _commit_folder(made: Path, path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor  # logging with it, for which --help has no time

    def sync(file: Path) -> None:
        with open(file, "rb") as opened:
            _no_more_open_than(made, opened.fileno())
            os.fsync(opened.fileno())

    # At once: one after another, each waits for a write of the file system's journal, which could be that of all.
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as threads:
        for _ in threads.map(sync, made.iterdir()):
            pass
    sync_folder(str(made))
    try:
        os.rename(made, path)
    except OSError:
        # rename() refuses a target that is not empty: another process was first, and made the same.
        if not path.is_dir():
            raise
    sync_folder(str(path.parent))


def commit(temporary: str, target: str) -> None:
    """Make a finished local file durable under its final name: flush, rename, flush the folder."""
    fd = os.open(temporary, os.O_RDONLY)
    try:
        _no_more_open_than(os.path.dirname(target) or ".", fd)
        os.fsync(fd)
    finally:
        os.close(fd)
    # Contents, then the name, then the folder: in any other order a power cut can leave a name without its bytes.
    os.replace(temporary, target)
    sync_folder(os.path.dirname(target) or ".")


def _no_more_open_than(folder: str | os.PathLike[str], fd: int) -> None:
    """Take from a new file what its folder does not grant either: in a folder of mode 0700 it gets 0600."""
    mode = statmodes.S_IMODE(os.fstat(fd).st_mode)
    # umask is the user's; a cache that is closed to others must not leak through the files in it, whatever umask says.
    if mode & ~_mode(folder):
        os.fchmod(fd, mode & _mode(folder))


def _mode(folder: str | os.PathLike[str]) -> int:
    return statmodes.S_IMODE(os.stat(folder).st_mode) & 0o777


def make_below(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, each as open as the one that it is made in. Raises OSError."""
    target = Path(path)
    if target.is_dir():
        return
    make_below(target.parent)
    with contextlib.suppress(FileExistsError):  # another process was quicker
        target.mkdir(mode=_mode(target.parent))


def is_trusted(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a file belongs to this user, or to the owner of a folder that was found to be trusted."""
    try:
        return os.stat(path).st_uid in (os.geteuid(), os.stat(folder).st_uid)
    except OSError:
        return False


def write_if_changed(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a small local file unless it holds these bytes already: a cache that is whole may be read-only."""
    with contextlib.suppress(OSError):
        if Path(path).read_bytes() == data:
            return
    write_bytes(path, data)


def touch(path: str | os.PathLike[str]) -> None:
    """Note the use of a file or folder by its time, where that can be noted."""
    with contextlib.suppress(OSError):
        os.utime(path)


def make_folder(path: str | os.PathLike[str], advice: str = "give another folder", mode: int = 0o777) -> None:
    """Make a local folder, of that mode, and those above it. Raises OutputError where the user may not."""
    with storage_errors(path):
        try:
            os.makedirs(path, mode, exist_ok=True)
        except OSError as error:
            if error.errno in _REFUSED:
                raise OutputError(
                    f"{os.fspath(path)}: the folder cannot be created ({error.strerror}); {advice}"
                ) from None
            raise
    if why := not_writable(path):
        raise OutputError(f"{os.fspath(path)}: the folder cannot be written to ({why}); {advice}")


def not_writable(folder: str | os.PathLike[str]) -> str:
    """Why nothing can be written to a folder, as far as that can be seen; "" where nothing speaks against it."""
    # access() refuses here, too, but without saying that it is the file system: another folder in it will not do.
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS).lower()
    if not os.access(folder, os.W_OK | os.X_OK):
        return os.strerror(errno.EACCES).lower()
    import tempfile  # not needed for --help

    try:  # a quota, or a file system such as /proc, shows only when a file is made; this one has no name
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def sync_folder(folder: str) -> None:
    """Flush a folder, so that a rename in it outlives a power cut."""
    # POSIX keeps the entry of a renamed file in the folder: fsync of the file alone does not bring that to the disk.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a small local file atomically."""
    with atomic_path(path) as temporary, open(temporary, "xb") as file:
        file.write(data)
