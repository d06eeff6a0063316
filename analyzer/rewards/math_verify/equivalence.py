r"""Whether one of several candidates equals the ground truth, by Math-Verify 0.9.0 itself. For the child process alone.

The outcome is that of `verify(parse("$" + gold + "$"), parse(response))` for the same candidates in the same order.
Done another way for speed: what was parsed is remembered; ANTLR tries its SLL mode first, which finds the same tree as
its full mode, or none, in a fraction of the time, and looks ahead with tables of our own (lookahead.py); plain
numbers are made without sympy's parser; what is far apart in numbers is not simplified. Math-Verify's own timeouts are
off, since the child has a deadline. This module imports sympy, so workers must not import it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import sympy
from antlr4 import PredictionMode
from latex2sympy2_extended import convert_to_pct, normalize_latex
from latex2sympy2_extended.latex2sympy2 import PSParser, _Latex2Sympy, comma_number_regex
from latex2sympy2_extended.sets import FiniteSet
from math_verify import LatexExtractionConfig, verify
from math_verify.grader import should_treat_as_complex
from sympy import Expr, Float, Integer, Number, nan, zoo
from sympy.core.sympify import SympifyError
from sympy.parsing.sympy_parser import parse_expr

from analyzer.rewards._common import limits
from analyzer.rewards.math_verify.arithmetic import BLANKS
from analyzer.rewards.math_verify.candidates import EVERYTHING, EXPRESSION, NOT_PARSED, NUMBER, Candidate, candidates
from analyzer.rewards.math_verify.equations import relations_differ
from analyzer.rewards.math_verify.evaluation import surely_differ
from analyzer.rewards.math_verify.prediction import Predictor, Tables
from analyzer.rewards.math_verify.recipes import RECIPES, Search
from analyzer.schema import GoldError, Status, Unscored

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeouts are off
logging.getLogger("latex2sympy2_extended").setLevel(logging.ERROR)  # and that open-r1's `equations` is out of date

# candidates.py has opened boxes already, in linear time; Math-Verify's own way to do so is quadratic in their number.
_NORMALISATION = replace(LatexExtractionConfig().normalization_config, boxed="none")
_EQUALS_SIGN = re.compile(r"(?<![\\<!>])=")
_INTEGER = re.compile(r"0|[1-9][0-9]*")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]+")
# Commands after which white space matters: what they hold is one token, spaces and all, or an argument unbracketed.
_HOLDS_SPACE = re.compile(
    r"\\(?:text|math|operatorname|mbox|begin|variable|left|right|sum|prod|int|lim|acute|bar|overline|breve|check"
    r"|widecheck|d?dot|grave|hat|tilde|widetilde|vec|overrightarrow|bm|boldsymbol)"
)
# Tokens of the grammar that white space may split. Where one stands in the compact text, the text may have said another
# thing: `3 E2` is a product, `3E2` one number; `x^ {T}` a power, `x^{T}` a transpose; `5 \%` may be 5 and a sign.
_SPLIT_BY_SPACE = re.compile(r"\dE|\d\\?%|\^\{?(?:T|\\circ|\\degree|°)|\\\{\\\}")
_SPACE = re.compile(  # beside brackets, and between an operand and an operator, where no two become one token
    rf"(?<![\\{BLANKS}])[{BLANKS}]+(?=[{{}}()\[\],^_])|(?<=[{{}}()\[\],^_])[{BLANKS}]+|(?<==)[{BLANKS}]+(?=[-+])"
    rf"|(?<=[A-Za-z\d)}}\]])[{BLANKS}]+(?=[-+*/=<>|])|(?<=[-+*/=<>|])[{BLANKS}]+(?=[A-Za-z\d({{\[\\])"
)
_NUMBER_AND_LETTER = re.compile(rf"(?<=\d)[{BLANKS}]+(?=[A-Za-z])")
_BRACED_DIGIT = re.compile(r"(?<=[A-Za-z\d)}])\^\{(\d)\}(?=[-+*/=)\]},;a-df-zA-DF-Z\\]|$)")
# Forms, not answers: each goes through one part of the grammar, and has sympy import what it needs for it.
_USUAL = (
    *(r"\frac{1}{2}", r"-\frac{\sqrt{3}}{2} + 1", r"x^2 - 3x + 2 = 0", r"y = 2(x-1)^{2} - 3", r"12\pi", r"a_{10} = 3"),
    *(r"x \geq -2", r"1 < x < \frac{3}{2}", r"(-\infty, 2] \cup (3, \infty)", r"\{1, 2, 3\}", r"(1, -2)", "1, 2"),
    *(r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"50\%", r"\text{Friday}", r"\log_2 8", r"3 + 4i", r"30^\circ"),
)


class Parsed(NamedTuple):
    """What was made of the candidates: the first expression (a sympy object), and the first text that is not empty."""

    expression: Any = None
    text: str = ""


@functools.lru_cache(maxsize=256)
def gold_of(text: str, recipe: str = "default") -> Parsed:
    """A ground truth, parsed. Raises GoldError where it is over a limit, or where nothing is found in it."""
    # Before parsing, here and for answers: a bomb that is never parsed costs microseconds.
    limits.check_gold(text)
    form = RECIPES[recipe]
    try:
        gold = parsed(candidates(form.gold_text(text), form.gold), form.gold)
    except Unscored as error:
        raise GoldError(error.detail) from None
    if gold.expression is None and not gold.text:
        raise GoldError(f"Math-Verify finds nothing to compare with in the ground truth {text!r:.60}")
    # 12:00 is a ratio without a value to Math-Verify, which compares none with such: only the same text is equal.
    return gold._replace(expression=None) if gold.expression in (nan, zoo) else gold


def parsed(found: Iterable[Candidate], search: Search = EVERYTHING) -> Parsed:
    """Parse the candidates up to the first that can be parsed. Raises Unscored(LIMIT) at one that is over a limit."""
    # Math-Verify compares strings, too, and takes the first text that is not empty even where a later one parses.
    first = ""
    for candidate in found:
        if candidate.kind in NOT_PARSED:
            raise Unscored(Status.LIMIT, candidate.texts[0])
        for text in candidate.texts:
            limits.check_answer(text)
        try:
            expression, text = _parse(candidate, search)
        # Not the next candidate: the exception leaves Math-Verify's loop over all of them.
        except SympifyError:  # digits that are not 0-9 end Math-Verify's parsing of the whole response
            return Parsed()
        first = first or text
        if expression is not None:
            return Parsed(expression, first)
    return Parsed(None, first)


def equal(gold: Parsed, answer: Parsed) -> bool:
    """Whether the two are the same text or equal expressions. Raises what Math-Verify raises in comparing."""
    # The string comparison comes first there as well, so a gold that does not parse can still be earned.
    if answer.text and answer.text.strip() == gold.text.strip():
        return True
    if gold.expression is None or answer.expression is None:
        return False
    # Most wrong answers are numbers far from the gold, and sympy's simplify would take milliseconds to seconds
    # for each.
    if surely_differ(gold.expression, answer.expression) or relations_differ(gold.expression, answer.expression):
        return False
    # timeout_seconds=None: its timeout is signal.alarm, which is swallowed by any `except Exception` within sympy
    # and cannot end C code. raise_on_error: a failure must be a status here, and is False there.
    return bool(verify(gold.expression, answer.expression, timeout_seconds=None, raise_on_error=True))


def _parse(candidate: Candidate, search: Search) -> tuple[Any, str]:
    """A candidate as a sympy object, None where it does not parse, and as the text that Math-Verify shows for it."""
    # A per cent sign makes 50 % the product 50 * 1/100 unevaluated, so that both 50 and 0.5 are equal to it.
    if candidate.kind == NUMBER:
        text = candidate.texts[0]
        number = _plain_number(text)
        number = Number(text) if number is None else number
        return convert_to_pct(number) if candidate.percents[0] else number, text
    if candidate.kind == EXPRESSION:
        return _plain_expression(candidate.texts[0]), candidate.texts[0]
    texts = [_normalized(text, search) for text in candidate.texts]
    expressions = list(map(_latex, texts, candidate.percents))
    # One text that does not parse: Math-Verify falls back to the first alone.
    if len(texts) == 1 or any(expression is None for expression in expressions):
        return expressions[0], texts[0]
    members = (e.args if isinstance(e, FiniteSet) else (e,) for e in expressions)
    return FiniteSet(*(member for several in members for member in several)), " and ".join(texts)


@functools.lru_cache(maxsize=1024)
def _normalized(text: str, search: Search = EVERYTHING) -> str:
    normalisation = replace(
        _NORMALISATION, nits=search.repairs, malformed_operators=search.repairs, equations=search.last_side
    )
    return str(normalize_latex(text, normalisation))


@functools.lru_cache(maxsize=1024)
def _plain_expression(text: str) -> Any:
    """Digits and operators alone, which is all that is ever handed to parse_expr."""
    try:
        return parse_expr(text.replace("\n", " ").replace("^", "**"), evaluate=False)
    # Not "does not parse": the child reports it as `memory`, and is replaced.
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - it raises anything on text that is not an expression
        return None


def _latex(text: str, percent: bool) -> Any:
    """A LaTeX text as a sympy object, by its last side alone where it is a long equation that does not parse."""
    expression = _tree(_compact(text), should_treat_as_complex(text))
    # A list of equations, "x = 1, y = 2 = z", has no last side of the whole.
    if expression is None and "," not in text and ";" not in text:
        *sides, last = _EQUALS_SIGN.split(text)
        expression = _tree(_compact(last), should_treat_as_complex(last)) if len(sides) > 1 else None
    if not percent:
        return expression
    try:
        return convert_to_pct(expression)
    except Exception:  # noqa: BLE001 - of a set, say, which then counts as what does not parse
        return None


def _compact(text: str) -> str:
    """The text without what makes no difference to the parser, so that `x ^ { 2 }` and `x^2` are parsed once.

    White space goes only where no two tokens become one. The tokens for which that would take a lexer to know are few
    (see _SPLIT_BY_SPACE), and a text that holds one is returned as it stands. So is one that would read as a number
    with thousands separators: Math-Verify tells `5, 120` from it by the white space after the comma alone.
    """
    # As it stands: the price is a parse more, and never another answer.
    if _HOLDS_SPACE.search(text):
        return text
    compact = _NUMBER_AND_LETTER.sub("", _SPACE.sub("", text.strip(BLANKS)))
    compact = _BRACED_DIGIT.sub(r"^\1", compact)
    if _SPLIT_BY_SPACE.search(compact) or comma_number_regex.match(compact):
        return text
    return compact


@functools.lru_cache(maxsize=1024)
def _tree(text: str, is_complex: bool) -> Any:
    """A compact text as a sympy object, None where it does not parse.

    Whether its letters stand for complex numbers is said of the text as it was: `5 i` holds the word i, `5i` none.
    """
    if text.endswith("."):  # no token of the grammar
        return None
    # SLL and LL return the same tree wherever SLL meets no ambiguity (Parr et al. 2014), so a failure in SLL
    # without one is final; that saves the second parse of every text that is not LaTeX.
    for mode in (PredictionMode.SLL, PredictionMode.LL):
        reader = _Latex(mode, is_real=not is_complex)
        try:
            return reader.parse(text)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - it raises anything on what does not parse
            if not reader.predictor.met_ambiguity:  # full mode would do the same
                return None
    return None


def _plain_number(text: str) -> Any:
    """What Number(text) is, which has sympy's parser read the text (half a millisecond); None for what is not plain."""
    # Python's int() itself would take "1_000" and digits of other scripts.
    if _INTEGER.fullmatch(text):
        return Integer(int(text))
    return Float(text) if _DECIMAL.fullmatch(text) else None


