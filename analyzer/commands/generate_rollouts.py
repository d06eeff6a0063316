"""generate_rollouts: prompts in, rollouts out, from servers or a local model."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyzer.commands.command import Command
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, counted, printable
from analyzer.generation.settings import GenerationSettings


def generate_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command generate_rollouts; returns its exit code."""
    return COMMAND.main(argv)


def _generate(settings: GenerationSettings) -> int:
    if settings.dry_run:
        from analyzer.commands.preview import preview

        print(preview(settings))
        return EXIT_OK
    from analyzer import generation

    done = generation.run(settings)
    print(f"Prompts: {done.prompts}\nRollouts: {done.rollouts} ({done.asked} new)\nModel: {printable(done.model)}")
    print(f"{done.path}: {done.complete}; nothing was requested" if done.complete else f"Written: {done.path}")
    if not done.failed:
        return EXIT_OK
    print(
        f"error: {counted(done.failed, 'prompt lacks', 'prompts lack')} rollouts, see {done.failures} "
        f"({done.first_failure}); " + again(done.failed, done.unusable),
        file=sys.stderr,
    )
    return EXIT_UNSCORED


def again(failed: int, unusable: int) -> str:
    """What to do about prompts that lack rollouts; `unusable` of them no server can be asked."""
    if not unusable:
        return "the same command retries them"
    correct = "correct them in the training data and generate again (--overwrite, or another --output_path)"
    if unusable == failed:
        return f"these prompts can be sent to no model: {correct}"
    return f"the same command tries {failed - unusable} of them again; the others can be sent to no model: {correct}"


COMMAND = Command(
    name="generate_rollouts",
    settings=GenerationSettings,
    summary="prompts -> rollouts, from a server or a local model",
    description="Sample rollouts for the prompts of training data, from OpenAI-compatible servers (--use_vllm) or from "
    "a model in this process. The same command resumes where it stopped.",
    example="--data_path train.parquet --output_path rollouts.parquet --use_vllm --vllm_url http://localhost:8000/v1",
    call=_generate,
    unscored="done, but some prompts have no rollouts: run it again",
    resumes=True,
)
