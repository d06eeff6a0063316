"""The output folder: its files are replaced as a set, and never those of something else.

A hidden manifest, `.rollout-analyzer.json`, says which settings the files are of and which files are ours. New files
are written to a hidden folder beside them and moved in at the end, summary.json last: where it is, the set is whole.
Files that are not in the manifest are never touched, but for those of the same names when the user says --overwrite.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer.errors import InputError, OutputError
from analyzer.files import destinations, storage
from analyzer.files.destinations import Destination

MANIFEST = ".rollout-analyzer.json"
SUMMARY = "summary.json"
ROLLOUTS, METRICS, BUCKETS = "rollouts_with_rewards.parquet", "problem_metrics.json", "problem_buckets.json"
TABLE, TIMINGS, PROVENANCE = "problem_metrics.parquet", "timings.json", "provenance.json"
REPORT = "report.html"
PROBLEMS, CARD, TOP_UP = "problems.parquet", "README.md", "topup.parquet"
COMPARISON, COMPARISON_TABLE = "compare.json", "compare.parquet"
DIGEST = "sha256:"
"""Start of a value that says only whether something is the same."""
_ANOTHER = "give another folder"
_ADVICE = f"{_ANOTHER}, or --overwrite to replace them"


_AGAIN = "run analyze_rollouts again with the same flags, nothing is scored again"
_KINDS: dict[str, dict[str, type]] = {  # of keys that are read in these files, where they are there
    SUMMARY: {"settings": dict, "bucket_distribution": dict, "difficulty": dict, "data_sources": dict},
    PROVENANCE: {"rollouts": list},
}


def record(name: str, folder: str | os.PathLike[str], data: bytes) -> dict[str, Any]:
    """The content of summary.json or provenance.json. Raises InputError where it is damaged or of another version."""
    path = f"{os.fspath(folder).rstrip('/')}/{name}"
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: is damaged, not valid JSON ({error}); {_AGAIN}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is damaged, it holds no object; {_AGAIN}")
    for key, kind in _KINDS[name].items():
        if not isinstance(found.get(key, kind()), kind):
            raise InputError(f"{path}: {key!r} is not what this version writes; {_AGAIN}")
    if name == SUMMARY and "bucket_distribution" not in found:
        raise InputError(f"{path}: there is no 'bucket_distribution'; {_AGAIN}")
    return found


@contextlib.contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which arrow reads a file of an analysis. Raises InputError where that is damaged."""
    import pyarrow as pa

    try:
        yield
    # Of a damaged file arrow says both, with no errno that would tell it from a failing disk.
    except (pa.ArrowException, OSError) as error:
        storage.check_of_the_file(error, path)
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{os.fspath(path)}: is damaged ({reason}); {_AGAIN}") from None


def bucket_file(bucket: str) -> str:
    """The name of the file that holds the rollouts of a bucket."""
    return f"rollouts_{bucket}.parquet"


def _same_folder(path: str, folder: str) -> bool:
    """Whether a file is right in a folder."""
    if storage.is_remote(path) or storage.is_remote(folder):
        return path.rpartition("/")[0] == folder.rstrip("/")
    return os.path.realpath(os.path.dirname(storage.local(path))) == os.path.realpath(storage.local(folder))


def file_names(buckets: Sequence[str]) -> set[str]:
    """The names of all files that an analysis or a comparison may write, but README.md: one of somebody else stays."""
    names = {ROLLOUTS, METRICS, BUCKETS, TABLE, PROBLEMS, TIMINGS, PROVENANCE, REPORT, SUMMARY, TOP_UP}
    return names | {COMPARISON, COMPARISON_TABLE} | set(map(bucket_file, buckets))


class Manifest(NamedTuple):
    """What a folder says of the outputs in it."""

    of: Mapping[str, Any]  # what they depend on, plain JSON values by the name a user knows
    files: tuple[str, ...]


