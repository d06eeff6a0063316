r"""What in a response may be its answer, in the order in which Math-Verify 0.9.0 tries it.

``The final answer is $\boxed{\frac12}$. I hope it is correct.`` has the candidates ``\frac12`` (after "final answer
is"), then the same as the last box, and so on. Math-Verify (parser.py, `extract_target_from_pred` with its default
configuration) ranks the places: "final answer is .. I hope"; a box or "final answer is"; "answer:"; "answer"; anywhere.
Within a rank the one that ends last comes first. The first that parses is the answer.

Whether one parses is known to the child process alone. Where it is plain (a number, say), the list ends there, so that
equal answers in different responses are equal values and are graded once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from analyzer.rewards._common.boxed import BOX, closing_brace
from analyzer.rewards.math_verify import plain_spans as plain
from analyzer.rewards.math_verify.latex_spans import PERCENT_IN_FULL, SPACE, LatexText, Span, end_of
from analyzer.rewards.math_verify.plain_spans import LONGEST_OPENING, PlainSpan, PlainText
from analyzer.rewards.math_verify.recipes import Search

LATEX, NUMBER, EXPRESSION, GUESSES, REFUSED = "latex", "number", "expression", "guesses", "refused"
NOT_PARSED = (GUESSES, REFUSED)
EVERYTHING = Search()

_ANSWER = re.compile(r"(?i:answer)")
_FINAL = re.compile(r"(?i:final )")
_IS_CASELESS = re.compile(r"(?i: is):?")
# The look-behind makes each run of white space be tried once, from its start: without it a million blanks are
# quadratic.
_IS = re.compile(r"(?<!\s)\s++is:?")
_HOPE = re.compile(r"\.?\s?I hope")
_SEPARATOR = re.compile(r"\b(?:and|or)\b|,|;")
_ANY_BOX = re.compile(r"\\(?:boxed|fbox)")
_CLOSE = re.compile(r"[.\s]*+\Z")


class Candidate(NamedTuple):
    """One thing to parse. Several texts are LaTeX joined by "and": together they are a set.

    REFUSED marks where a list was cut because of a limit; its first text says why, and where it was one candidate's
    length, that candidate's texts follow. GUESSES is the same for an answer that is a long list of different numbers,
    and so is no single one.
    """

    kind: str
    texts: tuple[str, ...]
    percents: tuple[bool, ...]  # whether a per cent sign follows, for each text


class WholeBox(NamedTuple):
    r"""From the first ``\boxed{`` to the last brace of the text, whatever stands between."""

    start: int
    end: int


AnySpan = TypeVar("AnySpan")


class Known(dict[int, AnySpan | None]):
    """Memo: position -> match, computed on first lookup, since the reach of one "answer" overlaps the next's."""

    def __init__(self, find: Callable[[int], AnySpan | None]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, at: int) -> AnySpan | None:
        # None is a result as well, and the usual one: it must not be looked for again.
        found = self[at] = self._find(at)
        return found


Found = Span | PlainSpan | WholeBox
Anchor = tuple[int, int]  # where a word like "answer" starts and ends


def candidates(text: str, search: Search = EVERYTHING) -> Iterator[Candidate]:
    """The candidates of a response in the order in which they are tried, each worked out only when asked for."""
    for rank in _ranks(text, search):
        # sorted() is stable, so equal places keep the order of the list: LaTeX before numbers unless the recipe says
        # otherwise.
        kept = rank if search.numbers else [found for found in rank if not isinstance(found, PlainSpan)]
        if search.numbers_first:
            kept = sorted(kept, key=lambda found: not isinstance(found, PlainSpan))
        # The order in which Math-Verify sorts its matches: the last end first and, of equal ends, the longest.
        if len(kept) > 1:
            kept = sorted(kept, key=lambda found: (-found.end, found.start))
        for found in kept:
            # Lazily: most responses are settled by the first candidate, and the ranks below would search the
            # whole text.
            yield (candidate := _candidate(text, found))
            if candidate.kind == NUMBER or search.first_only:  # a number always parses
                return


def _ranks(text: str, search: Search) -> Iterator[list[Found]]:
    """What was found in each rank, LaTeX before numbers."""
    latex, numbers = LatexText(text), PlainText(text)
    answers, finals = _anchors(text)
    hoped_for: list[Found] = []
    latex_there = Known(latex.list_after_space)
    # Two substring searches (memchr) in place of a regex over a megabyte.
    if finals and "I hope" in text:
        hoped_for += _after(finals, lambda end: _latex_hoped_for(latex, end))
        hoped_for += _after(finals, lambda end: _number_hoped_for(numbers, end))
    if search.boxed_first:
        yield [*hoped_for, *latex.boxed_spans(), *_whole_box(text)]
    elif hoped_for:
        yield hoped_for
    after_is = list(_after(finals, lambda end: _latex_after_is(text, end, latex_there))) if finals else []
    closes = not search.boxed_first and not search.numbers_first and len(finals) == 1 and _closes(text, after_is)
    if closes:
        # The usual response: what else is in this rank comes after it, and is hardly ever asked for.
        yield [*after_is]
        after_is = []
    rank: list[Found] = [*after_is]
    if not search.boxed_first and BOX in text:
        rank += [*latex.boxed_spans(), *_whole_box(text)]
    if finals:
        number_there = Known(lambda at: numbers.at(at, plain.ANYTHING))
        # Math-Verify gives both one priority unless it is told otherwise, so they share a rank.
        rank += _after(finals, lambda end: _number_after_is(text, end, number_there))
    yield rank
    if answers:
        number_answer = NumberAnswer(numbers)
        for anchors in ([(start, end + 1) for start, end in answers if text.startswith(":", end)], answers):
            yield [
                # 50 characters, as in Math-Verify's regex `answer:.{0,50}?`.
                *_after(anchors, lambda end: latex.first_list(end, end + 50)),
                *_after(anchors, number_answer.after),
            ]
    if search.anywhere:
        yield from _anywhere(latex, numbers)


def _closes(text: str, after_is: Sequence[Span | PlainSpan]) -> bool:
    r"""Whether ``is $..$`` ends the text, but for white space and full stops, and so is the first of its rank.

    Whatever else may be found in the rank ends before it, or with it and starts later: nothing but the same dollar
    sign closes an environment after it, and no digit or brace stands there. With ``\[`` a wider environment could start
    before and end with the same mark.
    """
    if len(after_is) != 1 or not isinstance(span := after_is[0], Span) or len(span.parts) != 1:
        return False
    ((start, _, percent),) = span.parts
    by_dollar = text[start - 1] == "$" != text[start - 2]
    return by_dollar and not percent and _CLOSE.match(text, span.end) is not None


def _anywhere(latex: LatexText, numbers: PlainText) -> Iterator[list[Found]]:
    """What stands anywhere, part by part from the last one on, since it is the last that counts."""
    # From the end in stretches that double: the answer is nearly always in the last 256 characters, so the usual
    # cost does not depend on the length of the response, and the worst is a constant times one pass.
    limit = len(latex.text)
    for start in latex.breaks():
        spans = latex.spans(start, limit)
        if spans:
            # What ends after the last environment, and so comes first, opens at the white space and signs at its end.
            last = spans[-1].end
            # Numbers that end after the last environment outrank it; the rest is only worked out when asked for.
            after: list[PlainSpan] = []
            if numbers.has_digit(last, limit):  # no number or expression goes across the end of an environment
                begin = max(start, last - LONGEST_OPENING)
                after = [span for span in _plain_spans(numbers, begin, limit) if span.end > last]
            yield [*after, spans.pop()]
            yield [*spans, *(span for span in _plain_spans(numbers, start, limit) if span not in after)]
        else:
            yield list(_plain_spans(numbers, start, limit))
        limit = start


def _plain_spans(numbers: PlainText, start: int, limit: int) -> Iterator[PlainSpan]:
    """The last number in text[start:limit], and the expressions that may end after it."""
    number, since = numbers.last_number(start, limit)
    yield from numbers.expressions(since, limit)
    if number is not None:
        yield number


def _anchors(text: str) -> tuple[list[Anchor], list[Anchor]]:
    """Where the words "answer" and "final answer" stand, in whatever case."""
    # lower() can change the length of other text (İ becomes two characters), and so the places.
    if not text.isascii():
        answers = [found.span() for found in _ANSWER.finditer(text)]
        # Looked for from "answer", which is rare: a regex for "final answer" would stop at each "final".
        return answers, [(start - 6, end) for start, end in answers if start >= 6 and _FINAL.match(text, start - 6)]
    answers, finals = [], []
    lowered = text.lower()  # as long as the text, since it is ASCII
    at = lowered.find("answer")
    while at >= 0:
        end = at + len("answer")
        answers.append((at, end))
        if at >= 6 and lowered.startswith("final ", at - 6):
            finals.append((at - 6, end))
        at = lowered.find("answer", end)
    return answers, finals


def _after(anchors: Iterable[Anchor], find: Callable[[int], Span | PlainSpan | None]) -> Iterator[Span | PlainSpan]:
    """What `find` finds after each anchor that no earlier find covers."""
    covered = 0
    for start, end in anchors:
        # As finditer goes on after each match: what lies within one is not matched again.
        if start >= covered and (found := find(end)) is not None:
            covered = found.end
            if isinstance(found, Span):
                yield Span(start, covered, found.parts)
            else:
                yield found._replace(start=start)


def _latex_hoped_for(latex: LatexText, at: int) -> Span | None:
    # "I hope it is correct." is how the MATH prompt of Minerva ends an answer; Math-Verify trusts it above any
    # box.
    opening = _IS_CASELESS.match(latex.text, at)
    span = opening and latex.list_after_space(opening.end(), PERCENT_IN_FULL)
    hope = span and _HOPE.match(latex.text, span.end)
    return span._replace(end=hope.end()) if span and hope else None


def _number_hoped_for(numbers: PlainText, at: int) -> PlainSpan | None:
    opening = _IS_CASELESS.match(numbers.text, at)
    return numbers.after_space(opening.end(), plain.I_HOPE) if opening else None


def _latex_after_is(text: str, at: int, latex_there: Known[Span]) -> Span | None:
    # As it is nearly always said. `at` is the end of a word, so the white space starts here.
    if text.startswith(" is", at):
        span = latex_there[at + (4 if text.startswith(":", at + 3) else 3)]
        if span is not None:
            return span
    found = (latex_there[opening.end()] for opening in _each_is(text, at))
    return next((span for span in found if span is not None), None)


def _number_after_is(text: str, at: int, number_there: Known[PlainSpan]) -> PlainSpan | None:
    line = text.find("\n", at, at + 100)
    for opening in _each_is(text, at):
        if 0 <= line < opening.start():
            return None
        if (span := number_there[opening.end()]) is not None:
            return span
    return None


def _each_is(text: str, at: int) -> Iterator[re.Match[str]]:
    """Each "is" with white space before it that starts at most 100 characters after `at`."""
    last = min(at + 100, len(text))
    # The bound is for where it starts; the text is read on for as long as the white space before "is" goes.
    for found in _IS.finditer(text, at, end_of(SPACE, text, last) + len("is:")):
        if found.start() <= last:
            yield found


class NumberAnswer:
    """The number or expression after "answer", which no equals sign follows."""

    def __init__(self, numbers: PlainText) -> None:
        self._numbers = numbers
        self._at = Known(lambda at: numbers.at(at, plain.NO_EQUALS_SIGN))
        self._after_sign = Known(lambda at: numbers.after_space(at, plain.NO_EQUALS_SIGN))

    def after(self, at: int) -> PlainSpan | None:
        """After an equals sign in the next 100 characters, the last first; else in the next 50; in the same line."""
        text = self._numbers.text
        line = text.find("\n", at, at + 101)
        # `.` of the regex stops at the end of a line, so nothing is looked for beyond it.
        line = line if line >= 0 else at + 101
        sign = text.rfind("=", at, line)
        while sign >= 0:
            if (span := self._after_sign[sign + 1]) is not None:
                return span
            sign = text.rfind("=", at, sign)
        for opening in self._numbers.openings(at, min(at + 50, line)):
            if (span := self._at[opening]) is not None:
                return span
        return None


def _whole_box(text: str) -> Iterator[WholeBox]:
    # Greedy, as Math-Verify's `\\boxed{.+}` is: with two boxes it spans both, and in_boxes then takes the last
    # ones.
    start, end = text.find(BOX), text.rfind("}")
    if start >= 0 and start + len(BOX) < end:  # at least one character in it
        yield WholeBox(start, end + 1)


def _candidate(text: str, found: Found) -> Candidate:
    if isinstance(found, PlainSpan):
        return Candidate(NUMBER if found.is_number else EXPRESSION, (found.text,), (found.percent,))
    if isinstance(found, WholeBox):
        return Candidate(LATEX, (in_boxes(text[found.start : found.end], last=True),), (False,))
    texts = (in_boxes(text[start:end], last=False) for start, end, _ in found.parts)
    return Candidate(LATEX, tuple(texts), tuple(percent for _, _, percent in found.parts))


def in_boxes(text: str, last: bool) -> str:
    r"""What is in the boxes of a text, joined by commas; the text itself if there is none.

    `last`: only the last box and those before it that belong to the same answer: less than 10 characters apart, or
    less than 70 with "and", "or", a comma or semicolon between. Rules of latex2sympy2_extended 1.11,
    math_normalization.py, `extract_boxed_content`, in linear time: boxes are read from the last to the first.
    """
    # Most texts hold none, and a substring search says so at once.
    if "box" not in text:
        return text
    # Most others are one box.
    content = text[len(BOX) : -1]
    if text.startswith(BOX) and text.endswith("}") and not ("{" in content or "}" in content or "box" in content):
        return content.strip()
    contents: list[str] = []
    limit = len(text)  # where the box that follows starts
    # From the last to the first, so each character between two boxes is read once: the library starts again at
    # every box.
    for command in reversed(list(_ANY_BOX.finditer(text))):
        start = end_of(SPACE, text, command.end())
        if start >= limit:
            break
        # Not beyond the next box's command: an unclosed box would otherwise be scanned to the end of the text
        # each time.
        end = closing_brace(text, start, limit) if text[start] == "{" else -1
        if end < 0:
            contents = contents or [text[start:]]
            break
        content = text[start + 1 : end].strip()
        if last and limit < len(text):
            between, is_same = text[end + 1 : limit], content == contents[-1]
            if len(between) >= 10 and (is_same or len(between) >= 70 or not _SEPARATOR.search(between)):
                break
        if not contents or content != contents[-1]:
            contents.append(content)
        limit = command.start()
    return ",".join(reversed(contents)) if contents else text
