"""Where a generation lies on the disk, and whether it may go on there.

For --output_path rollouts.parquet::

    rollouts.parquet                    the rollouts, written whole at the end
    rollouts.parquet.generation.json    what they were made with; written after them, so it vouches for them
    rollouts.parquet.failed.ndjson      prompts that lack rollouts, one JSON line each; only where there are any
    rollouts.parquet.unfinished/        journal and settings of a generation that is not complete
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer.errors import OutputError
from analyzer.files import storage
from analyzer.generation.journal import held

Identity = Mapping[str, Any]
"""What decides the rollouts: the settings' identity, plus `data` (of the input files), `model`, `root` and `parent`."""

_SERVED = ("model", "root", "parent")  # known once a server has said it: until then it differs from nothing
_GROWING = ("limit", "num_samples")  # may be raised later: prompts and samples are numbered from 0
_FROM = "servers"  # addresses that answered; beside the identity, since they may change


class Served(NamedTuple):
    """A model on a server."""

    model: str  # its name there
    root: str | None = None  # where the server loaded it from; None where it does not say
    parent: str | None = None  # the model that an adapter belongs to

    def differs(self, other: Served) -> bool:
        """Whether these are known to be two models; what a server does not say differs from nothing."""
        # The name is left out: it is an alias, and is compared on its own where it matters.
        return any(None not in pair and pair[0] != pair[1] for pair in zip(self[1:], other[1:], strict=True))

    def __str__(self) -> str:
        below = f" on {self.parent}" if self.parent else ""
        return f"{self.model!r} from {self.root}{below}" if self.root else repr(self.model)


class Complete(NamedTuple):
    """What the manifest says of a generation that has ended."""

    rollouts: int
    served: Served
    servers: tuple[str, ...]
    since: str

    def __str__(self) -> str:
        where = ", ".join(self.servers) or "this machine"
        return f"complete since {self.since}, from {where} ({self.served})"


class Found(Enum):
    """What there is of a generation before it begins."""

    NOTHING = "nothing, or what is to be overwritten"
    UNFINISHED = "a journal, of the same --limit and --num_samples or smaller ones"
    START = "the rollouts file of smaller ones, or one that lacks rollouts"


