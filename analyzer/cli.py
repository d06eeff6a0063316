"""The commands: their flags, what they print, and the code they end with."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from analyzer.config import AnalysisSettings, parse
from analyzer.errors import EXIT_BUG, EXIT_OK, AnalyzerError

Settings = TypeVar("Settings")

DESCRIPTION = "Score rollouts, measure how hard each problem is for this policy, and put problems into buckets."


def analyze_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command analyze_rollouts; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["cache"]:
        from analyzer import cache_command

        return run(lambda: cache_command.main(argv[1:]))
    return run(lambda: _analyze(parse(AnalysisSettings, argv, "analyze_rollouts", DESCRIPTION)))


def _analyze(settings: AnalysisSettings) -> int:
    from analyzer import pipeline
    from analyzer.interrupts import interruptible
    from analyzer.stages.summary import block

    with interruptible():
        if settings.dry_run or settings.explain_cache:
            print("\n".join(pipeline.explain(settings)))
            return EXIT_OK
        result = pipeline.analyze(settings)
    if result is None:
        print(f"part {settings.part} is scored", file=sys.stderr)
        return EXIT_OK
    print(block(result.summary), end="")
    if result.exit_code != EXIT_OK:
        print(
            f"error: {result.unscored_share:.2%} of the rollouts have no reward, more than --max_unscored "
            f"{settings.max_unscored:.2%}; all outputs are written",
            file=sys.stderr,
        )
    return result.exit_code


def run(command: Callable[[], int]) -> int:
    """Call a command; an error becomes one line on stderr and its exit code, a bug a traceback and exit 1."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except AnalyzerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, `| head` for instance
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception:  # noqa: BLE001  # the last line of defence: what gets here is a bug of ours
        traceback.print_exc()
        print("error: this is a bug of rollout-analyzer; please report it with the lines above", file=sys.stderr)
        return EXIT_BUG
