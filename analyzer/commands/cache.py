"""analyze-rollouts cache: list the cached runs and converted inputs, or remove old ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.cache import masking, place, runs, verdicts
from analyzer.commands.command import Command
from analyzer.config import Group, option
from analyzer.errors import EXIT_OK, ConfigError, counted, printable
from analyzer.plan import described


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """The flags of analyze-rollouts cache."""

    cache_dir: str | None = option(
        Group.CACHE, "folder of the cached scores; default: in the user's cache folder", None, metavar="DIR"
    )
    prune: bool = option(Group.CACHE, "remove runs, converted inputs and verdicts instead of listing them", False)
    older_than: float = option(
        Group.CACHE, "with --prune: remove only what was not used for this many days", 30.0, metavar="DAYS"
    )
    run: str | None = option(
        Group.CACHE, "with --prune: remove only runs with a name that starts with this", None, metavar="NAME"
    )


def _manage(settings: CacheSettings) -> int:
    """List or prune; returns the exit code."""
    # Nothing here is believed, only listed or removed, so whose it is does not matter.
    folder = place.cache_folder(settings.cache_dir, shared=True)
    found = runs.cached(folder)
    if settings.prune:
        return _prune(settings, found)
    size = sum(one.bytes for one in found) / 1e6
    nouns = {"runs": "run", "inputs": "converted input", "verdicts": "verdict log"}
    counts = [counted(sum(one.kind == kind for one in found), noun) for kind, noun in nouns.items()]
    print(f"{folder}: {', '.join(counts)}, {size:.1f} MB")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        print(f"  {one.name}  {when}  {one.bytes / 1e6:8.1f} MB  {_what(one)}")
    return EXIT_OK


def _what(one: runs.Cached) -> str:
    if one.kind == "verdicts":
        return f"verdicts of {verdicts.reward_of(one.path)}, for all runs"
    if one.shards is None:
        return "jsonl input as parquet"
    try:
        inputs, rewards = described(one.path)
    # A listing must not fail for one bad entry: removing it is what the listing is for.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of another version, or being removed
        return counted(one.shards, "shard")
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    of = f", {masking.text(inputs[0])}{more}, reward {', '.join(rewards) or 'of the input'}" if inputs else ""
    return printable(counted(one.shards, "shard") + of)


def _prune(settings: CacheSettings, found: Sequence[runs.Cached]) -> int:
    if settings.run is not None:
        chosen = [one for one in found if one.name.startswith(settings.run)]
        if not chosen:
            raise ConfigError(f"nothing in the cache has a name that starts with {settings.run!r}")
    else:
        # By last use and not by age: a run that is resumed or bucketed again each week stays.
        before = time.time() - settings.older_than * 86400
        chosen = [one for one in found if one.used < before]
    for one in chosen:
        runs.remove(one)
        print(f"removed {one.name} ({one.bytes / 1e6:.1f} MB)")
    print(f"{len(chosen)} removed, {len(found) - len(chosen)} kept")
    return EXIT_OK


COMMAND = Command(
    name="analyze_rollouts cache",
    settings=CacheSettings,
    summary="list or remove cached runs",
    description="List cached runs and converted inputs, or remove old ones.",
    example="--prune --older_than 7",
    call=_manage,
)
