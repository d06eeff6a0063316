"""When the output of a program equals the expected one, as verl 0.9.1 has it (prime_code/testing_util.py).

What is expected never enters the sandbox; what the program gave is text or packed JSON, and compared here.
"""

from __future__ import annotations

import json
import math
from typing import Any

from analyzer.grading.sandbox.inside.values import equals

RELATIVE, ABSOLUTE = 1e-5, 1e-8  # of numpy.allclose


def same_output(output: str, expected: str) -> bool:
    """Whether printed text counts as the expected text.

    Equal but for white space around it or around its lines; or equal line by line, blank lines aside; or numbers, one
    a line, that are close, unless all of them are natural numbers.
    """
    # splitlines() splits at form feeds and others as well, split("\n") does not: verl uses both, and so each is
    # kept here.
    lines = output.splitlines()
    stripped = expected.strip()
    if "\n".join(lines).strip() == stripped or "\n".join(line.strip() for line in lines).strip() == stripped:
        return True
    if lines == [expected]:
        return True
    wanted = [line.strip() for line in expected.split("\n") if line]
    filled = [line for line in lines if line]
    return wanted in (lines, filled) or _close(filled, wanted)


def _close(lines: list[str], wanted: list[str]) -> bool:
    if len(lines) != len(wanted) or all(a.isdigit() and b.isdigit() for a, b in zip(lines, wanted, strict=True)):
        return False
    try:
        return all(_near(float(a), float(b)) for a, b in zip(lines, wanted, strict=True))
    except ValueError:
        return False


def _near(value: float, wanted: float) -> bool:
    # inf - inf is NaN, which no comparison finds close.
    if math.isinf(value) or math.isinf(wanted):
        return value == wanted
    return abs(value - wanted) <= ABSOLUTE + RELATIVE * abs(wanted)


def same_value(packed: bytes, expected: Any) -> bool:
    """Whether what a function returned (packed) counts as the expected JSON data.

    A tuple counts as a list, and tuples directly in it too; the expected value may also stand alone in a list.
    """
    try:
        value = json.loads(packed)
    except (ValueError, RecursionError):
        return False
    # In the packed form ["t", ...] is a tuple.
    if isinstance(value, list) and value[:1] == ["t"]:
        value[0] = "l"
    if equals(value, expected):
        return True
    if not isinstance(expected, list) or not expected:
        return False
    return equals(value, expected[0]) or equals(_with_lists(value), expected[0])


def _with_lists(packed: Any) -> Any:
    """A packed list whose first item is a tuple, with the tuples in it made lists."""
    if not isinstance(packed, list) or packed[:1] != ["l"] or not _is_tuple(packed[1:2]):
        return packed
    return ["l", *[["l", *part[1:]] if _is_tuple([part]) else part for part in packed[1:]]]


def _is_tuple(parts: list[Any]) -> bool:
    return bool(parts) and isinstance(parts[0], list) and parts[0][:1] == ["t"]


def with_int_keys(value: Any) -> Any:
    """JSON has only text for keys: a dict, or one alone in a list, gets integer keys where all of them are numbers."""
    if isinstance(value, list) and len(value) == 1:
        return [with_int_keys(value[0])] if isinstance(value[0], dict) else value
    if not isinstance(value, dict):
        return value
    try:
        return {int(key): part for key, part in value.items()}
    except ValueError:
        return value


def verls_int_keys(value: Any) -> Any:
    """What verl makes of a dict with numbers for keys, alone or first in a list: a list of that dict alone."""
    first = value[:1] if isinstance(value, list) else [value]
    if not first or not isinstance(first[0], dict):
        return value
    try:
        return [{int(key): part for key, part in first[0].items()}]
    except ValueError:
        return value
