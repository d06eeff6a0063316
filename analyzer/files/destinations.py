"""Places for outputs: a local folder or one behind an fsspec URL. Names are those of files right in it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Protocol

from analyzer.errors import OutputError
from analyzer.files import storage, temporaries


class Destination(Protocol):
    """A folder somewhere."""

    def check(self, what: str) -> None:
        """Raise OutputError where it can be seen that nothing can be written there; `what`: the flag and its value."""

    def check_file(self, name: str, what: str) -> None:
        """Raise OutputError where that name is taken by something that is not a file: a folder, a pipe, a device."""

    def names(self) -> set[str]:
        """The files that are there."""

    def read(self, name: str) -> bytes:
        """A small file."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file atomically."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def make_staging(self) -> Path:
        """An empty local folder to write to."""

    def move_in(self, path: Path) -> None:
        """Move a file from there to here, in place of what has its name."""


def open_destination(path: str) -> Destination:
    """The destination that a path or URL names."""
    return _Remote(path) if storage.is_remote(path) else _Local(storage.local(path))


class _Local:
    def __init__(self, path: str) -> None:
        self._folder = Path(path)

    def check(self, what: str) -> None:
        folder = self._folder.absolute()
        # The nearest folder that exists decides: those below it are made, and only if it may be written to.
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(f"{what}: {folder} is a file; it must be a folder")
        if why := storage.not_writable(folder):
            raise OutputError(f"{what}: {folder} cannot be written to ({why})")

    def check_file(self, name: str, what: str) -> None:
        path = self._folder / name
        # To be moved in, a file takes the place of whatever has its name: of /dev/null, too.
        if path.exists() and not path.is_file():
            raise OutputError(f"{what}: is {'a folder' if path.is_dir() else 'not a file'}; give the name of a file")

    def names(self) -> set[str]:
        return {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        storage.write_bytes(self._folder / name, data)  # flushes the folder, and so what was moved in before

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def make_staging(self) -> Path:
        """On the same file system, so that moving in needs no room."""
        storage.make_folder(self._folder)
        temporaries.sweep(self._folder)
        # Absolute, since arrow takes a relative path such as run:1/out for a URL.
        staging = self._folder.absolute() / temporaries.name_for("rollout-analyzer")
        staging.mkdir()
        return staging

    def move_in(self, path: Path) -> None:
        os.replace(path, self._folder / path.name)


class _Remote:
    def __init__(self, url: str) -> None:
        self._fs, self._inner = storage.filesystem(url)

    def check(self, what: str) -> None:
        """Only writing would tell."""

    def check_file(self, name: str, what: str) -> None:
        """An object store has none."""

    def names(self) -> set[str]:
        fs = self._fs
        return {os.path.basename(name) for name in fs.ls(self._inner, False)} if fs.isdir(self._inner) else set()

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self._inner}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        self._fs.pipe_file(f"{self._inner}/{name}", data)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._inner}/{name}")

    def make_staging(self) -> Path:
        """In the folder for temporary files (TMPDIR), which must have room for all outputs."""
        # An object store has no rename: writing there at once would show half an output to whoever reads.
        self._fs.makedirs(self._inner, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="rollout-analyzer-"))

    def move_in(self, path: Path) -> None:
        self._fs.put_file(str(path), f"{self._inner}/{path.name}")
