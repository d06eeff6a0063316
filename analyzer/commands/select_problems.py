"""select_problems: from an analysis to the file to train on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.commands.command import Command
from analyzer.config import SelectionSettings
from analyzer.errors import EXIT_OK

if TYPE_CHECKING:
    from analyzer.selection.select import Selection

_MAY_BEGIN_WITH_MINUS = ("--sort", "--where")


def select_problems(argv: Sequence[str] | None = None) -> int:
    """The command select_problems; returns its exit code."""
    return COMMAND.main(argv)


def _select(settings: SelectionSettings) -> int:
    from analyzer.selection.select import select

    show(select(settings))
    return EXIT_OK


def show(selected: Selection) -> None:
    """Print what was selected."""
    from collections import Counter

    from analyzer.files.json_lines import lost_note

    print(selected.report, end="", flush=True)
    if note := lost_note(
        Counter(selected.manifest.get("written_as_null", {})), "end --output in .parquet to keep them"
    ):
        print(f"note: {note}", file=sys.stderr)


def minus_joined(argv: Sequence[str]) -> list[str]:
    """`--sort -pass_rate` as `--sort=-pass_rate`: the parser takes a word with a minus for a flag."""
    # argparse has no way to say that a value may begin with a minus, unless it looks like a number.
    words: list[str] = []
    for word in argv:
        # Not a long flag: after a flag without its value the next one must stay one, or the error would be another.
        if words and words[-1] in _MAY_BEGIN_WITH_MINUS and word.startswith("-") and not word.startswith("--"):
            words[-1] += "=" + word
        else:
            words.append(word)
    return words


COMMAND = Command(
    name="select_problems",
    settings=SelectionSettings,
    summary="an analysis -> the file to train on",
    description="Select problems by their difficulty and write them in the format of a trainer, with a manifest of the "
    "rule. Nothing is scored again.",
    example='--analysis analysis --where "0.2 <= pass_rate <= 0.8" --output train.parquet',
    call=_select,
    adjust=minus_joined,
)
