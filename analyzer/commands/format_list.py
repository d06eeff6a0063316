"""`--input_format list`: every format of rollouts that is read."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

from analyzer import dialects
from analyzer.errors import EXIT_OK

WIDTH = 100


def is_asked(words: Sequence[str]) -> bool:
    """Whether a command line asks for the list, whatever else is on it."""
    flags = [word.replace("-", "_") if word.startswith("--") else word for word in words]
    return "__input_format=list" in flags or any(
        (name, value) == ("__input_format", "list") for name, value in itertools.pairwise(flags)
    )


def show() -> int:
    """Print the list; returns the exit code."""
    print(listing())
    return EXIT_OK


def listing() -> str:
    """The formats by name: the program that writes each, the files that are read, and what these lack."""
    lines = ["auto: the format is recognised by the columns of the files"]
    for name in dialects.names():
        dialect = dialects.find(name)
        lines += [f"{name}: {dialect.framework}", *_wrapped("reads", dialect.file)]
        lines += _wrapped("lacks", dialect.lacks) if dialect.lacks else []
    return "\n".join(lines)


def _wrapped(key: str, text: str) -> list[str]:
    return textwrap.wrap(f"{key} {text}", WIDTH, initial_indent="    ", subsequent_indent="      ")
