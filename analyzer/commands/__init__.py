"""The commands. All of them start here: a Python that is too old or lacks a package ends in one line."""

import importlib.util
import sys

if sys.version_info < (3, 11):  # noqa: UP036  # those that are older get here all the same
    version = ".".join(map(str, sys.version_info[:3]))
    sys.stderr.write(
        f"error: rollout-analyzer needs Python 3.11 or newer, and this is {version} ({sys.executable}); "
        "`make demo PYTHON=python3.12` creates an environment with one, .venv/bin/python\n"
    )
    sys.exit(2)

# Modules of the commands import these before `running.run` is there to catch what an import raises.
for package in ("jsonargparse", "numpy", "orjson", "yaml"):
    if importlib.util.find_spec(package) is None:
        from analyzer.commands.running import cannot_import, fail

        fail(cannot_import(package, ModuleNotFoundError(name=package)))
        sys.exit(2)
