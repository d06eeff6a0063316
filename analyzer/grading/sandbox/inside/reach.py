"""Python's library within reach after root has been given up.

A Python under /root (pyenv, uv) lies behind a directory that only root may enter, so that user 65534 could import
nothing more. Its directories are therefore opened by root, and then read by way of the open descriptors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def open_library() -> dict[str, int]:
    """The directories of sys.path, opened: path -> descriptor."""
    # O_PATH descriptors need no right to read, and work as starting points by /proc/self/fd for whoever holds
    # them.
    return {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sys.path if os.path.isdir(path)}


def keep_within_reach(library: Mapping[str, int]) -> list[int]:
    """Import from the open descriptors where the paths do not serve any more: those that must stay open."""
    # The usual case: a Python in /usr or /opt, and nothing to do.
    if all(os.access(path, os.R_OK | os.X_OK) for path in library):
        for descriptor in library.values():
            os.close(descriptor)
        return []
    # The longest first: site-packages lies below lib/python3.11 and has a descriptor of its own.
    by_length = sorted(library, key=len, reverse=True)

    def moved(path: str) -> str:
        for directory in by_length:
            if path == directory or path.startswith(directory + "/"):
                return f"/proc/self/fd/{library[directory]}" + path[len(directory) :]
        return path

    sys.path[:] = map(moved, sys.path)
    for module in list(sys.modules.values()):
        if hasattr(module, "__path__"):  # a package: its other modules are found by this
            module.__path__ = [moved(path) for path in module.__path__]
    return sorted(library.values())
