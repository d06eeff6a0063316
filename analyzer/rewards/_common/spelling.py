r"""Spelling: whether two ground truths say the same in other words, and what a wrapped ground truth says.

    same("1,000", "1000.0")      ->   True
    unwrapped('["5"]')           ->   ["5"]
    unwrapped("\\boxed{5}")      ->   ["5"]

For the audit alone, which must not take one spelling of the right answer for a wrong answer. Where in doubt, two texts
are the same: the audit then leaves the pair out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from analyzer.rewards._common.boxed import last_box
from analyzer.rewards._common.numbers import number_of
from analyzer.rewards._common.tags import last_tagged

_COMMANDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|left|right|displaystyle|[dt]?frac)|[\s$(){}\[\],.;:\"'\\]")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)")
_LABEL = re.compile(r"(?:final\s+)?answer(?:\s+is)?\s*[:=]?\s*", re.IGNORECASE)
_LONGEST = 1_000  # characters; longer ground truths are programs and tests


def same(one: Any, other: Any) -> bool:
    """Whether two ground truths may be the same answer: as values, or but for notation and order."""
    if one == other:
        return True
    # Lists of right answers share one with each other or they do not; an empty one says nothing, so in doubt they
    # are the same.
    if isinstance(one, list | dict) or isinstance(other, list | dict):
        ours, theirs = set(_texts(one)), set(_texts(other))
        return bool(ours & theirs) or not ours or not theirs
    first, second = str(one), str(other)
    if max(len(first), len(second)) > _LONGEST:
        return False
    left, right = (number_of(_SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)) for text in (first, second))
    if left is not None and right is not None:
        return left == right or left * 100 == right or right * 100 == left  # in percent
    # Letters in any order: "x=1, y=2" and "y=2, x=1". Too generous for grading, right for leaving a pair out of
    # an audit.
    return sorted(_COMMANDS.sub("", first).casefold()) == sorted(_COMMANDS.sub("", second).casefold())


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, without case and white space around them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value).strip().casefold()


def unwrapped(gold: Any) -> list[str]:
    """What a ground truth says without what is wrapped round it, one layer less at a time; [] where nothing is."""
    found: list[str] = []
    inner = _inner(gold)
    # A layer at a time, at most four: enough for '["\\boxed{5}"]' in quotes, and an end for what unwraps to
    # itself.
    while inner is not None and inner not in found and inner != gold and len(found) < 4:
        found.append(inner)
        inner = _inner(inner)
    return found


def _inner(gold: Any) -> str | None:
    if isinstance(gold, list):
        return gold[0] if len(gold) == 1 and isinstance(gold[0], str) else None
    if isinstance(gold, int | float) and not isinstance(gold, bool):
        return str(gold)
    if not isinstance(gold, str) or len(gold) > _LONGEST:
        return None
    text = gold.strip()
    if text[:1] in '["' and (item := _json_item(text)) is not None:
        return item
    for inside in (last_tagged(text), last_box(text)):
        if inside is not None:
            return inside
    if "####" in text:
        return text.rpartition("####")[2].strip()
    if len(text) > 2 and text[0] == text[-1] and text[0] in "$'\"":
        return text.strip(text[0]).strip()
    if label := _LABEL.match(text):
        return text[label.end() :]
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return text.replace(",", "")
    return text if text != gold else None


def _json_item(text: str) -> str | None:
    """The one item of a JSON list, or of a text in quotes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return str(value) if isinstance(value, str | int | float) else None
