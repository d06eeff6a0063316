"""python -m analyzer: the command analyze_rollouts."""

import sys

from analyzer.commands.analyze_rollouts import analyze_rollouts

if __name__ == "__main__":
    sys.exit(analyze_rollouts())
