"""python scripts/generate_rollouts.py --data_path D --output_path O ...: see docs/generate_rollouts.md."""

import sys

from analyzer.generation.cli import generate_rollouts

sys.exit(generate_rollouts())
