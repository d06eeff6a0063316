"""compare_analyses: what changed between analyses of the same problems, and how much of that would be chance."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyzer.commands.command import Command
from analyzer.config import ComparisonSettings
from analyzer.errors import EXIT_OK


def compare_analyses(argv: Sequence[str] | None = None) -> int:
    """The command compare_analyses; returns its exit code."""
    return COMMAND.main(argv)


def _compare(settings: ComparisonSettings) -> int:
    from analyzer.errors import printable
    from analyzer.files.outputs import REPORT
    from analyzer.progress import YELLOW, coloured
    from analyzer.report.compare import compare

    found = compare(settings)
    print(found.to_text(), end="", flush=True)
    for warning in found.warnings:
        print(coloured(f"warning: {printable(warning)}", YELLOW, sys.stderr), file=sys.stderr)
    print(f"Written: {settings.output_dir}; open {settings.output_dir.rstrip('/')}/{REPORT}", file=sys.stderr)
    return EXIT_OK


COMMAND = Command(
    name="compare_analyses",
    settings=ComparisonSettings,
    summary="two analyses or more -> what changed beyond chance",
    description="Compare analyses of the same problems, such as two checkpoints: the mean change with its interval, "
    "moves between buckets beside those that chance alone would make, and the problems that changed beyond chance.",
    example="--analyses step_100 step_200 --output_dir comparison",
    call=_compare,
)
