"""The border between a program and its judge: exact builtin values cross as JSON, nothing else does.

    pack((1, 2.0, {"a"}))           # ["t", 1, 2.0, ["s", "a"]]
    unpack(["t", 1, ["l"]])         # (1, [])
    equals(["l", 2, 3], [2.0, 3])   # True

The last is Python's ==, but the packed side is never built.

An object with an `__eq__` of its own has no packed form, and so can never claim to be equal to an answer. What else can
be iterated over crosses as an iterator over its items, which is equal to nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import datetime
import itertools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DEPTH = 300  # of nesting: a worker reads such an answer well within Python's own limit of 1,000 calls
MOST_ITEMS = 100_000  # of an iterator, which may never end
PLAIN_INT_BITS = 4096  # above, digits in base 16: json reads at most 4,300 decimal digits

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # an open one too, else each quote is tried
_BRACKETS = re.compile(rb"[\[\]{}]")

_TAGS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "f", deque: "q"}
_BUILDERS: dict[str, Callable[[list[Any]], Any]] = {tag: kind for kind, tag in _TAGS.items()}
_BUILDERS["g"] = iter
# Views of a dict: they are equal to others, and have a length.
_VIEWS: dict[type, str] = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
_BUILDERS["keys"] = lambda items: dict.fromkeys(items).keys()
_BUILDERS["values"] = lambda items: dict(enumerate(items)).values()
_BUILDERS["items"] = lambda items: dict(items).items()
_TAGS.update(_VIEWS)
# The unbound methods of the builtins: int(value) would call the subclass's own __int__, which is the program's
# code.
_PLAIN_COPY: Mapping[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: bytes,
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    dict: dict,
}


_BY_TEXT: Mapping[type, str] = {
    datetime.date: "date",
    datetime.datetime: "datetime",
    datetime.time: "time",
    Decimal: "decimal",
}
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "decimal": Decimal,
}
"""Values of the standard library that their text makes again."""


PLAIN_TYPES: Mapping[str, type] = {
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)},
    **{name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)},
}
"""Types that cross by name. Those alone that do no more than make a value: a program may hand one to its test."""

ARRAYS = "biufcSU"
"""Kinds of numpy's arrays that cross: numbers and texts."""


class Uncrossable(Exception):
    """Raised for a value that is not a builtin, is too deep, or is packed wrongly."""


def pack(value: Any, refer: Callable[[Any], Any] | None = None, depth: int = 0) -> Any:
    """The JSON form of a value. A Counter, namedtuple, IntEnum or numpy scalar crosses as the builtin it holds.

    `refer` gives a packed form to what has none of its own, or None. Raises Uncrossable for everything else.
    """
    kind = type(value)
    # kind, the exact type: a subclass of str may have an __eq__ of its own and must go through the plain copy.
    if value is None or kind in (bool, str):
        return value
    if (scalar := _packed_scalar(value, kind)) is not None:
        return scalar
    # After the scalars, which nest nothing. Also the end for a list that contains itself.
    if depth > MAX_DEPTH:
        raise Uncrossable(f"nested deeper than {MAX_DEPTH}")
    if kind in _TAGS:
        return [_TAGS[kind], *[pack(item, refer, depth + 1) for item in value]]
    if kind is dict:
        # Pairs instead of a JSON object: keys may be ints or tuples, and their order is part of what some tests
        # compare.
        return ["d", *[pack(part, refer, depth + 1) for item in value.items() for part in item]]
    builtin = _as_builtin(value)
    if builtin is not None:
        return pack(builtin, refer, depth + 1)
    if refer is not None and (reference := refer(value)) is not None:
        return reference
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _packed_array(value)
    # A table of pandas' would be the names of its columns; a class, an enumeration's, is no iterator either.
    if isinstance(value, Iterable) and not isinstance(value, type) and not hasattr(value, "iloc"):
        return ["g", *[pack(item, refer, depth + 1) for item in itertools.islice(value, MOST_ITEMS)]]
    raise Uncrossable(f"a value of type {type(value).__qualname__}")


