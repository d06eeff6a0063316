"""Versions of what can change a score besides input and settings."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from analyzer import __version__
from analyzer.cache import known_tokenizers
from analyzer.rewards import BaseReward


def library_versions(used: Iterable[BaseReward]) -> dict[str, str]:
    """Versions of this program, of Python, and of the libraries that can change a reward or a count."""
    names = {*known_tokenizers.LIBRARIES, *(name for reward in used for name in reward.libraries)}
    versions = {"rollout-analyzer": __version__, "python": platform.python_version()}
    # A library that is installed later may change a reward, so its absence is noted, too.
    for name in sorted(names):
        try:
            versions[name] = known_tokenizers.version_of(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions
