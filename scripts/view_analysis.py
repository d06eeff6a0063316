"""Look at an analysis: all of it in a browser, or some of it in the terminal. See --help or docs/report.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.view_analysis import view_analysis  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(view_analysis())
