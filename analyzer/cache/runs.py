"""The run directory: where the scores of one run lie, addressed by everything that can change them.

    <cache_dir>/runs/<fingerprint>/run.json               the parts of the fingerprint, for --explain_cache
                                  /plan-<digest>.json     what the workers read, with offsets.npy and ranges.npy
                                  /shards/shard-000017.parquet   one committed file of scores per shard
    <cache_dir>/inputs/<identity>/                        jsonl input as parquet
               /verdicts/<fingerprint>/                   what graders have said, for all runs (verdicts.py)

The same command finds the same directory and scores only what is not committed: that is how a killed run goes on,
how another strategy costs no scoring, and how several nodes share one run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer.cache import masking, score_files
from analyzer.files import storage, temporaries

FORMAT = 1  # of the run directory; a new one never reads an old one's shards


def fingerprint(parts: Mapping[str, Any]) -> str:
    """sha256 of the parts as canonical JSON, the first 32 hex digits."""
    return hashlib.sha256(_canonical({"format": FORMAT, **parts})).hexdigest()[:32]


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=list)


def shards_folder(folder: str) -> str:
    """Where the files of scores lie in a run directory."""
    return os.path.join(folder, "shards")


def cache_of(folder: str) -> str:
    """The cache directory that a run directory is in."""
    return os.path.dirname(os.path.dirname(folder))


@dataclass(frozen=True)
class Run:
    """One run directory."""

    folder: str
    fingerprint: str
    again: dict[int, int] = field(default_factory=dict)  # shard -> rollouts of it that this run scores once more
    _known: set[int] = field(default_factory=set)  # shards that have nothing left for this run
    _due: dict[int, int] = field(default_factory=dict)  # shard -> tries that it must have had

    @property
    def shards_folder(self) -> str:
        """Where the files of scores lie."""
        return shards_folder(self.folder)

    def missing(self, wanted: Sequence[int]) -> list[int]:
        """Those of the wanted shards that are not committed. A torn or foreign file is not a commit.

        Nor is one that holds failures which another run may not have (`ShardFooter.unsettled`), as it was when this
        run first looked: what fails in this run is for the next one.
        """
        # One listing instead of a look for each shard: on a network file system every miss is a round trip.
        present = {os.path.join(self.shards_folder, name) for name in os.listdir(self.shards_folder)}
        for shard in wanted:
            # A committed file is only ever replaced by a better one, and this is asked at the end of every round: a
            # footer that was good once is not read again.
            if shard in self._known:
                continue
            path = score_files.shard_path(self.shards_folder, shard)
            footer = score_files.committed(path, self.fingerprint, shard) if path in present else None
            tries = footer.tries if footer else 0
            if shard not in self._due:
                self._due[shard] = max(1, tries)
                if footer and footer.unsettled:
                    self._due[shard] += 1
                    self.again[shard] = footer.unsettled
            if tries >= self._due[shard]:
                self._known.add(shard)
        return [shard for shard in wanted if shard not in self._known]


def open_run(cache_dir: str, parts: Mapping[str, Any]) -> Run:
    """The run directory of these parts, made where it is not there. Raises StorageError on a full disk."""
    key = fingerprint(parts)
    folder = Path(cache_dir) / "runs" / key
    # Two users of a shared cache may run the same command: each then has a directory, and trusts the owner's alone.
    if folder.exists() and not storage.is_trusted(folder, cache_dir):
        folder = folder.with_name(f"{key}-{os.geteuid()}")
    with storage.storage_errors(folder):
        storage.make_below(folder / "shards")
        temporaries.sweep(folder)
        temporaries.sweep(folder / "shards")
        if (folder / "run.json").exists() and (folder / "run.json").read_bytes() == _canonical(parts):
            storage.touch(folder / "run.json")  # so that `cache --prune` sees it is in use
        else:
            storage.write_bytes(folder / "run.json", _canonical(parts))
    return Run(str(folder), key)


def is_known(cache_dir: str, identity: Sequence[Any]) -> bool:
    """Whether the cache holds a run of this input, with whatever rewards, complete or not."""
    # Without the last bracket: what a conversion was read as may follow.
    wanted = b'"input":' + _canonical(identity)[:-1]
    with contextlib.suppress(OSError):  # a run that is removed meanwhile
        return any(wanted in path.read_bytes() for path in (Path(cache_dir) / "runs").glob("*/run.json"))
    return False


def explain(cache_dir: str, parts: Mapping[str, Any]) -> list[str]:
    """Lines that say which run this is, or how it differs from the nearest one that is cached."""
    key = fingerprint(parts)
    if (Path(cache_dir) / "runs" / key / "run.json").exists():
        return [f"run {key}: cached"]
    wanted = _flat(orjson.loads(_canonical(parts)))
    nearest: tuple[int, str, list[str]] | None = None
    for path in sorted((Path(cache_dir) / "runs").glob("*/run.json")):
        if not storage.is_trusted(path, cache_dir):
            continue
        try:
            other = _flat(orjson.loads(path.read_bytes()))
        except orjson.JSONDecodeError:  # damaged: the run it is of writes it again
            continue
        differs = sorted(name for name in wanted.keys() | other.keys() if wanted.get(name) != other.get(name))
        if nearest is None or len(differs) < nearest[0]:
            lines = []
            for name in differs:
                secret = any(map(masking.looks_secret, name.split(".")[1:]))
                both = f"{other.get(name)!r} then, {wanted.get(name)!r} now"
                lines.append(f"  {name}: {'differs' if secret else masking.text(both)}")
            nearest = (len(differs), path.parent.name, lines)
    if nearest is None:
        return [f"run {key}: new; nothing is cached in {cache_dir}"]
    return [f"run {key}: new; the nearest cached run is {nearest[1]}, which differs in:", *nearest[2]]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else key).items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return {k: v for i, inner in enumerate(value) for k, v in _flat(inner, f"{name}[{i}]").items()}
    return {name: value}


class Cached(NamedTuple):
    """One line of `analyze-rollouts cache`: a run directory, an input converted to parquet, or verdicts of a reward."""

    name: str
    path: str
    bytes: int
    used: float  # seconds since the epoch
    kind: str  # the one of PARTS that it is in
    shards: int | None = None  # of a run: how many are committed


def cached(cache_dir: str) -> list[Cached]:
    """All run directories, converted inputs and verdicts, the least recently used first."""
    found = []
    # What is touched at every use: the run.json of a run, the folder of an input, the logs of verdicts.
    patterns = ("runs/*/run.json", "inputs/*/", "verdicts/*/")
    for path in (path for pattern in patterns for path in Path(cache_dir).glob(pattern)):
        folder = path.parent if path.name == "run.json" else path
        files = [file for file in folder.rglob("*") if file.is_file()]
        used = max(file.stat().st_mtime for file in [path, *files])
        kind = folder.parent.name
        shards_there = len(list(folder.glob("shards/shard-*.parquet"))) if kind == "runs" else None
        size = sum(file.stat().st_size for file in files)
        found.append(Cached(folder.name, str(folder), size, used, kind, shards_there))
    return sorted(found, key=lambda one: one.used)


def remove(one: Cached) -> None:
    """Remove what is cached; of a run its run.json last, so that one half removed is still listed."""
    # A prune that is killed half-way must leave something that the next one lists.
    for part in Path(one.path).iterdir():
        if part.name != "run.json":
            temporaries.remove(part)
    shutil.rmtree(one.path)
