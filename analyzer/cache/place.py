"""Where the cache is; apart from what is in it, since to know this must take no time."""

from __future__ import annotations

from analyzer.files import storage


def path_of(given: str | None) -> str:
    """The cache directory as an absolute path: the given one, or the user's own (XDG_CACHE_HOME honoured)."""
    import platformdirs

    return storage.absolute(given or platformdirs.user_cache_dir("rollout-analyzer"))
