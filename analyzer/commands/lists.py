"""`--reward_fn list` and its like: the names that a flag takes, each with a sentence or two.

gsm8k                 1.0 where the number after the last "#### " is the ground truth, else 0.0.
                      data sources: openai/gsm8k
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from analyzer.errors import EXIT_OK

LIST = "list"
_WIDTH = 80


class Entry(NamedTuple):
    """A name and what to know of it, a paragraph each."""

    name: str
    about: Sequence[str]


def asked_for(words: Sequence[str], settings: type[Any]) -> str | None:
    """The flag of which a command line asks for the list, whatever else is on it; None if there is none."""
    listed = [field.name for field in dataclasses.fields(settings) if field.metadata["listed"]]
    flags = [word[2:].replace("-", "_") if word.startswith("--") else None for word in words]
    for name in listed:
        # Without the parser, which would insist on the required flags first.
        if f"{name}={LIST}" in flags or (name, LIST) in zip(flags, words[1:], strict=False):
            return name
    return None


def show(flag: str) -> int:
    """Print the list of a flag; returns the exit code."""
    entries = list(LISTS[flag]())
    width = max(len(entry.name) for entry in entries) + 2
    for entry in entries:
        about = [line for text in entry.about for line in textwrap.wrap(text, _WIDTH - width, break_on_hyphens=False)]
        for name, line in itertools.zip_longest([entry.name], about, fillvalue=""):
            print(f"{name:{width}}{line}")
    return EXIT_OK


def _sentence(of: Any) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join((of.__doc__ or "").strip().split("\n\n")[0].split())
    # A period inside a name or number ends no sentence: only one with white space after it.
    sentence = re.match(r".+?[.](?=\s|$)", paragraph)
    return sentence[0] if sentence else paragraph


def _rewards() -> Iterable[Entry]:
    from analyzer import rewards

    for name in rewards.names():
        reward = rewards.find(name)
        served = [f"data sources: {', '.join(reward.data_sources)}"] if reward.data_sources else []
        yield Entry(name, [_sentence(reward), *served])
    # By name only: a list must not import what other packages bring, which may be slow or broken.
    points = importlib.metadata.entry_points(group=rewards.ENTRY_POINTS)
    for point in sorted(points, key=lambda point: point.name):
        yield Entry(point.name, [f"{point.value}, of an installed package"])
    yield Entry("file.py:function", ["Your own function: docs/custom_rewards.md."])


def _input_formats() -> Iterable[Entry]:
    from analyzer import dialects

    yield Entry("auto", ["Recognized by the columns of the files."])
    for name in dialects.names():
        dialect = dialects.find(name)
        lacks = [f"lacks: {dialect.lacks}"] if dialect.lacks else []
        yield Entry(name, [dialect.framework, f"reads: {dialect.file}", *lacks])


def _strategies() -> Iterable[Entry]:
    from analyzer import buckets

    for name in buckets.names():
        strategy = buckets.STRATEGIES.find(name)
        yield Entry(name, [_sentence(strategy), f"buckets: {', '.join(strategy.buckets)}"])


def _recipes() -> Iterable[Entry]:
    from analyzer.selection.recipes import RECIPES

    for recipe in RECIPES:
        rule = recipe.where or "; ".join(f"{pool.where}: weight {pool.weight:g}" for pool in recipe.pools)
        sort = f", --sort {recipe.sort}" if recipe.sort else ""
        samples = f"; n = {recipe.n} samples per problem" if recipe.n else ""
        note = [recipe.note] if recipe.note else []
        yield Entry(recipe.name, [rule + sort, f"source: {recipe.reference}{samples}", *note])


def _formats() -> Iterable[Entry]:
    from analyzer.selection import formats

    return [Entry(name, [formats.find(name).reads]) for name in formats.names()]


def _backends() -> Iterable[Entry]:
    from analyzer.workers.backends import BACKENDS

    return [Entry(name, [_sentence(BACKENDS.find(name))]) for name in BACKENDS.names()]


LISTS: dict[str, Callable[[], Iterable[Entry]]] = {
    "reward_fn": _rewards,
    "input_format": _input_formats,
    "bucketing_strategy": _strategies,
    "recipe": _recipes,
    "format": _formats,
    "backend": _backends,
}
"""What each flag that has a list (`listed` in analyzer/config.py) prints."""
