"""Choose problems of an analysis and write them for a trainer. See --help or docs/select_problems.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.select_problems import select_problems  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(select_problems())
