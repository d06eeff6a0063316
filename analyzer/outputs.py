"""The output folder: its files are replaced as a set, and never those of something else.

A hidden manifest, `.rollout-analyzer.json`, says which settings the files are of and which files are ours. New files
are written to a hidden folder beside them and moved in at the end, summary.json last. Files that are not in the
manifest are never touched, but for those of the same names when the user says --overwrite.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer import storage
from analyzer.errors import OutputError

MANIFEST = ".rollout-analyzer.json"
SUMMARY = "summary.json"
ROLLOUTS, METRICS, BUCKETS = "rollouts_with_rewards.parquet", "problem_metrics.json", "problem_buckets.json"
TABLE, TIMINGS = "problem_metrics.parquet", "timings.json"
DIGEST = "sha256:"
"""Start of a value that says only whether something is the same."""
_ADVICE = "give another folder, or --overwrite to replace them"


def bucket_file(bucket: str) -> str:
    """The name of the file that holds the rollouts of a bucket."""
    return f"rollouts_{bucket}.parquet"


class Manifest(NamedTuple):
    """What a folder says of the outputs in it."""

    of: Mapping[str, Any]  # what they depend on, plain JSON values by the name a user knows
    files: tuple[str, ...]


class OutputFolder(NamedTuple):
    """An output folder and what its outputs depend on."""

    path: str
    of: Mapping[str, Any]

    def check(self, overwrite: bool, buckets: Sequence[str]) -> None:
        """Raise OutputError where the folder cannot be written, or holds outputs of something else."""
        self._check_writable()
        if overwrite:
            return
        manifest = self._manifest() or Manifest({}, ())
        names = {ROLLOUTS, METRICS, BUCKETS, TABLE, TIMINGS, SUMMARY, *map(bucket_file, buckets)}
        if foreign := sorted(names & self._names() - set(manifest.files)):
            raise OutputError(f"{self.path} holds {foreign[0]} of something else; {_ADVICE}")
        if manifest.files and (differing := self._differences(manifest)):
            raise OutputError(f"{self.path} holds outputs of {differing}; {_ADVICE}")

    def _differences(self, manifest: Manifest) -> str:
        """What the outputs that are there are of, where that differs: 'another input', 'seed 1 instead of 42'."""
        now = orjson.loads(orjson.dumps(dict(self.of)))
        then = manifest.of
        differing = [name for name in now | then if now.get(name) != then.get(name)]
        if any(name in differing for name in ("input", "tokenizer")):
            return f"another {'input' if 'input' in differing else 'tokenizer'}"
        return " and ".join(
            f"other {name}"
            if str(now.get(name)).startswith(DIGEST)
            else f"{name} {then.get(name)}, not {now.get(name)}"
            for name in differing
        )

    def _check_writable(self) -> None:
        if storage.is_remote(self.path):
            return
        folder = Path(storage.local(self.path)).absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(f"--output_dir {self.path}: {folder} is a file; it must be a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"--output_dir {self.path}: {folder} cannot be written to (permission denied)")

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
            storage.make_folder(target)
            staging = Path(tempfile.mkdtemp(prefix=".rollout-analyzer-", dir=target))
            try:
                yield staging
                self._move_in(staging, target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _move_in(self, staging: Path, target: Path) -> None:
        names = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == SUMMARY, name))
        old = set((self._manifest() or Manifest({}, ())).files)
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
        old = set((self._manifest() or Manifest({}, ())).files)
        for name in old:
            with contextlib.suppress(FileNotFoundError):
                fs.rm(f"{inner}/{name}")
        for name in names:
            fs.put(str(folder / name), f"{inner}/{name}")
        fs.pipe(f"{inner}/{MANIFEST}", self._say(names))

    def _say(self, names: list[str]) -> bytes:
        return orjson.dumps({"of": dict(self.of), "files": names}, option=orjson.OPT_INDENT_2)

    def _manifest(self) -> Manifest | None:
        """None where there is none, or none of ours that can be read."""
        if MANIFEST not in self._names():
            return None
        with (
            storage.open_binary(f"{self.path}/{MANIFEST}") as file,
            contextlib.suppress(ValueError, KeyError, TypeError),
        ):
            said = orjson.loads(file.read())
            return Manifest(dict(said["of"]), tuple(map(str, said["files"])))
        return None

    def _names(self) -> set[str]:
        if storage.is_remote(self.path):
            fs, inner = storage.filesystem(self.path)
            return {os.path.basename(name) for name in fs.ls(inner, detail=False)} if fs.isdir(inner) else set()
        folder = Path(storage.local(self.path))
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
