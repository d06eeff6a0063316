"""Where bytes lie: local paths and fsspec URLs, found, opened, and written atomically.

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
from typing import IO, Any

from analyzer import proc
from analyzer.errors import AnalyzerError, InputError, OutputError, StorageError
from analyzer.files import temporaries

JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
INPUT_SUFFIXES = (".parquet", *JSONL_SUFFIXES)
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE})
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


def find_inputs(spec: str) -> list[str]:
    """The input files a file name, folder, glob or URL stands for, sorted. Raises InputError where there are none."""
    found = _find_remote(spec) if is_remote(spec) else _find_local(local(spec))
    if not found:
        raise InputError(f"{spec}: no rollouts found (looked for files ending in {', '.join(INPUT_SUFFIXES)})")
    return found


def _find_local(spec: str) -> list[str]:
    path = Path(spec)
    # Hidden names are those of the tools that copied the folder: ._part-0.parquet of macOS is no parquet.
    if path.is_dir():
        return sorted(str(p) for p in path.iterdir() if p.name.endswith(INPUT_SUFFIXES) and not p.name.startswith("."))
    if path.exists():
        return [spec]
    if any(character in spec for character in "*?["):
        import glob

        return sorted(p for p in glob.glob(spec, recursive=True) if p.endswith(INPUT_SUFFIXES))
    raise InputError(f"{spec}: no such file or folder")


def _find_remote(spec: str) -> list[str]:
    fs, inner = filesystem(spec)
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
        if not is_remote(path):
            raise
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def open_binary(path: str) -> IO[bytes]:
    """Open a file for reading. Raises InputError where that fails."""
    with _readable(path):
        if is_remote(path):
            fs, inner = filesystem(path)
            opened: IO[bytes] = fs.open(inner, "rb")
            return opened
        return open(local(path), "rb")


_REMOTE_MARKS = (
    *("ETag", "etag", "md5", "md5Hash", "Content-MD5", "Digest", "generation", "VersionId", "blob_id", "sha", "CRC"),
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "modificationTime", "created"),
)
"""What fsspec's file systems call that which changes when a file is written again; the surest first."""


def stat(path: str) -> tuple[int, str]:
    """Size in bytes and a mark that changes when the file is written again; "" where a remote store has none.

    Of a local file the mark holds the time of its last change (ctime), which no program can set back as it can the
    time of modification, and its inode. Raises InputError for what is no file: a pipe can be read only once.
    """
    if is_remote(path):
        fs, inner = filesystem(path)
        with _readable(path):
            # fsspec answers from an earlier listing otherwise, and a change of the file would not be seen.
            fs.invalidate_cache(inner)
            info = fs.info(inner)
        return int(info["size"] or 0), next((str(info[key]) for key in _REMOTE_MARKS if info.get(key)), "")
    with _readable(path):
        status = os.stat(local(path))
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
            raise StorageError(
                f"{place}: {reason}; free some space and run the same command again; no output is half-written"
            ) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise OutputError(f"{place}: cannot be written to ({error.strerror or error})") from error
        if isinstance(error, FileNotFoundError):
            raise OutputError(f"{place}: its folder was removed during the run; run the same command again") from error
        raise


def is_disk_error(error: OSError) -> bool:
    """Whether the disk is full, over quota or failing."""
    return _errno(error) in _DISK_ERRNOS


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
    folder, name = os.path.split(target)
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

    Where somebody else is building it, wait for theirs: what it holds is the same. Raises StorageError when the disk
    is full or failing.
    """
    if path.is_dir():
        # In a shared cache somebody else may have put it there, and what it holds would be taken for the input.
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
