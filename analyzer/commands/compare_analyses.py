"""compare_analyses: what changed between analyses of the same problems, and how much of that would be chance."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyzer.commands.running import run
from analyzer.config import ComparisonSettings, parse
from analyzer.errors import EXIT_OK

DESCRIPTION = (
    "Compare analyses of the same problems, two checkpoints for instance: the mean change with its interval, problems "
    "that moved between buckets beside what chance alone would move, and those that can be told to have changed."
)


def compare_analyses(argv: Sequence[str] | None = None) -> int:
    """The command compare_analyses; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    return run(lambda: _compare(parse(ComparisonSettings, words, "compare_analyses", DESCRIPTION)))


def _compare(settings: ComparisonSettings) -> int:
    from analyzer.errors import printable
    from analyzer.files.outputs import REPORT
    from analyzer.progress import YELLOW, coloured
    from analyzer.report.comparison import compare

    found = compare(settings)
    print(found.to_text(), end="", flush=True)
    for warning in found.warnings:
        print(coloured(f"warning: {printable(warning)}", YELLOW, sys.stderr), file=sys.stderr)
    print(f"Written: {settings.output_dir}; open {settings.output_dir.rstrip('/')}/{REPORT}", file=sys.stderr)
    return EXIT_OK
