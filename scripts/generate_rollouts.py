"""Training data in; rollouts from a server or a local model out. See --help or docs/generate_rollouts.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analyzer.commands.generate_rollouts import generate_rollouts  # works from a checkout, installed or not

if __name__ == "__main__":
    sys.exit(generate_rollouts())
