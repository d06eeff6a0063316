"""Training data in; rollouts, rewards and the difficulty of each problem out. See docs/filter_difficulty.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.filter_difficulty import filter_difficulty  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(filter_difficulty())
