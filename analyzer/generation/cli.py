"""The flags of generate_rollouts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.config import parse
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, AnalyzerError
from analyzer.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from analyzer.generation import Generated

_PROGRAM = "generate_rollouts"
_DESCRIPTION = "Sample rollouts for the prompts of training data. Run it again to go on where it stopped."


def generate_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command: returns its exit code (0 whole, 3 some prompts failed, else that of the error)."""
    try:
        settings = parse(GenerationSettings, sys.argv[1:] if argv is None else argv, _PROGRAM, _DESCRIPTION)
        if settings.dry_run:
            from analyzer.generation.preview import preview

            print(preview(settings))
            return EXIT_OK
        from analyzer.generation import run

        return _report(run(settings))
    except AnalyzerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _report(done: Generated) -> int:
    print(f"Prompts: {done.prompts}\nRollouts: {done.rollouts} ({done.asked} generated now)\nModel: {done.model}")
    print(f"Written: {done.path}")
    if not done.failed:
        return EXIT_OK
    print(
        f"error: {done.failed} prompts lack rollouts, {done.failures} lists them ({done.first_failure}); "
        "the same command tries them again",
        file=sys.stderr,
    )
    return EXIT_UNSCORED
