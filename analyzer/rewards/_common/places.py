r"""Where an answer stands in a response: the option `place` of the rewards that compare text.

    whole      "Paris"                                   the response without its thoughts
    last_line  "It is in France.\nParis"                 its last line that is not blank
    tag        "... <answer>Paris</answer>"              the last pair of tags
    boxed      "... \boxed{Paris}"                       the last box

Every one takes linear time, and looks at what follows the last `</think>` only, where there is one. A thought that was
begun and not ended holds no answer, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from analyzer.errors import ConfigError
from analyzer.rewards._common.boxed import BOX, last_box
from analyzer.rewards._common.tags import CLOSE, OPEN, last_tagged

THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))


class Place(NamedTuple):
    """One place: how an answer is taken from there, how it is put there, and the phrase for the audit."""

    take: Callable[[str], str | None]
    before: str
    after: str
    expects: str

    def present(self, answer: str) -> str:
        """A response with the answer in this place."""
        return self.before + answer + self.after


def conclusion(response: str) -> str:
    """What a response says beside its thoughts: what follows the last one, up to one that never ends.

    A response that was cut off while thinking has not answered; guesses within its thought would earn at random.
    """
    for begin, end in THOUGHTS:
        ended = response.rfind(end)
        if ended >= 0:
            response = response[ended + len(end) :]
        begun = response.find(begin)
        if begun >= 0:
            response = response[:begun].rstrip()
    return response


def last_line(text: str) -> str | None:
    """The last line that is not blank; None without one."""
    return text.rstrip().rpartition("\n")[2] or None


PLACES = {
    "whole": Place(lambda text: text or None, "", "", "a response"),
    "last_line": Place(last_line, "", "", "a last line"),
    "tag": Place(last_tagged, OPEN, CLOSE, f"an {OPEN}...{CLOSE}"),
    "boxed": Place(last_box, BOX, "}", f"a {BOX}...}}"),
}


def place(name: str) -> Place:
    """The place of that name. Raises ConfigError that lists the names."""
    if name in PLACES:
        return PLACES[name]
    raise ConfigError(f"place: {name!r} is no place of an answer (there are: {', '.join(PLACES)})")
