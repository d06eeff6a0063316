"""Numbers and plain expressions in the text of a response, found in linear time.

``so 3 + 4*2 = 11 in all`` holds the expression ``3 + 4*2`` and the numbers ``3``, ``4`` and ``11``. What counts as one
is what Math-Verify 0.9.0 matches (parser.py, `lazy_expr_regex`): a number or an expression stands after white space,
``=`` or the start of the text; an expression has an operator and ends before white space or punctuation.

Its regexes try every way to cut a run of digits and operators in two. Here the one cut that they end up with is
computed: the last end that fits, with an operator somewhere before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from analyzer.rewards.math_verify.latex_spans import SPACE, end_of

_CHARACTERS = r"[\d.\s+\-*×/^()÷]"
_OPERATOR = re.compile(r"[+\-*×/^()÷]")
_RUN = re.compile(_CHARACTERS + "*+")
_LONG_RUN = re.compile(_CHARACTERS + "{3,}+")
_UP_TO_STOP = re.compile(_CHARACTERS + r"*[.\s)]")
_FIRST_START = re.compile(r"(?:^|[\s=])(?:\*\*)?(?=-?\(?-?\d)")
_START = re.compile(r"[\s=](?:\*\*)?(?=-?\(?-?\d)")
_DIGIT = re.compile(r"\d")
_FIRST_DIGIT = re.compile(r"-?\(?-?\d")

_CURRENCIES = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₴₵₶₷₸₹₺₻₼₽₾₿"
_NUMBER_BODY = (
    rf"(?=[-*.\d{re.escape(_CURRENCIES)}])"  # most of what follows white space is a word
    rf"(?:\*\*)?[{re.escape(_CURRENCIES)}]?(?:"
    r"(-?[1-9]\d{0,2}(?:[ ,]\d{3})+)(\.\d+)?"  # 1,234.5
    r"|(-?\d+)([.,]\d+)"  # 12.5
    r"|(\.\d+)"  # .5
    r"|(-?\d+))"  # 12
    # Possessive, so that a megabyte of blanks after a number is passed once.
    r"(\s*+(?:%|[Pp]ercent(?:age)??|[Pp]ct))?"
)
_OPENING = re.compile(rf"[\s=](?=(?:\*\*)?[-(.\d{re.escape(_CURRENCIES)}])")
_LONGEST_PREFIX = len("**$")
LONGEST_OPENING = 1 + _LONGEST_PREFIX  # characters before the first digit, sign or bracket, at most
_LETTER = re.compile(r"[A-OQ-Zbdfhijklmoqsuvwxyz]")  # but those of "percent" and "pct"
_NUMBER = re.compile(r"[\s=]" + _NUMBER_BODY)
_FIRST_NUMBER = re.compile(r"(?:^|[\s=])" + _NUMBER_BODY)


class Then(NamedTuple):
    """What must follow a number or expression, and the pattern of a number that is followed by it."""

    pattern: re.Pattern[str]
    number: re.Pattern[str]


def _then(pattern: str) -> Then:
    return Then(re.compile(pattern), re.compile(r"[\s=]" + _NUMBER_BODY + pattern))


ANYTHING = _then("")
NO_EQUALS_SIGN = _then(r"(?!\s*+=)")
I_HOPE = _then(r"\.?\s?I hope")


class PlainSpan(NamedTuple):
    """A match at text[start:end]: a number, written with digits alone, or else an expression as it stands there."""

    start: int
    end: int
    text: str
    is_number: bool
    percent: bool = False


class PlainText:
    """One response, with what is known of its runs of digits and operators."""

    def __init__(self, text: str) -> None:
        self.text = text
        # The last run alone is remembered: it is asked about at each opening within it, from left to right, and
        # would otherwise be scanned again each time.
        self._run = (0, -1, -1)  # from here on, the run ends there, and its last stop before the end is there
        self._operator = (0, -1)  # from here on, the next operator is there

    def has_digit(self, start: int, limit: int) -> bool:
        """Whether there is a digit in text[start:limit]."""
        return _DIGIT.search(self.text, start, limit) is not None

    def expressions(self, start: int, limit: int) -> Iterator[PlainSpan]:
        """All expressions in text[start:limit]: at most one in each run of digits, operators, dots and white space.

        No run may go on at `limit`.
        """
        for run in _LONG_RUN.finditer(self.text, start, limit):
            # Most runs are white space, or a number and white space: nothing is an expression without an operator.
            if _OPERATOR.search(self.text, run.start(), run.end()) is None:
                continue
            # From one before the run: an equals sign may stand in front of the expression, too. With a start position
            # `^` in the pattern still means the start of the text, never that of the run.
            opening = _FIRST_START.search(self.text, max(start, run.start() - 1), run.end())
            if opening is not None and (span := self._expression(opening, ANYTHING)) is not None:
                yield span

    def last_number(self, start: int, limit: int) -> tuple[PlainSpan | None, int]:
        """The last number in text[start:limit], and where to look for expressions that end after it.

        That is a letter before it which is in no number and no expression, else `start`.
        """
        at = limit
        while True:
            # Growing windows from the end, each half again as large as what was looked at, so the last number of
            # a long text is cheap.
            at = max(start, at - 256 - (at - start) // 2)
            letter = _LETTER.search(self.text, at, limit) if at > start else None
            since = start if letter is None else letter.start()
            last = None
            # From a letter that is in no number: starting within one would cut it in two.
            number = _NUMBER if since else _FIRST_NUMBER
            for last in number.finditer(self.text, since, limit):  # noqa: B007 - the last one is what is wanted
                pass
            if last is not None or since == start:
                return None if last is None else _number(last), since

    def openings(self, start: int, last: int) -> Iterator[int]:
        """Where an expression or number may open, from `start` to `last`: at white space or an equals sign."""
        for opening in _OPENING.finditer(self.text, start, min(last + 1, len(self.text)) + _LONGEST_PREFIX):
            if opening.start() > last:
                return
            yield opening.start()

    def at(self, start: int, then: Then) -> PlainSpan | None:
        """The expression, or else the number, at `start`: at the white space or equals sign before it."""
        opening = _START.match(self.text, start)
        span = None if opening is None else self._expression(opening, then)
        if span is None and (found := then.number.match(self.text, start)):
            span = _number(found)
        return span

    def after_space(self, start: int, then: Then) -> PlainSpan | None:
        """The expression or number after any white space at `start`, whose last character may be its opening."""
        end = end_of(SPACE, self.text, start)
        span = self.at(end, then)
        if span is None and end > start:
            span = self.at(end - 1, then)
        return span

    def _expression(self, opening: re.Match[str], then: Then) -> PlainSpan | None:
        digit = _FIRST_DIGIT.match(self.text, opening.end())
        if digit is None:
            return None
        for stop, end in self._stops(digit.end()):
            # Stops come from the last to the first, so no earlier one can have an operator before it either.
            if self._next_operator(digit.end()) >= stop - 1:  # something must stand after the operator
                return None
            if (rest := then.pattern.match(self.text, end)) is not None:
                return PlainSpan(opening.start(), rest.end(), self.text[opening.end() : stop], is_number=False)
        return None

    def _stops(self, at: int) -> Iterator[tuple[int, int]]:
        """Where an expression with a digit before `at` may end, last first, and where the character that ends it ends.

        What must follow can rule out white space before an equals sign and the one stop before that, no more.
        """
        text = self.text
        end, stop = self._run_at(at)
        # These end an expression and are taken into the match, as the regex consumes them; blank, "." and ")" may
        # also stand in it.
        if end == len(text) or text[end] in ",:$":
            yield end, min(end + 1, len(text))
        # Three suffice: see the docstring. A loop over all stops would be quadratic in "1 1 1 1 ...".
        for _ in range(3):
            if stop < at:
                return
            yield stop, stop + 1
            before = at + len(text[at:stop].rstrip()) if text[stop].isspace() else stop
            stop = _last_stop(text, at, before)

    def _run_at(self, at: int) -> tuple[int, int]:
        """Where the run of digits, operators, dots and white space at `at` ends, and its last stop before that."""
        since, end, stop = self._run
        if not since <= at <= end:
            end = end_of(_RUN, self.text, at)
            stop = _last_stop(self.text, at, end)
            self._run = (at, end, stop)
        return end, stop

    def _next_operator(self, at: int) -> int:
        """The next operator in the run at `at`; the end of the run if there is none."""
        since, operator = self._operator
        if not since <= at <= operator:
            end, _ = self._run_at(at)
            found = _OPERATOR.search(self.text, at, end)
            operator = end if found is None else found.start()
            self._operator = (at, operator)
        return operator


def _last_stop(text: str, start: int, end: int) -> int:
    found = _UP_TO_STOP.match(text, start, end)
    return -1 if found is None else found.end() - 1


def _number(match: re.Match[str]) -> PlainSpan:
    integer = match[1] or match[3] or match[6] or ""
    decimals = match[2] or match[4] or match[5] or ""
    digits = integer.replace(",", "").replace(" ", "").lstrip("0") or "0"
    return PlainSpan(match.start(), match.end(), digits + decimals.replace(",", "."), True, match[7] is not None)
