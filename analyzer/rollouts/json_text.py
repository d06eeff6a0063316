"""JSON texts read and written without loss: integers of any size keep their digits, NaN is taken."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

_INT64 = 1 << 63
_LONG_DIGITS = re.compile(rb"[0-9]{19}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class BigInteger(str):
    """An integer too large for 64 bits, as its digits."""

    __slots__ = ()


def load_json(data: str | bytes) -> Any:
    """The value of a JSON text: a large integer keeps its digits, NaN is taken, a lone surrogate becomes U+FFFD.

    Raises ValueError or RecursionError if it is not JSON.
    """
    return load_counted(data.encode() if isinstance(data, str) else data)[0]


def load_counted(data: bytes) -> tuple[Any, int]:
    """The value of a JSON text, and how many lone surrogates were replaced in it."""
    try:
        # orjson makes a double of an integer past 64 bits. Any long run of digits sends the line to the slow reader; in
        # a text or behind a decimal point that is needless, and rare.
        if not _LONG_DIGITS.search(data):
            return orjson.loads(data), 0
    except orjson.JSONDecodeError:
        pass  # NaN, a lone surrogate: the slow reader takes them; it also has the last word on what is wrong
    text = data.decode("utf-8")
    value = json.loads(text, parse_int=_integer)
    # Only an escape brings a lone surrogate in: as bytes it is not UTF-8, and decode() has refused it.
    return _without_surrogates(value) if "\\u" in text else (value, 0)


def _integer(digits: str) -> int | BigInteger:
    # By length first: int() takes quadratic time, and refuses more than 4,300 digits.
    if len(digits) > 19 + digits.startswith("-"):
        return BigInteger(digits)
    value = int(digits)
    return value if -_INT64 <= value < _INT64 else BigInteger(digits)


def _without_surrogates(value: Any) -> tuple[Any, int]:
    if type(value) is str:
        return _SURROGATE.subn("\ufffd", value)
    if isinstance(value, dict):
        keys, values = list(map(_without_surrogates, value)), list(map(_without_surrogates, value.values()))
        pairs = zip(keys, values, strict=True)
        return {key: inner for (key, _), (inner, _) in pairs}, sum(n for _, n in keys) + sum(n for _, n in values)
    if isinstance(value, list):
        values = list(map(_without_surrogates, value))
        return [inner for inner, _ in values], sum(n for _, n in values)
    return value, 0


def dump_json(value: Any) -> str:
    """JSON text of a value; an integer of any size gives its digits, NaN stays NaN, what JSON lacks is its str()."""
    if isinstance(value, BigInteger):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{dump_json(key)}:{dump_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump_json, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if type(value) is int and not -_INT64 <= value < _INT64:
        return _digits(value)
    return orjson.dumps(value, default=str).decode()


def _digits(value: int) -> str:
    """str(value), which Python refuses for a number of more than 4,300 digits."""
    if value < 0:
        return "-" + _digits(-value)
    # Raising that limit (sys.set_int_max_str_digits) would raise it for the user's functions in this process, too.
    parts = list[str]()
    while value:
        value, part = divmod(value, 10**4000)
        parts.append(f"{part:04000d}")
    return "".join(reversed(parts)).lstrip("0")
