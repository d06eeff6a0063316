"""The output folder: its files are replaced as a set, and never those of something else.

A hidden manifest, `.rollout-analyzer.json`, says which settings the files are of and which files are ours. New files
are written to a hidden folder beside them and moved in at the end, summary.json last. Files that are not in the
manifest are never touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer import storage
from analyzer.errors import OutputError

MANIFEST = ".rollout-analyzer.json"
SUMMARY = "summary.json"
_OURS = ("rollouts_with_rewards.parquet", "problem_metrics.json", "problem_buckets.json", SUMMARY)


class OutputFolder(NamedTuple):
    """An output folder and the key of what may be in it."""

    path: str
    key: str

    def check(self, overwrite: bool) -> None:
        """Raise OutputError where the folder holds outputs of another input or other settings."""
        if overwrite:
            return
        manifest = self._manifest()
        held = self._names()
        if manifest is None and (there := sorted(held & set(_OURS))):
            raise OutputError(f"{self.path} holds {there[0]} of something else; give another folder or --overwrite")
        if manifest is not None and manifest["key"] != self.key:
            raise OutputError(
                f"{self.path} holds outputs of another input or other settings; give another folder or --overwrite"
            )

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """An empty local folder to write to; at the end its files replace the outputs that were there."""
        if storage.is_remote(self.path):
            with tempfile.TemporaryDirectory(prefix="rollout-analyzer-") as folder:
                yield Path(folder)
                self._upload(Path(folder))
            return
        target = Path(storage.local(self.path))
        with storage.storage_errors(target):
            target.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".rollout-analyzer-", dir=target))
            try:
                yield staging
                self._move_in(staging, target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _move_in(self, staging: Path, target: Path) -> None:
        names = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == SUMMARY, name))
        old = set((self._manifest() or {"files": []})["files"])
        for name in names:
            with open(staging / name, "rb") as file:
                os.fsync(file.fileno())
        storage.write_bytes(target / MANIFEST, self._say(sorted(old | set(names))))
        for name in [SUMMARY, *sorted(old - set(names))]:
            (target / name).unlink(missing_ok=True)
        for name in names:
            os.replace(staging / name, target / name)
        storage.sync_folder(str(target))
        storage.write_bytes(target / MANIFEST, self._say(names))

    def _upload(self, folder: Path) -> None:
        fs, inner = storage.filesystem(self.path)
        fs.makedirs(inner, exist_ok=True)
        names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name == SUMMARY, name))
        old = set((self._manifest() or {"files": []})["files"])
        for name in old:
            with contextlib.suppress(FileNotFoundError):
                fs.rm(f"{inner}/{name}")
        for name in names:
            fs.put(str(folder / name), f"{inner}/{name}")
        fs.pipe(f"{inner}/{MANIFEST}", self._say(names))

    def _say(self, names: list[str]) -> bytes:
        return orjson.dumps({"key": self.key, "files": names}, option=orjson.OPT_INDENT_2)

    def _manifest(self) -> dict[str, Any] | None:
        path = f"{self.path}/{MANIFEST}"
        if MANIFEST not in self._names():
            return None
        with storage.open_binary(path) as file:
            said = orjson.loads(file.read())
        return said if isinstance(said, dict) else None

    def _names(self) -> set[str]:
        if storage.is_remote(self.path):
            fs, inner = storage.filesystem(self.path)
            return {os.path.basename(name) for name in fs.ls(inner, detail=False)} if fs.isdir(inner) else set()
        folder = Path(storage.local(self.path))
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{self.path}: is a file; --output_dir must be a folder")
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
