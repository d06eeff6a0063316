"""Look at an analysis: all of it in a browser, or some of it in the terminal. See --help or docs/report.md."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # before any import: an old Python cannot even read the package
    sys.stderr.write(
        "error: rollout-analyzer needs Python 3.11 or newer, and this is %s (%s); "  # noqa: UP031  # Python 2 reads it
        "`make demo PYTHON=python3.12` creates an environment with one, .venv/bin/python\n"
        % (".".join(map(str, sys.version_info[:3])), sys.executable)
    )
    sys.exit(2)

import os

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from analyzer.commands.entry import view_analysis  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(view_analysis())
