r"""Plain arithmetic in LaTeX, read without sympy: the last side of ``a + b = \frac{10}{2} + 3 = 8`` is 8.

What is read is a small part of what latex2sympy2_extended 1.11 surely parses after the normalisation of Math-Verify
0.9.0, and the value is that of the last side of an equation, which is what Math-Verify compares with a plain number.
Nothing is read where that is not certain: units, mixed numbers, calls, and so on.

Three kinds of values come out: an exact one (integers and fractions under ``+ - * / ^``), a lone decimal number, and an
approximate one where roots, pi or letters occur. A letter gets a value of its own: an expression that is 7 whatever
``x`` stands for is 7 there too, so a value far from 7 proves that it is not 7, while one near it proves nothing.
"""

from __future__ import annotations

import functools
import math
import re
import zlib
from fractions import Fraction
from typing import NamedTuple

# What is longer is left to the child; the limits also bound the recursion and the size of integers here in the
# worker.
_MOST_CHARACTERS = 400
_DEEPEST = 12
_MOST_BITS = 4096
_MOST = 1e9  # of an approximate value, so that it keeps 6 digits whatever cancels out
_MOST_FACTORIAL = 30
_MOST_DIGITS = 15

BLANKS = " \t\r\n"
"""All white space that the grammar passes over; a text with any other in it does not parse."""
_TOKEN = re.compile(
    # No number next to "." or ",": 1,5 may be 1.5, 15 or a pair.
    rf"[{BLANKS}]*+(?:(?P<number>\d{{1,{_MOST_DIGITS}}}(?:\.\d{{1,{_MOST_DIGITS}}})?)(?![\d.,])"
    r"|(?P<letters>[A-Za-z]{1,2})(?![A-Za-z])"
    r"|(?P<sign>[-+*/^_={}()|!])"
    r"|\\(?P<command>[dt]?frac|sqrt|[dt]?binom|cdot|times|pi|alpha|beta|theta)(?![A-Za-z]))",
    re.ASCII,
)
_KINDS = {number: kind for kind, number in _TOKEN.groupindex.items()}
_NOT_LETTERS = re.compile(r"or|d[A-Za-z]|[A-Za-z]?d(?=\s*[A-Za-z\\])", re.ASCII)  # a separator, a differential
# What the normalisation drops from the end as a unit: some letters, and a letter with a space and any character.
_UNIT = re.compile(r"(?as)(?:(?<![\\A-Za-z])(?:[othclsgmd]|[A-Za-z]{2})|(?:\d|\}|\s)\s*[a-z]{1,2}\s.(?:e?s)?)\s*$")
# Brackets' sizes, and the sign of degrees, which is one token: no white space stands in it, and no power follows it.
_DROPPED = re.compile(rf"\\(?:left|right)(?=[()|])|(?<=\d)[{BLANKS}]?\^(?:\\circ|\{{\\circ\}})(?![A-Za-z]|\s*[\^_])")
_WITH_COMMAS = re.compile(r"\s*-?[1-9]\d{0,2}(?:,\d{3})+\s*", re.ASCII)

Number = Fraction | float  # exact or approximate; NaN: it parses, to a value not known here


class Value(NamedTuple):
    """What a text is worth, and whether it is one decimal number, which sympy takes as a float."""

    number: Number
    is_decimal: bool = False


class _Unsure(Exception):
    """Raised when a text is not surely read as Math-Verify reads it."""


