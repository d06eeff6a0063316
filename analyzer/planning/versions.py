"""Versions of what can change a score besides input and settings."""

from __future__ import annotations

from collections.abc import Iterable

from analyzer import __version__
from analyzer.cache import known_tokenizers
from analyzer.cache.code import versions_of
from analyzer.rewards import BaseReward


def library_versions(used: Iterable[BaseReward]) -> dict[str, str]:
    """Versions of this program, of Python, and of the libraries that can change a reward or a count."""
    libraries = versions_of([*known_tokenizers.LIBRARIES, *(name for reward in used for name in reward.libraries)])
    return {"rollout-analyzer": __version__, **libraries}
