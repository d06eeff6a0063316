"""The Python that runs programs: which one, and what of the file system it needs to read."""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/localtime")
"""Read-only to programs, as far as there: the system's libraries and tools. Not the rest of /etc."""

ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",  # the order of a set must not decide over a reward
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc gives each thread an arena of 64 MB of addresses, up to 8 per core of the node: 14 threads would fill 1 GB.
    "MALLOC_ARENA_MAX": "1",
}
"""All of a program's environment, beside HOME and TMPDIR."""

_INSIDE = Path(__file__).resolve().parent / "inside"
_START = "import sys; sys.path.insert(0, {!r}); from inside.runner import main; del sys.path[0]; main()"


def environment(scratch: str) -> dict[str, str]:
    """What a program sees; nothing of the caller's but the library path, where its Python may need it."""
    # Set by module systems of clusters for a Python whose libpython lies elsewhere: without it the runner does
    # not start.
    library_path = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**ENVIRONMENT, **library_path, "HOME": scratch, "TMPDIR": scratch}


def site_packages() -> list[str]:
    """Where the libraries of this Python are, in its order; programs may import them."""
    # purelib and platlib are one directory on Debian and two on Fedora; a virtual environment may have its base's, too.
    paths = [*site.getsitepackages(), *(sysconfig.get_path(name) for name in ("purelib", "platlib"))]
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if path))


def readable() -> list[str]:
    """All that programs may read, absolute and without symbolic links, but for the system's own."""
    # base_prefix, not prefix: in a venv the standard library is that of the Python it was made from.
    base = os.path.realpath(sys.base_prefix)
    python = [os.path.join(base, part) for part in ("bin", "lib", "lib64")]
    shared = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    own = [*python, *site_packages(), str(_INSIDE), *(os.path.realpath(path) for path in shared if path)]
    # /usr is mounted as a whole already.
    beyond_system = [path for path in dict.fromkeys(own) if os.path.exists(path) and not path.startswith("/usr/")]
    return [path for path in SYSTEM if os.path.exists(path)] + beyond_system


def runner(settings: Mapping[str, Any]) -> list[str]:
    """The command that starts the warm process of a sandbox."""
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))  # not a venv's: it may be a copy
    # -P keeps the current directory off sys.path, -S the libraries of the Python that a venv was made from (they may
    # be of other versions), -B writes no bytecode into what may be a read-only tree. Not -I: it would ignore
    # PYTHONHASHSEED. utf8 mode makes a program's output independent of the locale.
    return [python, "-P", "-S", "-B", "-X", "utf8", "-c", _START.format(str(_INSIDE.parent)), json.dumps(settings)]
