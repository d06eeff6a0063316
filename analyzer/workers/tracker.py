"""loky's resource tracker: the process that unlinks semaphores when the driver has gone.

loky starts it as `python -c "from joblib...resource_tracker import main; ..."`, which imports all of joblib, and numpy
with it: 0.2 s of CPU while workers start. What it runs needs the standard library alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

_MODULE = "joblib.externals.loky.backend.resource_tracker"
_PACKAGES = [_MODULE.rsplit(".", level)[0] for level in range(1, 5)]
# A package that is there already is not imported: its modules are found where it says. Should a version of joblib need
# more than that, it is imported as a whole.
_LEAN = f"""
import sys, types
for name, path in {{}}:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
try:
    import {_MODULE}
except Exception:
    for name in [name for name in sys.modules if name.partition(".")[0] == "joblib"]:
        del sys.modules[name]
"""


def start() -> None:
    """Start it without importing joblib there, if loky has not started it yet; left to loky where that cannot be."""
    theirs: Any = importlib.import_module(_MODULE)
    launch = getattr(theirs, "spawnv_passfds", None)
    if launch is None:  # private: another version may lack it
        return
    packages = [(name, list(sys.modules[name].__path__)) for name in _PACKAGES]

    def launch_lean(path: Any, args: Sequence[str], fds: Sequence[int]) -> Any:
        *flags, option, program = args
        if option == "-c":
            program = _LEAN.format(packages) + program
        return launch(path, [*flags, option, program], fds)

    theirs.spawnv_passfds = launch_lean
    try:
        theirs.ensure_running()
    finally:
        theirs.spawnv_passfds = launch
