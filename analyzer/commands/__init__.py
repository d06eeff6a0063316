"""The commands. All of them start here, so this is where a Python that is too old is told so, in one line."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # those that are older get here all the same
    version = ".".join(map(str, sys.version_info[:3]))
    sys.stderr.write(
        f"error: rollout-analyzer needs Python 3.11 or newer, and this is {version} ({sys.executable}); "
        "`make setup PYTHON=python3.12` makes an environment, .venv, of another one\n"
    )
    sys.exit(2)
