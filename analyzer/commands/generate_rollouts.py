"""generate_rollouts: prompts in, rollouts out, from servers or a local model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.commands.running import run
from analyzer.config import parse
from analyzer.errors import EXIT_OK, EXIT_UNSCORED

if TYPE_CHECKING:
    from analyzer.generation import GenerationSettings

DESCRIPTION = "Sample rollouts for the prompts of training data. Run it again to go on where it stopped."


def generate_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command generate_rollouts; returns its exit code."""
    from analyzer.generation.settings import GenerationSettings

    argv = sys.argv[1:] if argv is None else argv
    return run(lambda: _generate(parse(GenerationSettings, argv, "generate_rollouts", DESCRIPTION)))


def _generate(settings: GenerationSettings) -> int:
    if settings.dry_run:
        from analyzer.commands.preview import preview

        print(preview(settings))
        return EXIT_OK
    from analyzer import generation

    done = generation.run(settings)
    print(f"Prompts: {done.prompts}\nRollouts: {done.rollouts} ({done.asked} generated now)\nModel: {done.model}")
    print(f"{done.path}: {done.complete}; nothing was asked" if done.complete else f"Written: {done.path}")
    if not done.failed:
        return EXIT_OK
    print(
        f"error: {done.failed} prompts lack rollouts, {done.failures} lists them ({done.first_failure}); "
        + again(done.failed, done.unusable),
        file=sys.stderr,
    )
    return EXIT_UNSCORED


def again(failed: int, unusable: int) -> str:
    """What to do about prompts that lack rollouts; `unusable` of them no server can be asked."""
    if not unusable:
        return "the same command tries them again"
    correct = "correct them in the training data and generate anew (--overwrite, or another --output_path)"
    if unusable == failed:
        return f"no model can be asked these prompts: {correct}"
    return f"the same command tries {failed - unusable} of them again; no model can be asked the others: {correct}"
