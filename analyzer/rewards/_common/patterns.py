r"""A user's regular expression as the place of an answer: the last match's first group, within a time limit.

    Pattern("Final answer: (.+)").take("... Final answer: Paris")   ->   "Paris"

Some expressions take a time that doubles with each character of a response, so the module `regex` runs them, which
stops when its time is over; its syntax is that of `re`, and more.
"""

from __future__ import annotations

import re

import regex

from analyzer.errors import ConfigError
from analyzer.schema import Status, Unscored

SECONDS = 1.0  # for one response; a usual pattern takes milliseconds for a megabyte
_PLAIN = r"((?:[^\\()]|\\.)*)"  # no parentheses but escaped ones
_ONE_GROUP = re.compile(rf"{_PLAIN}\((?!\?)(?:[^\\()]|\\.)*\){_PLAIN}")
_SPECIAL = re.compile(r"[.^$*+?{}\[\]|\\]")
_ESCAPED = re.compile(r"\\([^A-Za-z0-9])")


class Pattern:
    """A compiled expression that takes the answer out of a response."""

    def __init__(self, pattern: str, *, dot_all: bool = False) -> None:
        """`dot_all`: a dot is a line end, too.

        Raises ConfigError for an expression that does not compile, or has no text in it.
        """
        if not isinstance(pattern, str) or not pattern:
            raise ConfigError(f"pattern: {pattern!r} is not a regular expression")
        try:
            self._compiled = regex.compile(pattern, regex.DOTALL if dot_all else 0)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ConfigError(f"pattern: {pattern!r} is not a regular expression: {error}") from None
        self._group = 1 if self._compiled.groups else 0

    def take(self, text: str) -> str | None:
        """The first group (all of it without one) of the last match; None without a match.

        Raises Unscored when it takes too long.
        """
        last = None
        try:
            # The limit is for the whole iteration, not for each match.
            for last in self._compiled.finditer(text, timeout=SECONDS):  # noqa: B007 - the last one
                pass
        except TimeoutError:
            raise _too_slow() from None
        return None if last is None else last[self._group]

    def fits(self, text: str) -> bool:
        """Whether all of the text matches. Raises Unscored when it takes too long."""
        try:
            return self._compiled.fullmatch(text, timeout=SECONDS) is not None
        except TimeoutError:
            raise _too_slow() from None

    def around(self) -> tuple[str, str] | None:
        """What must stand before and after the answer where that is plain text around one group; None elsewhere."""
        parts = _ONE_GROUP.fullmatch(self._compiled.pattern)
        if parts is None or any(_SPECIAL.search(_ESCAPED.sub("", part)) for part in parts.group(1, 2)):
            return None
        before, after = (_ESCAPED.sub(r"\1", part) for part in parts.group(1, 2))
        return before, after


def _too_slow() -> Unscored:
    return Unscored(
        Status.TIMEOUT, f"the pattern took more than {SECONDS:g} s on a response: look for nested repeats in it"
    )


def pairs(text: str, begin: str, end: str) -> int:
    """The matches of begin(.*?)end, a dot being no line end; in linear time."""
    found = 0
    for line in text.split("\n"):
        at = line.find(begin)
        while at >= 0:
            closed = line.find(end, at + len(begin))
            if closed < 0:
                break
            found += 1
            at = line.find(begin, closed + len(end))
    return found
