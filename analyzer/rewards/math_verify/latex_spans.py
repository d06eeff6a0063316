r"""LaTeX environments in the text of a response, found in linear time.

``The roots are $1$ and $\frac{2}{3}$.`` holds one list of two environments: ``1`` and ``\frac{2}{3}``. What counts as
one is what Math-Verify 0.9.0 matches (parser.py, `make_latex_env_pattern` and `lazy_latex_regex`): ``$$..$$``,
``\[..\]``, ``$..$`` and ``\(..\)`` on one line, `` [..] `` between spaces, and a bare ``\frac{1}{2}``, each perhaps
followed by a per cent sign, and up to six of them joined by ``and``, ``or`` or a comma.

Its regexes look for a closing mark from every opening one, which is quadratic in a megabyte of openings. Here the marks
of each kind are looked up once, all of them, when the first is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from analyzer.rewards._common.boxed import BOX

_CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
MAX_JOINED = 6  # environments in one list
TAIL = 64  # characters: about what is looked at first, from the end

_LONGEST_OPENING = len("-\\frac{")
# A `$` before three more opens nothing, since neither `$$..$$` nor `$..$` may be empty. Written with one set in front,
# which `re` skips to fast; the white space before "[" and the minus sign are looked at once the rest is found.
_OPENING = re.compile(r"[$\\[](?:(?<=\$)(?!\$\$\$)|(?<=\\)(?:[\[(]|frac\{)|(?<=\s\[))")
# Possessive repeats (++): a run that was matched is never given back, so no text makes these patterns backtrack.
_INLINE_DOLLAR = re.compile(r"\$(?:[^\n$]++|(?<=\\)\$)++\$")
_INLINE_BRACKET = re.compile(r"\s\[[^\n\]\[]++\]\s")
_FRACTION = re.compile(r"-?\\frac\{-?\d+(?:[.,]\d+)?\}\{-?\d+(?:[.,]\d+)?\}")
# What most lists are, in one match: one environment on its own, of a kind whose end is plain. Another opening of the
# same kind within it ends the attempt, so that many that are never closed are not searched to the end each time.
_ALONE = re.compile(
    r"(?<!\\)(?:(?<!\d)\$([^\n$]++)(?<!\\)\$|\\\(((?:[^\n\\]++|\\[^()\\\n])++)\\\)"
    r"|\\\[((?:[^\\]++|\\[^\[\]\\]|\\\\(?!\]))++)(?<!\\)\\\])\s*+(?!,|and|or|\\?%|[Pp]ercent|[Pp]ct)"
)
# Text that is in no environment, number or expression, and joins nothing to what follows: not with "and", "or",
# "percent", "percentage" or "pct", and at the end of an environment only where a full stop or colon follows, or what
# can be neither joined to it nor a per cent sign.
_WORD = r"(?<=[A-CE-QSU-Za-cf-qsu-z\"';!?])[.:,]?"
_CLOSED = r"(?<=\\[)\]])(?:[.:]\n|\n(?=\s*+[A-NQ-Zb-nq-z\"'*#\d-]))"
_LINE_END = re.compile(rf"{_WORD}\n|{_CLOSED}")
_BEFORE_LINE_END = (".", ":", ",")  # that both may take in
_WORD_OR_LINE_END = re.compile(rf"{_WORD}[\n ]|{_CLOSED}")
_JOIN = re.compile(r"\s*+(?:,?and|,?or|,)\s*+")
SPACE = re.compile(r"\s*+")
PERCENT = re.compile(r"\\?%|[Pp]ercent|[Pp]ct")
_MAY_BE_PERCENT = ("\\", "%", "P", "p")
_JOINS = ("and", "or")
_OPENS = ("$", "\\", "-")
PERCENT_IN_FULL = re.compile(r"\\?%|[Pp]ercent(?:age)?|[Pp]ct")


Part = tuple[int, int, bool]
"""The inside of one environment: text[start:end], and whether a per cent sign follows."""


class Span(NamedTuple):
    """A match at text[start:end] with the environments in it."""

    start: int
    end: int
    parts: tuple[Part, ...]


class LatexText:
    """One response, with the places of its closing marks."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Of each mark that was asked for: from where on it was looked for, and where it was found. Math-Verify's regex
        # looks for the closing mark from every opening one.
        self._found: dict[str, tuple[int, int]] = {}

    def breaks(self) -> Iterator[int]:
        """Places that no environment, list of them, number or expression goes across, from the last one on; then 0.

        At most one in each stretch of the text; each stretch is twice as long as the one after it, so all cost little.
        """
        text = self.text
        # $$ may go across any number of lines: without an even count known from the start no place is surely
        # outside.
        at = last = 0 if "$$" in text else len(text)
        # Where a dollar sign stands, the line must be read from its start to know which of them open.
        line_ends_alone = "$" in text
        # Stretches double, so the sum of all work is that of the last two.
        while (at := at - TAIL - (len(text) - at)) > 0:
            if line_ends_alone:
                place = _line_end(text, at, last)
            else:
                found = _WORD_OR_LINE_END.search(text, at, last)
                place = -1 if found is None else found.end() - 1
            if place >= 0 and not self._is_open(place):
                last = place
                yield last
        yield 0

    def _is_open(self, at: int) -> bool:
        """Whether an environment that opens with a bracket may go across a place."""
        text = self.text
        line = text.rfind("\n", 0, at) + 1
        return (
            text.rfind("[", line, at) > text.rfind("]", line, at)
            or text.rfind("\\(", line, at) > text.rfind("\\)", line, at)
            or text.rfind("\\[", 0, at) > text.rfind("\\]", 0, at)
        )

    def spans(self, start: int, limit: int) -> list[Span]:
        """All lists of environments in text[start:limit], from left to right, none overlapping another.

        None may go across `start` or `limit`.
        """
        at, spans = start, []
        while (opening := self._opening(at, limit)) >= 0:
            # One character on, not to the end of the opening: "$$$" holds openings at both of its first dollars.
            at = opening + 1
            if (span := self.list_at(opening)) is not None:
                spans.append(span)
                at = span.end
        return spans

    def _opening(self, at: int, limit: int) -> int:
        """Where the first thing in text[at:limit] stands that may open an environment; -1 if nothing does."""
        text = self.text
        since = at
        while found := _OPENING.search(text, since, limit):
            start = found.start()
            if text[start] == "[":
                if start > at:
                    return start - 1
            elif start > at and text[start - 1] == "-" and text.startswith("\\frac", start):
                return start - 1
            else:
                return start
            since = start + 1
        return -1

    def boxed_spans(self) -> Iterator[Span]:
        r"""As `spans`, of the environments that hold a ``\boxed{..}`` alone."""
        at = 0
        while (box := self.text.find(BOX, at)) >= 0:
            at = self._where_it_may_open(at, box)
            while at <= box and (opening := self._opening(at, box)) >= 0:
                at = opening + 1
                if (span := self.list_at(opening, boxed=True)) is not None:
                    yield span
                    at = span.end
            at = max(at, box + 1)

    def _where_it_may_open(self, at: int, box: int) -> int:
        """Where the first environment opens that may reach `box`: others are closed before, or end with their line."""
        text = self.text
        # Two kinds go on beyond a line, \[ and $$, so only the last opening of each before the box can matter.
        line = max(at, text.rfind("\n", at, box))
        bracket = text.find("\\[", max(at, text.rfind("\\]", at, box)), box)
        dollars = text.rfind("$$", at, box)
        return min([line, *(max(at, mark - 1) for mark in (bracket, dollars) if mark >= 0)])

    def first_list(self, start: int, last: int) -> Span | None:
        """The leftmost list of environments that opens at `start` or later, at `last` at the latest."""
        at = start
        while 0 <= (opening := self._opening(at, last + _LONGEST_OPENING)) <= last:
            if (span := self.list_at(opening)) is not None:
                return span
            at = opening + 1
        return None

    def list_after_space(self, start: int, percent: re.Pattern[str] = PERCENT) -> Span | None:
        r"""The list of environments after any white space at `start`, the last of which may belong to `` [..] ``."""
        at = end_of(SPACE, self.text, start)
        span = self.list_at(at, percent=percent)
        if span is None and at > start and self.text.startswith("[", at):
            span = self.list_at(at - 1, percent=percent)
        return span

    def list_at(self, start: int, boxed: bool = False, percent: re.Pattern[str] = PERCENT) -> Span | None:
        """The list of environments that opens right at `start`, as long as it goes."""
        text = self.text
        if not boxed and (alone := _ALONE.match(text, start)):
            return Span(start, alone.end(), ((*alone.span(alone.lastindex or 0), False),))
        inside = self._inside(start, boxed)
        if inside is None:
            return None
        parts: tuple[Part, ...] = ()
        while True:
            begin, stop, at = inside
            # White space is taken before "%", and kept where no "%" follows, as the regex does.
            if (after := text[at : at + 1]).isspace():
                at = end_of(SPACE, text, at)
                after = text[at : at + 1]
            # The next character tells that neither a per cent sign nor a join follows: no regex is asked, most times.
            space = at
            if after in _MAY_BE_PERCENT:
                at = end_of(percent, text, space)
                if boxed:
                    at = end_of(SPACE, text, at)
                after = text[at : at + 1]
            parts = (*parts, (begin, stop, at > space))
            may_join = after == "," or text.startswith(_JOINS, at) or after.isspace()
            inside = self._joined(at, boxed) if may_join and len(parts) < MAX_JOINED else None
            if inside is None:
                return Span(start, at, parts)

    def _joined(self, at: int, boxed: bool) -> tuple[int, int, int] | None:
        text = self.text
        join = _JOIN.match(text, at)
        if join is None:
            return None
        at = join.end()
        if text.startswith(_OPENS, at):
            return self._inside(at, boxed)
        # `` [..] `` needs the white space before it, which the join has used up: one character is given back.
        return self._inside(at - 1, boxed) if text.startswith("[", at) and text[at - 1].isspace() else None

    def _inside(self, start: int, boxed: bool) -> tuple[int, int, int] | None:
        """Where the inside of the environment at `start` begins and ends, and where the environment itself ends."""
        found = self._environment(start)
        if found is not None and boxed:
            start, end, _ = found
            box = self._next(BOX, start)
            if box >= end or self._next("}", box + len(BOX) + 1) >= end:  # at least one character in it
                return None
        return found

    def _environment(self, start: int) -> tuple[int, int, int] | None:
        text = self.text
        first, second = text[start : start + 1], text[start + 1 : start + 2]
        if first == "$" != second:
            before = text[start - 1 : start]
            # \$ is a dollar sign, and "5$" one of currency: Math-Verify's look-behind excludes both.
            found = None if before == "\\" or before.isdecimal() else _INLINE_DOLLAR.match(text, start)
            return (start + 1, found.end() - 1, found.end()) if found else None
        if first == "$" or (first == "\\" and second in ("[", "(")):
            return self._closed(start)
        if second == "[":
            found = _INLINE_BRACKET.match(text, start)
            return (start + 2, found.end() - 2, found.end()) if found else None
        found = _FRACTION.match(text, start) if first in ("\\", "-") else None
        return (start, found.end(), found.end()) if found else None

    def _closed(self, start: int) -> tuple[int, int, int] | None:
        """The environment opened by a two-character mark: it ends at the first closing mark, or not at all."""
        text, mark = self.text, self.text[start : start + 2]
        end = self._next(_CLOSING[mark], start + 2)
        # Empty, never closed, or closed by an escaped mark: nothing, and no later mark is tried.
        if end == start + 2 or end == len(text) or text[end - 1] == "\\" or text[start - 1 : start] == "\\":
            return None
        if mark == "\\(" and self._next("\n", start + 2) < end:
            return None
        return start + 2, end, end + 2

    def _next(self, mark: str, at: int) -> int:
        """Where `mark` is next, at `at` or later; the length of the text where it is not."""
        since, place = self._found.get(mark, (1, 0))
        # What is asked comes from left to right, with few exceptions: each part of the text is searched once.
        if not since <= at <= place:
            found = self.text.find(mark, at)
            place = found if found >= 0 else len(self.text)
            self._found[mark] = (at, place)
        return place


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of a pattern that matches anything, if only the empty string, ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _line_end(text: str, start: int, limit: int) -> int:
    """Where the first line in text[start:limit] ends that matches _LINE_END; -1 if none does.

    Only line ends are looked at: the pattern begins with what stands before, and a search would try every character.
    """
    at = text.find("\n", start, limit)
    while at >= 0:
        if at > start and text[at - 1] in _BEFORE_LINE_END and _LINE_END.match(text, at - 1, limit):
            return at
        if _LINE_END.match(text, at, limit):
            return at
        at = text.find("\n", at + 1, limit)
    return -1