# One per process, made before the fork, so that every child of a zygote shares it.
_tables = Tables.of(PSParser)


class _Latex(_Latex2Sympy):  # type: ignore[misc]
    """Math-Verify's parser, which looks ahead faster.

    In SLL mode ANTLR returns the tree that it would in full mode, or finds a syntax error.
    """

    def __init__(self, mode: Any, is_real: bool) -> None:
        super().__init__(is_real=is_real)
        self._mode = mode

    def create_parser(self, latex_str: str) -> Any:
        parser = super().create_parser(latex_str)
        self.predictor = Predictor.installed_in(parser, _tables)
        self.predictor.predictionMode = self._mode
        return parser

    def parse_number(self, text: str) -> Any:
        number = _plain_number(text)
        return super().parse_number(text) if number is None else number


_ALIKE = ((r"2(x+1)", r"2x+2"), (r"x = 1", r"2x = 2"))
"""Equal, but not at first sight: they go through simplify and solve."""
_UNUSED = {"sympy.physics.units": ("Quantity",), "sympy.tensor.tensor": ("TensExpr", "TensAdd")}
"""What sympy imports, in 0.17 s, to see that an expression holds none of it."""


def warm_up() -> None:
    """Use the parser and sympy once, before the child is forked: they import much of themselves when first used."""
    for name, classes in _UNUSED.items():
        _leave_out(name, classes)
    for text in _USUAL:
        expression = _tree(text, should_treat_as_complex(text))
        verify(expression, expression, timeout_seconds=None)
    for one, other in _ALIKE:
        verify(_tree(one, False), _tree(other, False), timeout_seconds=None)


def _leave_out(name: str, classes: Sequence[str]) -> None:
    """Have a module of sympy imported when more is asked of it than these classes, which no expression here is of.

    sympy's sums and `simplify` import it for a test with isinstance alone.
    """
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def from_the_real_one(attribute: str) -> Any:
        if attribute.startswith("__"):  # what looks through all modules asks for __file__ and the like
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    vars(stand_in).update({each: type(each, (Expr,), {}) for each in classes}, __getattr__=from_the_real_one)
    folders = [os.path.join(folder, *name.split(".")[1:]) for folder in sympy.__path__]
    if any(map(os.path.isdir, folders)):  # a package, whose own modules are to be found
        vars(stand_in).update(__path__=folders)
    sys.modules[name] = stand_in
    importlib.import_module(name.rpartition(".")[0])  # the package that it is in, which may import it