class State:
    """The files of one generation, beside its output."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.manifest = Path(f"{output}.generation.json")
        self.failed = Path(f"{output}.failed.ndjson")
        self.folder = Path(f"{output}.unfinished")
        self.journal = self.folder / "journal"
        self.failures = self.folder / "failed.ndjson"
        self._settings = self.folder / "settings.json"

    def complete(self, identity: Identity) -> Complete | None:
        """What is there, when this very generation has ended without failures and its output is untouched."""
        found = self._made()
        if found is None or found.get("failed") != 0 or _differences(found["identity"], identity):
            return None
        ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.manifest.stat().st_mtime))
        return Complete(int(found.get("rollouts", 0)), _served(found["identity"]), tuple(found.get(_FROM, ())), ended)

    def found(self, identity: Identity, overwrite: bool) -> Found:
        """What there is of this generation.

        Raises OutputError where it is another generation, or one that a process is writing to, unless `overwrite`.
        """
        begun = _read(self._settings)
        if begun is not None and not (differing := _differences(begun, identity)):
            return Found.UNFINISHED
        if held(self.journal):
            raise OutputError(f"{self.folder}: another process is writing to it; wait until it ends, or end it")
        if begun is not None and _is_start_of(begun, identity):
            return Found.UNFINISHED
        if overwrite:
            return Found.NOTHING
        if begun is not None:
            raise OutputError(
                f"{self.folder}: an unfinished generation with other settings: {differing}; "
                "finish it with its own settings, choose another --output_path, or drop it with --overwrite"
            )
        made = self._made()
        if made is not None and _is_start_of(made["identity"], identity) and not self._settings.exists():
            return Found.START
        if self.journal.exists() and self.journal.stat().st_size:
            raise OutputError(
                f"{self._settings}: missing or damaged, so the settings of the rollouts in {self.journal} are not "
                "known; choose another --output_path, or drop them with --overwrite"
            )
        if self.output.exists():
            raise OutputError(
                f"{self.output}: {self._why_kept(identity)}; choose another --output_path, or --overwrite"
            )
        return Found.NOTHING

    def begin(self, identity: Identity, found: Found) -> None:
        """Make the folder of this generation, or go on in it; of a START, `take_up` writes the settings later."""
        with storage.storage_errors(self.folder):
            if found is Found.UNFINISHED:
                begun, grown = _read(self._settings) or {}, _grown(identity)
                if any(begun.get(name) != value for name, value in grown.items()):
                    self._write({**begun, **grown})
                return
            if self.folder.exists():
                shutil.rmtree(self.folder)
            if found is Found.NOTHING:
                # The manifest goes first: from here on nothing vouches for the old output.
                self.manifest.unlink(missing_ok=True)
            self.folder.mkdir(parents=True)
            if found is Found.NOTHING:
                self._write(identity)

    def take_up(self, identity: Identity) -> None:
        """Note that the journal holds the rollouts of a smaller generation; their file stays until there is a new one.

        Called when they are on the disk: a kill before that leaves a folder without settings, which is made anew.
        """
        made = _read(self.manifest) or {}
        self._write({**made["identity"], **_grown(identity), _FROM: made.get(_FROM, [])})

    def _write(self, settings: Identity) -> None:
        storage.write_bytes(self._settings, orjson.dumps(dict(settings), option=orjson.OPT_INDENT_2))

    def _made(self) -> dict[str, Any] | None:
        """What the manifest says of the output; None where there is none, or it is not of the output as it is now."""
        found = _read(self.manifest)
        # The size, not a digest: gigabytes are not read only to say that there is nothing to do.
        if found is None or not self.output.is_file() or self.output.stat().st_size != found.get("size"):
            return None
        return found if isinstance(found.get("identity"), dict) else None

    def _why_kept(self, identity: Identity) -> str:
        found = _read(self.manifest)
        if found is None or not isinstance(found.get("identity"), dict):
            return "exists and was not generated by this program"
        differing = _differences(found["identity"], identity)
        return f"holds rollouts made with other settings: {differing}" if differing else "was changed afterwards"

    @property
    def served(self) -> Served:
        """The model that the unfinished generation was begun with; its name is empty before it is known."""
        return _served(_read(self._settings) or {})

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses that the rollouts so far came from."""
        return tuple((_read(self._settings) or {}).get(_FROM, ()))

    def set_served(self, served: Served, urls: Sequence[str]) -> None:
        """Remember the model and the addresses; what is known of the model already stays."""
        begun = _read(self._settings) or {}
        known = {name: begun.get(name) or value for name, value in served._asdict().items()}
        servers = list(dict.fromkeys((*begun.get(_FROM, ()), *urls)))
        self._write({**begun, **known, _FROM: servers})

    def forget_served(self) -> None:
        """Take any model and any address from here on: the rollouts so far are dropped."""
        begun = _read(self._settings) or {}
        kept = {name: value for name, value in begun.items() if name not in (*_SERVED, _FROM)}
        self._write(kept)

    def forget(self, identity: Identity | None = None) -> None:
        """Remove the folder: of a generation that could not start, or is complete; of this identity if one is given."""
        begun = _read(self._settings)
        if identity is not None and begun is not None and _differences(begun, identity):
            return  # of a larger generation, for which this one was the start
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, identity: Identity, rollouts: int, failed: int) -> Path | None:
        """Vouch for the output that was just written; returns the list of failed prompts where there is one.

        A generation without failures needs its folder no more; with them the same command tries those again.
        """
        if failed:
            # A copy: the folder's own list is what the next run of the command goes on from.
            shutil.copyfile(self.failures, self.failed)
        begun = _read(self._settings) or {}
        manifest = {
            "identity": {**identity, **_served(begun)._asdict()},
            _FROM: begun.get(_FROM, []),
            "rollouts": rollouts,
            "failed": failed,
            "size": self.output.stat().st_size,
        }
        # After the output, atomically: a kill in between leaves an output that is generated again, never a false
        # claim.
        storage.write_bytes(self.manifest, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        if failed:
            return self.failed
        self.failed.unlink(missing_ok=True)
        self.forget()
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _differences(before: Identity, now: Identity) -> str:
    """The settings that differ, as a phrase; empty where none does. An unknown model differs from nothing."""
    found = []
    for name in now:
        unknown = name in _SERVED and None in (before.get(name), now[name])
        if not unknown and orjson.dumps(before.get(name)) != orjson.dumps(now[name]):
            found.append(_named(name, before.get(name), now[name]))
    return ", ".join(found)


def _is_start_of(before: Identity, now: Identity) -> bool:
    """Whether the rollouts of `before` are among those of `now`: no more prompts or samples, and all else is equal."""
    if _differences({**before, **_grown(now)}, now):
        return False
    # No limit is all prompts; no number of samples is a top-up, whose list is equal by now.
    return all((before.get(name) or math.inf) <= (now[name] or math.inf) for name in _GROWING)


def _grown(identity: Identity) -> dict[str, Any]:
    return {name: identity[name] for name in _GROWING}


def _served(known: Identity) -> Served:
    return Served(known.get("model") or "", known.get("root"), known.get("parent"))


def _named(name: str, before: Any, now: Any) -> str:
    if name == "data":
        return "the training data (its files changed)"
    if name == "weights":
        return "the weights in --model_path (its files changed)"
    if name == "top_up":
        kind = {(False, True): "a top-up now, and a whole generation there", (True, False): "a top-up there, none now"}
        return kind.get((before is not None, now is not None), "another top-up list")
    return f"{name} ({before} then, {now} now)"
