"""select_problems: from an analysis to the file to train on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analyzer.commands.running import run
from analyzer.config import SelectionSettings, parse
from analyzer.errors import EXIT_OK

_MAY_BEGIN_WITH_MINUS = ("--sort", "--where")
DESCRIPTION = (
    "Choose problems by what an analysis found of them and write them in the format of a trainer, with a manifest of "
    "the rule. Nothing is scored again. '--recipe list' shows published rules."
)


def select_problems(argv: Sequence[str] | None = None) -> int:
    """The command select_problems; returns its exit code."""
    words = minus_joined(sys.argv[1:] if argv is None else argv)

    def parse_and_select() -> int:
        settings = parse(SelectionSettings, words, "select_problems", DESCRIPTION)
        if settings.recipe == "list":
            from analyzer.selection.recipes import listing

            print(listing())
            return EXIT_OK
        from analyzer.selection.select import select

        print(select(settings).report, end="", flush=True)
        return EXIT_OK

    return run(parse_and_select)


def minus_joined(argv: Sequence[str]) -> list[str]:
    """`--sort -pass_rate` as `--sort=-pass_rate`: the parser takes a word with a minus for a flag."""
    # argparse has no way to say that a value may begin with a minus, unless it looks like a number.
    words: list[str] = []
    for word in argv:
        if words and words[-1] in _MAY_BEGIN_WITH_MINUS and word.startswith("-") and not word.startswith("--"):
            words[-1] += "=" + word
        else:
            words.append(word)
    return words
