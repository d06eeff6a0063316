r"""Finding LaTeX boxes in a response: `\boxed{...}` with its braces balanced, in linear time on any text."""

from __future__ import annotations

BOX = "\\boxed{"


def closing_brace(text: str, start: int, end: int | None = None) -> int:
    """The index of the "}" before `end` at which as many braces were closed as opened since `start`; -1 without one.

    Goes from one "}" to the next, so that a million "{" cost one search.
    """
    depth = 0
    # find() and count() run in C: the braces between two closing ones are never looked at one by one.
    while (close := text.find("}", start, end)) >= 0:
        depth += text.count("{", start, close) - 1
        if depth == 0:
            return close
        start = close + 1
    return -1


def last_box(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`; None if there is none, or where the last one is never closed.

    An earlier box is not taken instead: a response that was cut off inside its last box has not answered.
    """
    start = text.rfind(BOX)
    if start < 0:
        return None
    close = closing_brace(text, start)
    return None if close < 0 else text[start + len(BOX) : close]
