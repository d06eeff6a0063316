r"""Reading one number out of a short text, exactly.

    number_of("1,000.0 kg")         ->  Fraction(1000)
    number_of("x = \frac{3}{4}")    ->  Fraction(3, 4)
    number_of("12\pi")              ->  None

A number is 12, -1,234.5, .5, 6.02e23, 3/4 or \frac{3}{4}, with a currency, a percent sign (which is dropped: 50% is 50)
and a unit behind a space. What does not look like one is none: nan, inf, 1_0, 0x10, 5x, 5kg, 5 million, 1 1/2, digits
that are not 0-9; nor is what no float could hold, 1e400. Nothing is read but digits, sign, point and exponent.
"""

from __future__ import annotations

import re
import sys
from fractions import Fraction

TEXT_LIMIT = 1_000  # characters of a text that is one number with its unit
DIGITS_LIMIT = 256

_SIGN = r"[-+]?\s?"
_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3}(?![0-9]))?"
_UNIT = (  # no word that makes another number of it
    r"\s(?!(?:pi|sqrt|root|[ixyne]|or|to|and|plus|minus|times|over|hundred|thousand|million|billion|trillion|dozen)\b)"
    r"[A-Za-zµ°Ω€£¥][^0-9=\\{}\[\]()<>]*(?:\^[23])?"
)
NUMBER = re.compile(
    r"(?:approximately\s|about\s|approx\.?\s|roughly\s|~\s?)?"
    rf"(?P<sign>{_SIGN})[€£¥]?(?P<top>{_DECIMAL})(?:\s?/\s?(?P<bottom>{_DECIMAL}))?\s?%?(?:{_UNIT})?\s?\.?"
)
LAST = re.compile(  # a number within a longer text: no part of a word, a power, an argument or a list without spaces
    rf"(?<![\w.\\^{{])(?<![0-9][,/:])(?:(?<![\w)\]}}]\s)[-+−]|(?<![\w)\]}}])[-+−])?"
    rf"{_DECIMAL}(?:/{_DECIMAL})?(?![\w^{{]|[.,/:][0-9]|\s?\\(?:pi|sqrt|frac|cdot|times)\b)"
)

_DROPPED = (  # for a space, since digits on both sides must not become one number
    *("\\;", "\\:", "\\ ", "~", "`", '"', "\\$", "$", "\\(", "\\)", "\\[", "\\]", "**", "\\left", "\\right"),
    *("^{\\circ}", "^\\circ", "°"),
)
_REPLACED = (
    *(("−", "-"), ("{,}", ","), (",\\!", ","), ("\\%", "%"), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac")),
    *(("\\approx", "="), ("≈", "=")),
)
_THIN_SPACE = re.compile(r"\\[,!](?=(?P<thousand>[0-9]{3}(?![0-9]))?)")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boldsymbol)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")


def number_of(text: str) -> Fraction | None:
    """The value of a text that is one number, after its last "="; None where it is not, or over a limit."""
    # First: what follows are some thirty passes over the text.
    if len(text) > TEXT_LIMIT:
        return None
    for old in _DROPPED:
        text = text.replace(old, " ")
    for old, new in _REPLACED:
        text = text.replace(old, new)
    text = _THIN_SPACE.sub(lambda space: "," if space["thousand"] else " ", text)
    text = _FRACTION.sub(r" \1/\2 ", _WORDS.sub(r" \1 ", text)).rpartition("=")[2]
    # White space of any kind becomes one blank, so the pattern need not say \s+ anywhere.
    match = NUMBER.fullmatch(" ".join(text.split()))
    if match is None or sum(map(str.isdigit, match[0])) > DIGITS_LIMIT:
        return None
    # Fraction, not float: 0.1 is 1/10, and a tolerance of 0 means the same number.
    value = Fraction(match["top"].replace(",", ""))
    if match["bottom"] is not None:
        bottom = Fraction(match["bottom"].replace(",", ""))
        if bottom == 0:
            return None
        value /= bottom
    # 1e400 is inf to every program that reads it, so it equals nothing.
    if value > _LARGEST:
        return None
    return -value if "-" in match["sign"] else value


_LARGEST = Fraction(sys.float_info.max)
