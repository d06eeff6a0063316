"""filter_difficulty: generation, analysis and selection in one, resumable as a whole.

    training data -> rollouts (kept in output_dir) -> problems.parquet -> selected.parquet

Rollouts that are there already, with or without rewards, can be given instead of training data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.commands.command import Command
from analyzer.commands.filter_settings import FLAGS, FilterSettings
from analyzer.commands.select_problems import minus_joined


def filter_difficulty(argv: Sequence[str] | None = None) -> int:
    """The command filter_difficulty; returns its exit code."""
    return COMMAND.main(argv)


def _filter(flags: Any) -> int:
    settings = FilterSettings.of(flags)
    from analyzer.commands.filtering import generate_analyse_select

    return generate_analyse_select(settings)


COMMAND = Command(
    name="filter_difficulty",
    settings=FLAGS,
    summary="all in one: prompts -> the file to train on",
    description="Generate rollouts for training data (--data_path) or take those that you have (--rollouts), analyze "
    "them, and select the problems to train on. The same command resumes where it stopped, in any of the three.",
    example="--data_path train.parquet --model_path Qwen/Qwen3-8B --output_dir difficulty --use_vllm "
    '--where "0 < pass_rate < 1"',
    call=_filter,
    unscored="done, but prompts lack rollouts, or rollouts a reward (--max_unscored)",
    resumes=True,
    adjust=minus_joined,
)
