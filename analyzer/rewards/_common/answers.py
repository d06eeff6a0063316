"""An extracted answer as a person reads it: the text in whatever a reward's `extract` returns."""

from __future__ import annotations

from typing import Any


def answer_text(answer: Any) -> str | None:
    """The text of an answer: itself, its `text`, or that of the first of several; None if there is none.

    answer_text(("5", "7"))  ->  "5"
    """
    if answer is None or isinstance(answer, str):
        return answer
    for name in ("text", "texts"):
        if hasattr(answer, name):
            return answer_text(getattr(answer, name))
    if isinstance(answer, tuple | list):
        return next((text for part in answer if (text := answer_text(part)) is not None), None)
    return str(answer)