def _packed_array(value: Any) -> Any:
    """An array of numpy's, recognised without importing it. Raises Uncrossable for one of objects, or of another."""
    if type(value).__module__ != "numpy" or value.dtype.kind not in ARRAYS:
        raise Uncrossable(f"a value of type {type(value).__qualname__}")
    return ["array", value.dtype.str, pack(value.shape), *map(pack, value.ravel().tolist())]


def array(kind: str, shape: Any, *items: Any) -> Any:
    """An array of numpy's from the parts of its packed form. Raises ValueError, TypeError, Uncrossable."""
    import numpy

    dtype = numpy.dtype(kind)
    if dtype.kind not in ARRAYS:
        raise ValueError(kind)
    return numpy.array([unpack(item) for item in items], dtype).reshape(unpack(shape))


def _packed_scalar(value: Any, kind: type) -> Any:
    """The packed form of a value that holds no others; None for any other."""
    if kind is int:
        # Python refuses to read or print more than 4,300 decimal digits (int_max_str_digits); hex has no such
        # limit.
        return value if value.bit_length() <= PLAIN_INT_BITS else ["i", hex(value)]
    if kind is float:
        # JSON has no inf or nan; what Python's json writes for them would be accepted, but is not JSON to anybody
        # else.
        return value if math.isfinite(value) else ["n", repr(value)]
    if kind is complex:
        return ["c", repr(value.real), repr(value.imag)]
    if kind in (bytes, bytearray):
        return ["b" if kind is bytes else "a", value.hex()]
    if kind in _BY_TEXT:
        return [_BY_TEXT[kind], str(value) if kind is Decimal else value.isoformat()]
    if kind is datetime.timedelta:
        return ["delta", value.days, value.seconds, value.microseconds]
    if kind is Fraction:
        return ["fraction", pack(value.numerator), pack(value.denominator)]
    if isinstance(value, type) and PLAIN_TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    if kind is range:
        return ["r", *map(pack, (value.start, value.stop, value.step))]
    return None


def _as_builtin(value: Any) -> Any:
    """The builtin that a value derives from; None if there is none."""
    for base, copy in _PLAIN_COPY.items():
        if isinstance(value, base):
            return copy(value)
    # A numpy scalar or an array without dimensions, recognized without importing numpy.
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        return value.item()
    return None


def unpack(packed: Any, referred: Callable[[str, list[Any]], Any] | None = None) -> Any:
    """The value of a packed form: builtins and arrays only, whatever was sent; of another tag what `referred` gives.

    `referred` gets the tag and the parts. Raises Uncrossable where the form is malformed.
    """
    if packed is None or isinstance(packed, (bool, int, float, str)):
        return packed
    try:
        tag, *parts = packed
        if tag in _BUILDERS:
            # TypeError for an unhashable item of a set is among what is caught below.
            return _BUILDERS[tag]([unpack(part, referred) for part in parts])
        if tag == "d":
            items = [unpack(part, referred) for part in parts]
            return dict(zip(items[::2], items[1::2], strict=True))
        if tag in _SCALARS or referred is None:
            return _unpack_scalar(tag, parts)
        return referred(tag, parts)
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise Uncrossable(f"malformed: {error}") from None


_MUTABLE = frozenset("lsdqa")
_SCALARS = frozenset({"i", "n", "c", "b", "a", "r", "delta", "fraction", "type", *_FROM_TEXT})


def changed(
    packed: Mapping[int | str, Any], values: Mapping[int | str, Any], pack: Callable[[Any], Any] = pack
) -> list[Any]:
    """What became of arguments, packed before a call, after it: a key and the packed value, for each that changed.

    Only of values that can change: an iterator is not touched, since to look at it takes its items. What cannot cross
    any more is left as it was.
    """
    found: list[Any] = []
    for key, before in packed.items():
        if isinstance(before, list) and before[0] in _MUTABLE:
            with contextlib.suppress(Uncrossable):
                if (after := pack(values[key])) != before:
                    found += [key, after]
    return found


