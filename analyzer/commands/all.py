"""All commands by name: `python -m analyzer`, completion and docs/flags.md are made from this list."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from analyzer.commands.command import Command, listing
from analyzer.commands.running import fail, run
from analyzer.errors import EXIT_USER
from analyzer.registry import did_you_mean

NAMES = (
    "analyze_rollouts",
    "select_problems",
    "filter_difficulty",
    "generate_rollouts",
    "compare_analyses",
    "view_analysis",
)


def find(name: str) -> Command:
    """The command of that name, one of NAMES."""
    # Imported one by one: --help of a command must not wait for what the others need.
    command: Command = importlib.import_module(f"analyzer.commands.{name}").COMMAND
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m analyzer [command]`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0].replace("-", "_") if words else "__help"
    if first in NAMES:
        module = importlib.import_module(f"analyzer.commands.{first}")
        code: int = getattr(module, first)(words[1:])
        return code
    if first == "completion":
        from analyzer.commands.completion import complete

        return complete(words[1:], map(find, NAMES))
    if first == "sample":
        from analyzer.commands.sample import copy

        return copy(words[1:])
    if first in ("_h", "__help", "help"):
        return run(lambda: listing([find(name) for name in NAMES]))
    if first == "__version":
        from analyzer import __version__

        print(__version__)
        return 0
    if first.startswith("_"):  # flags: those of the main command, which needs no name
        from analyzer.commands.analyze_rollouts import analyze_rollouts

        return analyze_rollouts(argv)
    fail(f"there is no command {words[0]!r}{did_you_mean(first, NAMES)}; `python -m analyzer` lists them")
    return EXIT_USER
