"""--reward_fn list: every reward by name, in one line each, with the data sources it serves.

gsm8k            1.0 where the number after the last "#### " ... is the ground truth, else 0.0.  [openai/gsm8k]
"""

from __future__ import annotations

import importlib.metadata
import itertools
import re
from collections.abc import Sequence

from analyzer.errors import EXIT_OK

FLAG = "--reward_fn"
LIST = "list"


def is_asked_for(argv: Sequence[str]) -> bool:
    """Whether the words of a command line ask for the list, whatever else they say or leave out."""
    words = [
        f"{FLAG}{word[len(FLAG) :]}" if word.replace("-", "_").startswith("__reward_fn") else word for word in argv
    ]
    return f"{FLAG}={LIST}" in words or any(pair == (FLAG, LIST) for pair in itertools.pairwise(words))


def show() -> int:
    """Print the list; returns the exit code."""
    print("\n".join(lines()))
    return EXIT_OK


def lines() -> list[str]:
    """The list: built-in rewards, then those of installed packages, then how to give one's own."""
    from analyzer import rewards

    known = rewards.names()
    points = sorted(importlib.metadata.entry_points(group=rewards.ENTRY_POINTS), key=lambda point: point.name)
    width = max(map(len, (*known, *(point.name for point in points))))
    listed = []
    for name in known:
        reward = rewards.find(name)
        served = f"  [{', '.join(reward.data_sources)}]" if reward.data_sources else ""
        paragraph = " ".join((reward.__doc__ or "").strip().split("\n\n")[0].split())
        sentence = re.match(r".+?[.](?=\s|$)", paragraph)
        listed.append(f"{name:{width}}  {sentence[0] if sentence else paragraph}{served}")
    listed += [f"{point.name:{width}}  {point.value}, of an installed package" for point in points]
    return [*listed, "Your own: --reward_fn path/to/file.py:function (docs/custom_rewards.md)."]
