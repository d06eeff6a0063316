"""Plain expressions as sympy objects, built from Python's syntax tree by a list of what is allowed, never evaluated.

    differ_by_zero("2sqrt(3)/3", "sqrt(12)/3")  ->  True

For the child process alone, since sympy may hang. What sympy's parse_expr would read besides (attributes, strings,
calls of sympy's classes, comparisons, tuples) is not an expression here, and so equal to nothing.
"""

from __future__ import annotations

import ast
import functools
import keyword
import re
from typing import Any

import sympy

from analyzer.rewards._common import limits
from analyzer.schema import Status, Unscored

# Blanks are those of Python's tokenizer: verl's grader reads no other, so a no-break space makes an answer wrong.
_BLANKS = " \t\f\r\n"
_LINE_END = re.compile("[\r\n]")
_TOKEN = re.compile(
    r"(?P<blanks>[ \t\f\r\n]*)(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]{1,3}(?!\w))?)"
    r"|(?P<name>[^\W\d_]\w*)|(?P<operator>\*\*|[-+*/^()!]))"
)
_BAD_NUMBER = re.compile(r"0[0-9xob]")
_FUNCTIONS = {"sqrt": sympy.sqrt, "ln": sympy.ln, "factorial": sympy.factorial}
_WHOLE = frozenset(("pi", "mu", "nu", "xi"))  # names of Greek letters, which are not split


class _NoExpression(ValueError):
    """Raised for a text that is not a plain expression."""


def differ_by_zero(left: str, right: str) -> bool:
    """Whether sympy simplifies the difference to 0; "^" is a power, and "2x", "2 sqrt 3" and "5!" are read.

    Raises Unscored(LIMIT) for what is too large to build.
    """
    try:
        # _parsed is remembered, since the ground truth comes again with every answer.
        return _is_zero(_parsed(left) - _parsed(right))
    except _NoExpression:
        return False
    except RecursionError:
        raise _over_limit("an expression that is too deep") from None


def _is_zero(difference: Any) -> bool:
    # simplify() takes milliseconds; a rational is zero or it is not.
    if difference.is_Rational:
        return bool(difference == 0)
    try:
        return bool(sympy.simplify(difference) == 0)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - of what it cannot simplify sympy raises anything
        return False


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    if text.lstrip().startswith("*"):  # markdown, which is not a power
        raise _NoExpression
    limits.check_answer(text)
    try:
        # Python parses, and nothing evaluates: only the node types below have a meaning.
        return _built(ast.parse(_python(text), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError) as error:
        raise _NoExpression(str(error)) from None


def _python(text: str) -> str:
    """The text as Python has it: with the "*" that people leave out, and names split into letters."""
    written: list[str] = []
    ends_value = applies = False  # whether a value ended just before, or a function waits for what it applies to
    at, text = 0, text.strip(_BLANKS)
    while at < len(text):
        token = _TOKEN.match(text, at)
        # No character is skipped: what is not understood makes the whole text no expression.
        if token is None or (token["number"] and _BAD_NUMBER.match(text, token.start("number"))):
            raise _NoExpression
        at, value = token.end(), token[0].strip()
        is_called = text.startswith("(", at)
        is_product = ends_value and (token["operator"] or "(") == "("
        # sympy sees a line end between what it would multiply or apply, and a blank before "!".
        if ((is_product or applies) and _LINE_END.search(token["blanks"])) or (value == "!" and token["blanks"]):
            raise _NoExpression
        if is_product:
            written.append("*")
        # sympy's implicit application: sqrt 2 is sqrt(2), of the one token that follows.
        if applies and value != "(":
            if token["operator"] or (token["name"] and len(value) > 1 and value != "pi"):
                raise _NoExpression
            written.append(f"({value})")
            applies, ends_value = False, True
            continue
        written.append(_written(token, value, is_called, written))
        applies = value in _FUNCTIONS
        ends_value = not applies and not (is_called and _is_function(value)) and token["operator"] in (None, ")", "!")
    return " ".join(written)


def _written(token: re.Match[str], value: str, is_called: bool, before: list[str]) -> str:
    if value == "!":
        if not before or not before[-1].isdigit():
            raise _NoExpression
        return f"factorial({before.pop()})"
    if token["name"] and value not in _FUNCTIONS and value not in _WHOLE and not (is_called and _is_function(value)):
        # parse_expr would give these names their meaning in sympy (S, N, E, lambda): as letters they would be
        # another thing.
        if keyword.iskeyword(value) or hasattr(sympy, value):
            raise _NoExpression
        return "*".join(re.findall(r"[0-9]+|.", value))  # xy^2 is x*y^2
    return "**" if value == "^" else value


def _is_function(name: str) -> bool:
    """Whether a name before "(" is a function: f(x) is one, ab(x) is a product."""
    return name in _FUNCTIONS or (len(name) == 1 and name.isalpha())


def _built(node: ast.expr) -> Any:
    match node:
        # bool is an int to Python, and True would be 1.
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return sympy.Integer(value)
        case ast.Constant(value=float() as value):
            return sympy.Float(value)
        case ast.Name(id=name) if name not in _FUNCTIONS:
            return sympy.pi if name == "pi" else sympy.Symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_built(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _built(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_built(left), operator, _built(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            value = _built(argument)
            if name == "factorial" and value > limits.FACTORIAL:
                raise _over_limit("a factorial that is too large")
            return _FUNCTIONS[name](value) if name in _FUNCTIONS else sympy.Function(name)(value)
    raise _NoExpression


def _combined(left: Any, operator: ast.operator, right: Any) -> Any:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow():
            return _power(left, right)
    raise _NoExpression


def _power(base: Any, exponent: Any) -> Any:
    bits = max(base.p.bit_length(), base.q.bit_length()) if base.is_Rational else 1
    # Here a second time after limits.py, which reads text: the parser may have put together what the text keeps
    # apart.
    if exponent.is_Number and abs(exponent) * bits > limits.INTEGER_BITS:
        raise _over_limit("a power that is too large")
    return base**exponent


def _over_limit(reason: str) -> Unscored:
    return Unscored(Status.LIMIT, f"the answer is over a limit of parsing: {reason}")
