"""Rollouts in; rewards, metrics per problem and difficulty buckets out. See --help or docs/analyze_rollouts.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.analyze_rollouts import analyze_rollouts  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(analyze_rollouts())
