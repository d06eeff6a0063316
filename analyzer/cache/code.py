"""The code that makes scores, as one digest: a cache never outlives a change of it.

By rule and not by list: all of the package counts but what runs after the last score is committed. A new module or
folder is part of it until somebody shows, in AFTER_SCORING, that it is not.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from analyzer.cache import known_tokenizers

PACKAGE = Path(__file__).parents[1]
AFTER_SCORING = (
    "buckets/",
    "commands/",
    "difficulty/",
    "generation/",  # its output is the input of a run, and part of the fingerprint as that
    "report/",
    "selection/",
    "progress.py",
    "result.py",
    "stages/audit/",
    "stages/card.py",
    "stages/collisions.py",
    "stages/difficulty.py",
    "stages/estimate.py",
    "stages/findings.py",
    "stages/merge.py",
    "stages/problems.py",
    "stages/provenance.py",
    "stages/remarks.py",
    "stages/rewarded.py",
    "stages/summary.py",
    "stages/tables.py",
    "stages/warnings.py",
    "stages/write.py",
)
"""What no worker loads and what settles no task: changing it must not cost users their scores."""


@functools.cache
def scoring_code_digest(package: Path = PACKAGE) -> str:
    """sha256 over paths and contents of the modules and tables of a copy of this package that can change a score."""
    # Not Path.rglob, which takes two thirds of the time, 20 ms in each run.
    files = (os.path.join(folder, name) for folder, _, names in os.walk(package) for name in names)
    sources = [path for path in files if path.endswith((".py", ".json"))]
    digest = hashlib.sha256()
    for path, name in sorted((path, os.path.relpath(path, package)) for path in sources):
        if not name.startswith(AFTER_SCORING):
            with open(path, "rb") as file:
                content = file.read()
            # With the length, or code moved from the end of one file to the start of the next would have the same
            # digest.
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """The versions here of Python and of libraries; "none" where one is not installed."""
    versions = {"python": platform.python_version()}
    # A library that is installed later may change a reward, so its absence is noted, too.
    for name in sorted({*libraries} - {*versions}):
        try:
            versions[name] = known_tokenizers.version_of(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions
