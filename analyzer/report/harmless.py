"""Text of a model made harmless to look at: what would be invisible or would move other text is shown as a mark."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t")


def visible(text: str) -> str:
    """Text whose control, bidirectional and zero-width characters are shown as <U+202E> and alike.

    The page does the same to the texts it shows later (`marked` in report.js); a test holds the two together.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _KEPT or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        else f"<U+{ord(character):04X}>"
        for character in text
    )
