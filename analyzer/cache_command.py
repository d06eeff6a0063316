"""analyze-rollouts cache: list the cached runs, or remove old ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from analyzer import runs
from analyzer.config import option, parse
from analyzer.errors import EXIT_OK, ConfigError


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """The flags of analyze-rollouts cache."""

    cache_dir: str | None = option("folder of the run directories; the user's cache directory unless given", None)
    prune: bool = option("remove runs instead of listing them", False)
    older_than: float = option("with --prune: only runs not touched for this many days", 30.0)
    run: str | None = option("with --prune: only the run whose name starts so", None)


def main(argv: Sequence[str]) -> int:
    """List or prune; returns the exit code."""
    settings = parse(CacheSettings, argv, "analyze-rollouts cache", "List or remove cached runs.")
    folder = runs.cache_folder(settings.cache_dir)
    found = runs.cached_runs(folder)
    if settings.prune:
        return _prune(settings, found)
    print(f"{folder}: {len(found)} runs, {sum(run.bytes for run in found) / 1e6:.1f} MB")
    for run in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.modified))
        print(f"  {run.fingerprint}  {when}  {run.bytes / 1e6:8.1f} MB  {run.shards} shards")
    return EXIT_OK


def _prune(settings: CacheSettings, found: Sequence[runs.CachedRun]) -> int:
    if settings.run is not None:
        chosen = [run for run in found if run.fingerprint.startswith(settings.run)]
        if not chosen:
            raise ConfigError(f"no cached run starts with {settings.run!r}")
    else:
        before = time.time() - settings.older_than * 86400
        chosen = [run for run in found if run.modified < before]
    for run in chosen:
        runs.remove(run)
        print(f"removed {run.fingerprint} ({run.bytes / 1e6:.1f} MB)")
    print(f"{len(chosen)} runs removed, {len(found) - len(chosen)} kept")
    return EXIT_OK
