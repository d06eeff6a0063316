r"""Static limits: what no answer that a person would give is, refused in microseconds, before anything parses it.

    refusal("9^{9^9}")    ->  "a power that is too large"
    refusal("2^{100}")    ->  None

They keep the absurd from costing its whole time budget in the child process; what they let through is still bounded
there. Text over a limit is never wrong: it is not scored (status `limit`), or the ground truth is at fault.
"""

from __future__ import annotations

import functools
import re

from analyzer.rewards._common import sizes
from analyzer.schema import GoldError, Status, Unscored

RESPONSE = 1_000_000  # characters
CANDIDATE = 4096  # characters of one answer
NESTING = 64
COMMANDS = 256
OPERATORS = 1024
DIGIT_RUN = 256
DIGITS = 2048
CELLS = 256
INTEGER_BITS = 300_000  # some 90,000 digits: more than 2024^{4046} and 20000!, and still nothing to add and compare
EXPONENT = 10_000  # of a name
FACTORIAL = 20_000
LONG_LIST = 128  # numbers

_BOUNDS = sizes.Bounds(INTEGER_BITS, EXPONENT, FACTORIAL)
# Short text without commands, powers, factorials, products and indices: most answers, settled by one match.
_HARMLESS = re.compile(r"[^\\^!*_]{0,64}")
_OPEN_OR_CLOSE = re.compile(r"[(\[{]|[)\]}]")
_RANGE = re.compile(r"\\(?:sum|prod|int|bigcup|bigcap)\s*_\s*(?:\{[^{}]*\}|\S)\s*\^")  # its "^" is not a power
_BINOMIAL = re.compile(r"\\[dt]?binom\s*+(?:\{[^{}]*+\}\s*+)?\{[^{}]*?(?:\^|!|\d{6})")
_CHOOSE = re.compile(r"(?:\^|!|\d{6})[^{}\\]*+\}?\s*+\\choose")
_EAGER = re.compile(
    r"\\xrightarrow(?![A-Za-z])|\\(?:det(?![A-Za-z])|operatorname\s*+\{\s*+(?:det|eig|rref|rank)).*matrix", re.S
)
_NUMBER_LIST = re.compile(r"\s*-?\d+(?:\s*,\s*-?\d+)+\s*", re.ASCII)
_CODE = re.compile(r"__[a-z]+__|(?<![\\A-Za-z])(?:lambda|import)\s+\w|\b(?:eval|exec|getattr)\s*\(")


def refusal(text: str) -> str | None:
    """Why a text is not parsed, in a few words; None where it may be."""
    if _HARMLESS.fullmatch(text):
        return None
    if len(text) > CANDIDATE:
        return f"more than {CANDIDATE:,} characters"
    return _excess(text)


def check_answer(text: str) -> None:
    """Raise Unscored(LIMIT) for an answer over a limit."""
    if (reason := refusal(text)) is not None:
        raise Unscored(Status.LIMIT, f"the answer is over a limit of parsing: {reason}")


def check_gold(text: str) -> None:
    """Raise GoldError for a ground truth over a limit."""
    if (reason := refusal(text)) is not None:
        raise GoldError(f"the ground truth is over a limit of parsing: {reason}")


def check_response(response: str) -> None:
    """Raise Unscored(LIMIT) for a response that is too long to look for an answer in."""
    if len(response) > RESPONSE:
        raise Unscored(Status.LIMIT, f"the response has more than {RESPONSE:,} characters")


def is_long_list(text: str) -> bool:
    """Whether a text is a long list of different numbers: guesses, and no single number."""
    # Counting commas costs a microsecond; only then is the regex asked.
    if text.count(",") < LONG_LIST or not _NUMBER_LIST.fullmatch(text):
        return False
    numbers = [number.strip() for number in text.split(",")]
    return len(set(numbers)) > LONG_LIST and any(len(number) != 3 for number in numbers[1:])  # not 1,000,000


@functools.lru_cache(maxsize=1024)
def _excess(text: str) -> str | None:
    """Remembered: an answer is asked about more than once on its way, and problems have answers in common."""
    return _too_large(text) or _too_deep(text) or _too_costly(text)


def _too_large(text: str) -> str | None:
    # Far below Python's limit of 4,300 digits, at which int() raises and Math-Verify finds nothing, silently.
    if re.search(rf"\d{{{DIGIT_RUN + 1}}}", text):
        return f"a number of more than {DIGIT_RUN} digits"
    # Short texts cannot hold so many digits, so they are not counted.
    if len(text) > DIGITS and sum(map(str.isdigit, text)) > DIGITS:
        return f"more than {DIGITS:,} digits"
    if text.count("\\") > COMMANDS:
        return f"more than {COMMANDS} commands"
    if len(re.findall(r"[-+*/^=<>]", text)) > OPERATORS:
        return f"more than {OPERATORS:,} operators"
    if text.count("&") + text.count("\\\\") > CELLS:
        return f"a matrix of more than {CELLS} cells"
    return None


def _too_deep(text: str) -> str | None:
    depth = 0
    # Depth below zero is not an error here: what is meant is the recursion of a parser, not balance.
    for bracket in _OPEN_OR_CLOSE.findall(text):
        depth += 1 if bracket in "([{" else -1
        if depth > NESTING:
            return f"brackets nested more than {NESTING} deep"
    return None


def _too_costly(text: str) -> str | None:
    text = _RANGE.sub(" ", text)
    # Ranges of sums are taken out first: the "^" of \sum_{n=1}^{10} is a bound, not a power.
    if reason := sizes.excess(text, _BOUNDS):
        return reason
    # Told by its text: of six-digit numbers, powers or factorials a binomial coefficient is out of reach.
    if _BINOMIAL.search(text) or ("\\choose" in text and _CHOOSE.search(text)):
        return "a binomial coefficient that is too large"
    if _EAGER.search(text):
        return "an operation on matrices"
    # sympy's own parser evaluates Python. Ours never hand it a name, and this is the second lock.
    return "program code" if _CODE.search(text) else None