@functools.lru_cache(maxsize=1024)
def read(text: str) -> Value | None:
    """The value of a text or of its last side, NaN where it surely parses all the same; None where that is not sure."""
    if len(text) > _MOST_CHARACTERS:
        return None
    if len(text) <= _MOST_DIGITS and text.isdecimal() and text.isascii():  # most answers
        return Value(Fraction(int(text)))
    if _WITH_COMMAS.fullmatch(text):
        # Thousands separators are one number only where they are the whole text; within an expression a comma may
        # be a list.
        return Value(Fraction(text.replace(",", "").strip()))
    try:
        # Replaced by a space, not by nothing: 3\left(4 must not become another token.
        tokens = _tokens(_DROPPED.sub(" ", text).rstrip())
        reader = _Reader(tokens)
        value = reader.side()
        while reader.take("="):
            value = reader.side()
    except (_Unsure, OverflowError, ZeroDivisionError):
        return None
    # Anything left over means that the text was not understood: no value, not even of its beginning.
    return value if reader.at_end() and not _UNIT.search(text) else None


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        # A character that is not a token here may be anything to the grammar, so the whole text is given up.
        if found is None:
            raise _Unsure
        group = found.lastindex or 0
        kind = _KINDS[group]
        if kind == "letters" and _NOT_LETTERS.match(text, found.start(group)):
            raise _Unsure
        tokens.append((kind, found[group]))
        at = found.end()
    return [*tokens, ("end", "")]


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def at_end(self) -> bool:
        return self._tokens[self._next][0] == "end"

    def take(self, *texts: str) -> str | None:
        """The next token, if it is one of these; it is used up."""
        text = self._tokens[self._next][1]
        if text not in texts:
            return None
        self._next += 1
        return text

    def need(self, text: str) -> None:
        if self.take(text) is None:
            raise _Unsure

    def side(self) -> Value:
        kind, text = self._tokens[self._next]
        # A lone decimal stays exact: sympy compares it as a float, and what was written is what must be compared.
        if kind == "number" and "." in text and self._tokens[self._next + 1][1] in ("", "="):
            self._next += 1
            return Value(Fraction(text), is_decimal=True)
        return Value(self.sum())

    def sum(self) -> Number:
        self._depth += 1
        # Recursion is in the worker, where a RecursionError would be a bug, not a status.
        if self._depth > _DEEPEST:
            raise _Unsure
        total = -self.product() if self.take("-") else self.product()
        while sign := self.take("+", "-"):
            total = _bounded(total + self.product() if sign == "+" else total - self.product())
        self._depth -= 1
        return total

    def product(self) -> Number:
        number = factor = self.power()
        # 1/2x is (1/2)x to some grammars and 1/(2x) to others: where a quotient stands beside a factor, no value
        # is given.
        divided = beside = False
        while True:
            kind, text = self._tokens[self._next]
            last = factor
            if self.take("*", "cdot", "times"):
                number *= (factor := self.power())
            elif self.take("/"):
                divided = True
                number /= (factor := self.power())
            elif kind in ("letters", "command") or text == "(":
                beside = True
                number *= (factor := self.power())
                if isinstance(last, Fraction) and isinstance(factor, Fraction):
                    number = math.nan  # perhaps a mixed number: Math-Verify takes 3(7) for 10
            else:
                return math.nan if divided and beside else number
            number = _bounded(number)

    def power(self) -> Number:
        # x(3) may be a product or a call, and x^2(3) too: NaN says that it parses, to something not known here.
        is_name = self._tokens[self._next][0] == "letters"
        base = self.atom()
        if self.take("!"):
            return _factorial(base)
        if self.take("^") is None:
            return base
        after = [text for _, text in self._tokens[self._next : self._next + 3]]
        if after[0] == "T" or after == ["{", "T", "}"]:  # without white space it would be the sign of a transpose
            raise _Unsure
        kind, text = self._tokens[self._next]
        if text == "{":
            exponent = self.group()
        elif kind in ("number", "letters") and len(text) == 1:
            exponent = self.atom()
        else:
            raise _Unsure
        # 2^3^4 without braces is a syntax error in TeX, and read in two ways by parsers.
        if self.take("^"):
            raise _Unsure
        called = is_name and self._tokens[self._next][1] == "("
        return math.nan if called else _power(base, exponent)

    def group(self) -> Number:
        self.need("{")
        number = self.sum()
        self.need("}")
        return number

    def atom(self) -> Number:
        kind, text = self._tokens[self._next]
        self._next += 1
        if kind == "number":
            # Within an expression sympy computes with floats as soon as one operand is one.
            return float(text) if "." in text else Fraction(int(text))
        if kind == "letters":
            return self.symbol(text)
        if text == "(":
            number = self.sum()
            self.need(")")
            return number
        if text == "|":
            number = self.sum()
            self.need("|")
            # NaN is neither: -NaN is NaN, and all is well.
            return number if number >= 0 else -number
        if text.endswith("frac"):
            return self.group() / self.group()
        if text.endswith("binom"):
            return _binomial(self.group(), self.group())
        if text == "sqrt":
            square = self.group()
            return math.sqrt(square) if square >= 0 else math.nan
        if text in ("pi", "alpha", "beta", "theta"):
            return self.symbol(text)
        raise _Unsure

    def symbol(self, name: str) -> float:
        """The value of a name: none for a function, perhaps, nor for two names in one, e and i."""
        several = len(name) == 2 and name != "pi"
        if self.take("_"):
            # The constant e has no subscript in Math-Verify's grammar: it then reads what stands before, 12 in 12e_x.
            if name[-1] in "eE":
                raise _Unsure
            name += self.subscript()
        called = self._tokens[self._next][1] == "("
        if called or several or name in "eEiI":
            return math.nan
        return math.pi if name == "pi" else 0.6 + zlib.crc32(name.lower().encode()) / 2**32

    def subscript(self) -> str:
        braced = self.take("{")
        kind, text = self._tokens[self._next]
        self._next += 1
        if kind not in ("number", "letters") or "." in text or (len(text) > 1 and not braced):
            raise _Unsure
        if braced:
            self.need("}")
        return "_" + text


def _bounded(number: Number) -> Number:
    # Large floats lose the digits behind the point that a comparison to 1/10,000 needs.
    if isinstance(number, float):
        return number if abs(number) < _MOST else math.nan
    if number.numerator.bit_length() + number.denominator.bit_length() > _MOST_BITS:
        raise _Unsure
    return number


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, float) or isinstance(exponent, float) or exponent.denominator != 1:
        return _bounded(float(base) ** float(exponent)) if base > 0 else math.nan
    # Bounded before it is computed: 9^{9^9} would be computed here, in the worker, where nothing stops it.
    if base == 0 or abs(exponent) * (base.numerator.bit_length() + base.denominator.bit_length()) > _MOST_BITS:
        raise _Unsure
    return Fraction(base**exponent.numerator)


def _factorial(number: Number) -> Number:
    if isinstance(number, float) or number.denominator != 1 or not 0 <= number <= _MOST_FACTORIAL:
        return math.nan
    return Fraction(math.factorial(number.numerator))


def _binomial(n: Number, k: Number) -> Number:
    for number in (n, k):
        if isinstance(number, float) or number.denominator != 1 or not 0 <= number <= 100:
            return math.nan
    return Fraction(math.comb(int(n), int(k)))
