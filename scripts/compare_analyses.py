"""Compare analyses of the same problems against chance. See --help or docs/report.md."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # before any import: an old Python cannot even read the package
    sys.stderr.write(
        "error: rollout-analyzer needs Python 3.11 or newer, and this is %s (%s); "  # noqa: UP031  # Python 2 reads it
        "`make demo PYTHON=python3.12` creates an environment with one, .venv/bin/python\n"
        % (".".join(map(str, sys.version_info[:3])), sys.executable)
    )
    sys.exit(2)

from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.compare_analyses import compare_analyses  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(compare_analyses())
