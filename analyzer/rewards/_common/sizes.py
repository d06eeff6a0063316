r"""How large the powers and factorials in a text are, without building them: in logarithms, in one pass.

    excess("2^{2^{3}}", Bounds(bits=100, exponent=10, factorial=10))    ->  None, it is 256
    excess("9^{9^9}", Bounds(bits=100, exponent=10, factorial=10))      ->  "a power that is too large"
    excess("Yes!!!", Bounds(bits=100, exponent=10, factorial=10))       ->  None, the factorial of a letter

Numbers, brackets, + - * / ^ ! and \cdot are read; all else is a name of unknown value. A name may be raised to a power
as such. What several grammars read in two ways (2^3!, 2^3^2) counts as the larger.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"\s*+(?:(?P<number>\d++(?:\.\d++)?)|(?P<power>\^|\*\*)|(?P<bang>!(?!=))|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<product>[*/×·]|\\(?:cdot|times)(?![A-Za-z]))|(?P<sum>[-+])|(?P<index>_)|(?P<name>\\[A-Za-z]+|\S))"
)
# Nothing but single characters as exponents, and no factorial: of the usual answers nearly all.
_SMALL = re.compile(r"(?:[^\^!*]|\*(?!\*)|\^(?:[A-Za-z0-9]|\{[A-Za-z0-9]\})(?![\s}]*[\d^!*]))*+")
_LOG_10 = math.log2(10)


class _TooLarge(Exception):
    """Raised where a number is over the bounds; its argument says which kind."""


class _Size(NamedTuple):
    """A number: its value as a float, infinite where that overflows, and the bits of its magnitude."""

    value: float
    bits: float


class Bounds(NamedTuple):
    """The most that is built: bits of a number, the exponent of a name, what a factorial is taken of."""

    bits: int
    exponent: int
    factorial: int


def excess(text: str, bounds: Bounds) -> str | None:
    """What in a text is over the bounds, in a few words; None where all can be built. The brackets are not too deep."""
    # One match settles nearly every answer; the reader below is for the rest.
    if _SMALL.fullmatch(text):
        return None
    try:
        _Sizes(text, bounds).read_all()
    except _TooLarge as error:
        return str(error)
    return None


class _Sizes:
    """Recursive descent over the tokens of one text. A size is None where a name stands in what it is the size of."""

    def __init__(self, text: str, bounds: Bounds) -> None:
        self._tokens = [(str(found.lastgroup), found[str(found.lastgroup)]) for found in _TOKEN.finditer(text)]
        self._tokens.append(("end", ""))
        self._next = 0
        self._bounds = bounds

    def read_all(self) -> None:
        while self._kind() != "end":
            self._sum()
            self._next += self._kind() == "close"  # a bracket that nothing opened

    def _kind(self) -> str:
        return self._tokens[self._next][0]

    def _signs(self) -> float:
        """1 or -1: what the signs that come next make of what follows them."""
        sign = 1.0
        while self._kind() == "sum":
            sign *= -1.0 if self._tokens[self._next][1] == "-" else 1.0
            self._next += 1
        return sign

    def _sum(self) -> _Size | None:
        total = self._product()
        while self._kind() == "sum":
            term = self._product()
            total = _sized(total.value + term.value, max(total.bits, term.bits) + 1) if total and term else None
        return total

    def _product(self) -> _Size | None:
        # A leading sign belongs to the product; -2^2 is -(2^2), whose size is the same.
        product: _Size | None = _Size(self._signs(), 0.0)
        while self._kind() not in ("sum", "close", "end"):
            if self._kind() == "product":
                is_ratio = self._tokens[self._next][1] == "/"
                self._next += 1
                sign = self._signs()
                factor = self._power()
                factor = factor and _Size(sign * factor.value, factor.bits)
                if is_ratio and factor is not None:
                    # Division by zero is infinite: the largest size, which refuses, and not the smallest.
                    factor = _Size(1 / factor.value if factor.value else math.inf, -factor.bits)
            else:
                factor = self._power()
            product = _sized(product.value * factor.value, product.bits + factor.bits) if product and factor else None
        return product

    def _power(self) -> _Size | None:
        # Collected, then folded from the right: powers associate to the right, and 2^3^2 is 512.
        operands = [self._factorials(self._atom())]
        while self._kind() == "power":
            self._next += 1
            sign = self._signs()
            operand = self._atom()
            operands.append(operand and _Size(sign * operand.value, operand.bits))
        size = operands.pop()
        while operands:
            size = self._raised(operands.pop(), size)
        return self._factorials(size)

    def _raised(self, base: _Size | None, exponent: _Size | None) -> _Size | None:
        if exponent is None:
            return None
        times = abs(exponent.value)
        # x^{5000} is kept as it is by sympy until it is expanded, so a name has a bound of its own for the
        # exponent.
        if base is None:
            if times > self._bounds.exponent:
                raise _TooLarge("a power that is too large")
            return None
        # Bits of a power = exponent * bits of the base: in logarithms no number is ever built.
        bits = times * abs(base.bits) if base.bits else 0.0
        if bits > self._bounds.bits:
            raise _TooLarge("a power that is too large")
        try:
            # The value is needed only where it is an exponent in turn; beyond a float it is infinite, which every
            # bound refuses.
            value = math.copysign(abs(base.value) ** exponent.value, base.value)
        except (OverflowError, ZeroDivisionError):
            value = math.inf
        return _sized(value, math.copysign(bits, exponent.value * base.bits))

    def _factorials(self, size: _Size | None) -> _Size | None:
        # 3!! is read as (3!)!, the larger of its two readings.
        while self._kind() == "bang":
            self._next += 1
            if size is None:
                continue
            if size.value > self._bounds.factorial:
                raise _TooLarge("a factorial that is too large")
            # lgamma, not factorial(): 20000! has 77,000 digits. exp() overflows a float above 709.
            logarithm = math.lgamma(max(size.value, 0.0) + 1)
            size = _sized(math.exp(logarithm) if logarithm < 700 else math.inf, logarithm / math.log(2))
        return size

    def _atom(self) -> _Size | None:
        kind, text = self._tokens[self._next]
        if kind in ("close", "end", "sum", "product", "power", "bang"):  # nothing where an operand belongs
            return None
        self._next += 1
        if kind == "number":
            # float() of 310 digits is inf anyway; the length alone says the bits.
            return _sized(float(text) if len(text) < 300 else math.inf, len(text) * _LOG_10)
        if kind == "open":
            size = self._sum()
            self._next += self._kind() == "close"
            return size
        # x_{2^9} is a name with an index, whatever stands in the index.
        if kind == "index":
            self._atom()
        if text in (r"\frac", r"\dfrac", r"\tfrac"):
            upper, lower = self._atom(), self._atom()
            if upper and lower and lower.value:
                return _sized(upper.value / lower.value, upper.bits - lower.bits)
        return None


def _sized(value: float, bits: float) -> _Size:
    """A size with the bits of its value, where the value is known; NaN is known to be nothing, and so is large."""
    if math.isnan(value):
        return _Size(math.inf, bits)
    return _Size(value, math.log2(abs(value)) if 0 < abs(value) < math.inf else bits if value else 0.0)
