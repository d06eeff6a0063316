"""Compare analyses of the same problems against chance. See --help or docs/compare.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.compare_analyses import compare_analyses  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(compare_analyses())
