"""Where a generation lies on the disk, and whether it may go on there.

For --output_path rollouts.parquet::

    rollouts.parquet                    the rollouts, written whole at the end
    rollouts.parquet.generation.json    what they were made with; written after them, so it vouches for them
    rollouts.parquet.failed.ndjson      prompts that lack rollouts, one JSON line each; only where there are any
    rollouts.parquet.unfinished/        journal and settings of a generation that is not complete
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analyzer.errors import OutputError
from analyzer.files import storage
from analyzer.generation.journal import held

Identity = Mapping[str, Any]
"""What decides the rollouts: the settings' identity, plus `data` (of the input files), `model`, `root` and `parent`."""

_SERVED = ("model", "root", "parent")  # known once a server has said it: until then it differs from nothing
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
        found = _read(self.manifest)
        if found is None or found["failed"] or _differences(found["identity"], identity):
            return None
        # The size, not a digest: gigabytes are not read only to say that there is nothing to do.
        if not self.output.exists() or self.output.stat().st_size != found["size"]:
            return None
        ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.manifest.stat().st_mtime))
        return Complete(found["rollouts"], _served(found["identity"]), tuple(found.get(_FROM, ())), ended)

    def begin(self, identity: Identity, overwrite: bool) -> None:
        """Make the folder of this generation, or find it there with the same identity.

        Raises OutputError where another generation was begun or ended, unless `overwrite`.
        """
        begun = _read(self._settings)
        if begun is not None and not (differing := _differences(begun, identity)):
            return
        if begun is not None and not overwrite:
            raise OutputError(
                f"{self.folder}: an unfinished generation with other settings: {differing}; "
                "finish it with its own settings, choose another --output_path, or drop it with --overwrite"
            )
        if self.output.exists() and not overwrite:
            raise OutputError(
                f"{self.output}: {self._why_kept(identity)}; choose another --output_path, or --overwrite"
            )
        if held(self.journal):
            raise OutputError(f"{self.folder}: another process is writing to it; wait until it ends, or end it")
        with storage.storage_errors(self.folder):
            if self.folder.exists():
                shutil.rmtree(self.folder)
            # The manifest goes first: from here on nothing vouches for the old output.
            self.manifest.unlink(missing_ok=True)
            self.folder.mkdir(parents=True)
            storage.write_bytes(self._settings, orjson.dumps(dict(identity), option=orjson.OPT_INDENT_2))

    def _why_kept(self, identity: Identity) -> str:
        found = _read(self.manifest)
        if found is None:
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
        storage.write_bytes(
            self._settings, orjson.dumps({**begun, **known, _FROM: servers}, option=orjson.OPT_INDENT_2)
        )

    def forget_served(self) -> None:
        """Take any model and any address from here on: the rollouts so far are dropped."""
        begun = _read(self._settings) or {}
        kept = {name: value for name, value in begun.items() if name not in (*_SERVED, _FROM)}
        storage.write_bytes(self._settings, orjson.dumps(kept, option=orjson.OPT_INDENT_2))

    def forget(self) -> None:
        """Remove the folder: of a generation that could not start, or is complete."""
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
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None
    return found


def _differences(before: Identity, now: Identity) -> str:
    """The settings that differ, as a phrase; empty where none does. An unknown model differs from nothing."""
    found = []
    for name in now:
        unknown = name in _SERVED and None in (before.get(name), now[name])
        if not unknown and orjson.dumps(before.get(name)) != orjson.dumps(now[name]):
            found.append(_named(name, before.get(name), now[name]))
    return ", ".join(found)


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