class OutputFolder(NamedTuple):
    """An output folder and what its outputs depend on."""

    path: str
    of: Mapping[str, Any]
    regardless: frozenset[str] = frozenset()  # of these names, which may differ in what the folder holds

    def check(self, overwrite: bool, buckets: Sequence[str], rollouts: str, inputs: Sequence[str]) -> None:
        """Raise OutputError where the folder cannot be written, or holds the input or outputs of something else.

        `rollouts`: what the user gave as the input; `inputs`: the files that it stands for.
        """
        manifest = manifest_of(destinations.open_destination(self.path))
        for path in inputs:
            if os.path.basename(path) in file_names(buckets) | set(manifest.files) and _same_folder(path, self.path):
                raise OutputError(f"--output_dir {self.path}: {path}, which is read, would be replaced; {_ANOTHER}")
        if _same_folder(f"{rollouts}/", self.path):
            raise OutputError(f"--output_dir {self.path}: all files in it are read as rollouts; {_ANOTHER}")
        self.check_settings(overwrite, buckets)

    def check_settings(self, overwrite: bool, buckets: Sequence[str]) -> None:
        """As `check`, before the input is known: of `of` what is there already is compared."""
        place = destinations.open_destination(self.path)
        place.check(f"--output_dir {self.path}")
        if overwrite:
            return
        manifest, names = manifest_of(place), file_names(buckets)
        if foreign := sorted(names & place.names() - set(manifest.files)):
            raise OutputError(f"{self.path} holds {foreign[0]} of another program; {_ADVICE}")
        if manifest.files and (differing := self._differences(manifest)):
            raise OutputError(f"{self.path} holds outputs of {differing}; {_ADVICE}")

    def check_kept(self, name: str, what: str, advice: str = f"{_ANOTHER}, or --overwrite") -> None:
        """Raise OutputError where an output of that name is there, which a run with this flag would remove."""
        if name in manifest_of(destinations.open_destination(self.path)).files:
            raise OutputError(f"{self.path} holds {name}, which {what} would remove; {advice}")

    def _differences(self, manifest: Manifest) -> str:
        """What the outputs that are there are of, where that differs: 'another input', 'seed 1 instead of 42'."""
        # By way of JSON, as the manifest was: a tuple would differ from the list that it was written as.
        now = orjson.loads(orjson.dumps(dict(self.of)))
        then = manifest.of
        names = (now | then).keys() - self.regardless
        differing = [name for name in now | then if name in names and now.get(name) != then.get(name)]
        if any(name in differing for name in ("input", "tokenizer")):
            return f"another {'input' if 'input' in differing else 'tokenizer'}"
        return " and ".join(
            f"other {name}"
            if str(now.get(name)).startswith(DIGEST)
            else f"{name} {then.get(name)}, not {now.get(name)}"
            for name in differing
        )

    @contextlib.contextmanager
    def staged(self, overwrite: bool) -> Iterator[Path]:
        """An empty local folder to write to; at the end its files replace the outputs that were there.

        Raises OutputError where another run has put outputs of something else there meanwhile. Raises StorageError
        where the disk is full or failing: the old outputs are still there then, unless that happened while files were
        moved in, and then there is no summary.json.
        """
        place = destinations.open_destination(self.path)
        with storage.storage_errors(self.path):
            staging = place.make_staging()
            try:
                yield staging
                # That was checked hours ago perhaps: two runs would both end well, and one analysis be gone.
                manifest = Manifest({}, ()) if overwrite else manifest_of(place)
                if manifest.files and (differing := self._differences(manifest)):
                    raise OutputError(f"{self.path} holds outputs of {differing}, written during this run; {_ADVICE}")
                self._move_in(staging, place)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _move_in(self, staging: Path, place: Destination) -> None:
        # Hidden are temporary files that could not be removed; NFS renames an open one to .nfs... where it is removed.
        made = [path.name for path in staging.iterdir() if not path.name.startswith(".")]
        names = sorted(made, key=lambda name: (name == SUMMARY, name))
        old = set(manifest_of(place).files)
        # The only name of ours that people give to files of their own.
        if CARD in place.names() - old:
            names = [name for name in names if name != CARD]  # a README.md that somebody wrote is worth more than ours
        # Flushed before the first is moved: a rename may reach the disk before the bytes do, and a power cut would
        # leave an empty file under a final name.
        for name in names:
            with open(staging / name, "rb") as file:
                os.fsync(file.fileno())
        # Both the old and the new names first: whatever moment a crash comes at, each file that lies there is known as
        # ours.
        place.write(MANIFEST, self._encoded(sorted(old | set(names))))
        # summary.json goes first and comes last. While it is absent the set is not whole, and a reader can see that.
        for name in [SUMMARY, *sorted(old - set(names))]:
            place.remove(name)
        for name in names:
            place.move_in(staging / name)
        place.write(MANIFEST, self._encoded(names))

    def _encoded(self, names: list[str]) -> bytes:
        return orjson.dumps({"of": dict(self.of), "files": names}, option=orjson.OPT_INDENT_2)


def manifest_of(place: Destination) -> Manifest:
    """What a folder says of the outputs in it. An empty one if there is none, or none of ours that can be read."""
    if MANIFEST in place.names():
        # A damaged manifest vouches for nothing. All files then count as somebody else's, and only --overwrite replaces
        # them.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            fields = orjson.loads(place.read(MANIFEST))
            return Manifest(dict(fields["of"]), tuple(map(str, fields["files"])))
    return Manifest({}, ())