def change(value: Any, after: Any) -> None:
    """Give a mutable builtin the content of another. Raises Uncrossable where it is none of that type."""
    if type(after) not in (list, bytearray, deque, set, dict) or not isinstance(value, type(after)):
        raise Uncrossable(f"a {type(after).__name__} in the place of a {type(value).__name__}")
    value.clear()
    fill = value.update if isinstance(value, (set, dict)) else value.extend
    fill(after)


def is_packed_json(body: bytes) -> bool:
    """Whether this is the JSON of a packed value, whatever was sent; in one pass and without recursion.

    Where it is, `equals` and `unpack` neither run deep nor raise anything but Uncrossable.
    """
    # Two C scans settle nearly every answer; only where there are many brackets is the depth counted.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deep(body):
        return False
    try:
        # A list of work in place of recursion, whose depth the sender would choose.
        waiting = [json.loads(body)]
    except ValueError:
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            if not value or not isinstance(value[0], str):
                return False
            waiting += value[1:]
        elif isinstance(value, dict):
            return False
    return True


def _is_deep(body: bytes) -> bool:
    depth = 0
    # Strings are cut out first, as brackets within them nest nothing. The pattern is possessive: linear on any
    # bytes.
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH + 2:
            return True
    return False


def _unpack_scalar(tag: str, parts: list[str]) -> Any:
    if tag == "i":
        return int(parts[0], 16)
    if tag == "n":
        return float(parts[0])
    if tag == "c":
        return complex(float(parts[0]), float(parts[1]))
    if tag in ("b", "a"):
        return (bytes if tag == "b" else bytearray).fromhex(parts[0])
    if tag in _FROM_TEXT:
        return _FROM_TEXT[tag](parts[0])
    if tag == "type":
        return PLAIN_TYPES[parts[0]]
    if tag == "array":
        return array(*parts)
    if tag == "delta":
        return datetime.timedelta(*map(int, parts))
    if tag == "r":
        return range(*map(unpack, parts))
    if tag == "fraction":
        numerator, denominator = map(unpack, parts)
        return Fraction(numerator + 0, denominator + 0)  # numbers: text could be that of a huge power
    raise ValueError(tag)


def equals(packed: Any, expected: Any) -> bool:
    """Whether what was packed == expected, where expected is JSON data (int keys of a dict allowed).

    Linear in the size of `packed`: no set or dict is built from it, whose hashes an enemy could make collide.
    """
    if isinstance(packed, list):
        tag, parts = (packed[0], packed[1:]) if packed else (None, [])
        if tag == "l":
            return type(expected) is list and len(parts) == len(expected) and all(map(equals, parts, expected))
        if tag == "d":
            return type(expected) is dict and _equal_items(parts, expected)
        return isinstance(expected, (int, float)) and tag in ("i", "n", "c") and _equal_number(packed, expected)
    # True == 1 and 1.0 == 1 hold here as they do in the published checks; only text never equals a number.
    return bool(isinstance(packed, str) == isinstance(expected, str) and packed == expected)


def _equal_number(packed: list[Any], expected: float) -> bool:
    try:
        return bool(unpack(packed) == expected)
    except Uncrossable:
        return False


def _equal_items(parts: list[Any], expected: dict[Any, Any]) -> bool:
    seen = set()
    for key, value in zip(parts[::2], parts[1::2], strict=False):
        # A packed list is a key that is not a JSON scalar (a tuple, say): expected data cannot have it. It is
        # unhashable besides.
        if isinstance(key, list) or key not in expected or not equals(value, expected[key]):
            return False
        seen.add(key)
    # Both counts: a key sent twice must not stand for one that is missing, nor an odd part at the end go unseen.
    return len(seen) == len(expected) and len(parts) == 2 * len(expected)
