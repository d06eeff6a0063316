"""analyze-rollouts cache: list the cached runs and converted inputs, or remove old ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.cache import masking, runs
from analyzer.config import option, parse
from analyzer.errors import EXIT_OK, ConfigError, printable
from analyzer.plan import described


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """The flags of analyze-rollouts cache."""

    cache_dir: str | None = option("folder of the run directories; the user's cache directory unless given", None)
    prune: bool = option("remove runs and converted inputs instead of listing them", False)
    older_than: float = option("with --prune: only what was not used for this many days", 30.0)
    run: str | None = option("with --prune: only what has a name that starts so", None)


def main(argv: Sequence[str]) -> int:
    """List or prune; returns the exit code."""
    settings = parse(CacheSettings, argv, "analyze-rollouts cache", "List or remove cached runs.")
    # Nothing here is believed, only listed or removed, so whose it is does not matter.
    folder = runs.cache_folder(settings.cache_dir, shared=True)
    found = runs.cached(folder)
    if settings.prune:
        return _prune(settings, found)
    count = sum(one.shards is not None for one in found)
    size = sum(one.bytes for one in found) / 1e6
    inputs = _counted(len(found) - count, "converted input")
    print(f"{folder}: {_counted(count, 'run')}, {inputs}, {size:.1f} MB")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        print(f"  {one.name}  {when}  {one.bytes / 1e6:8.1f} MB  {_what(one)}")
    return EXIT_OK


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _what(one: runs.Cached) -> str:
    if one.shards is None:
        return "jsonl input as parquet"
    try:
        inputs, rewards = described(one.path)
    except (OSError, ValueError, KeyError, TypeError):  # of another version, or being removed
        return _counted(one.shards, "shard")
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    of = f", {masking.text(inputs[0])}{more}, reward {', '.join(rewards) or 'of the input'}" if inputs else ""
    return printable(_counted(one.shards, "shard") + of)


def _prune(settings: CacheSettings, found: Sequence[runs.Cached]) -> int:
    if settings.run is not None:
        chosen = [one for one in found if one.name.startswith(settings.run)]
        if not chosen:
            raise ConfigError(f"nothing in the cache has a name that starts with {settings.run!r}")
    else:
        before = time.time() - settings.older_than * 86400
        chosen = [one for one in found if one.used < before]
    for one in chosen:
        runs.remove(one)
        print(f"removed {one.name} ({one.bytes / 1e6:.1f} MB)")
    print(f"{len(chosen)} removed, {len(found) - len(chosen)} kept")
    return EXIT_OK
