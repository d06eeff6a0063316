"""The short ways of the child: what is parsed once, and what is not simplified, is what Math-Verify would have said."""

from __future__ import annotations

from contextlib import suppress

import pytest
import sympy
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from analyzer.rewards._common import limits
from analyzer.rewards.math_verify import equivalence
from analyzer.rewards.math_verify.candidates import candidates
from analyzer.rewards.math_verify.evaluation import surely_differ
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import Unscored

EXAMPLES = settings().max_examples  # of the profile, see tests/conftest.py
x, y = sympy.Symbol("x", real=True), sympy.Symbol("y", real=True)

latex = st.lists(
    st.sampled_from(
        [
            *("x", "y", "ab", "e", "2", "13", "0.5", "+", "-", "=", "^", "_", "{", "}", "(", ")", ",", "<", "|", "!"),
            *(
                " ",
                "  ",
                "\n",
                "\u2028",
                "\x0c",
                "\\ ",
                "\\,",
                "^{2}",
                "^ { 3 }",
                "{ 4 }",
                "\\frac{1}{2}",
                "\\sqrt { 3 }",
                "\\pi",
                "\\cdot",
            ),
            *("\\sin ", "\\text{ cm }", "\\le", "\\{", "\\}", "/", "d x", "\\sum_{n=1}", "'"),
        ]
    ),
    max_size=8,
).map("".join)

numbers = st.integers(-30, 30)
atoms = st.one_of(
    numbers.map(str),
    st.sampled_from(["x", "y", "\\pi", "\\sqrt{2}", "\\frac{1}{3}", "0.5", "e", "25\\%", "\\sin(x)", "\\log_2 8"]),
    st.sampled_from(["f(x)", "f(2)", "g(x)", "f(x, 2)", "\\sec(x)", "\\infty", "\\sqrt{-3}", "i", "10^{7}", "12.5\\%"]),
    st.sampled_from(["5!", "x!", "\\binom{5}{2}", "\\binom{x}{2}", "\\ln(-2)", "(x+1)^{7}"]),
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map("({0[0]}{0[1]}{0[2]})".format),
        st.tuples(inner, inner).map("\\frac{{{0[0]}}}{{{0[1]}}}".format),
        st.tuples(inner, st.integers(1, 3)).map("({0[0]})^{{{0[1]}}}".format),
        st.tuples(inner, st.sampled_from(["-1", "-2", "0", "\\frac{1}{2}", "\\frac{1}{3}", "x"])).map(
            "({0[0]})^{{{0[1]}}}".format
        ),
    ),
    max_leaves=4,
)
sets = st.one_of(
    st.lists(expressions, min_size=1, max_size=3).map(", ".join),
    st.lists(expressions, min_size=1, max_size=3).map(lambda members: f"\\{{{', '.join(members)}\\}}"),
    st.tuples(expressions, expressions).map("({0[0]}, {0[1]})".format),
    st.tuples(expressions, expressions).map("[{0[0]}, {0[1]}]".format),
    st.tuples(st.sampled_from("xy"), expressions).map("{0[0]} = {0[1]}".format),
)


# What white space may make another thing of: lists and thousands, powers of ten, per cent, transposes, degrees, names.
short = st.lists(
    st.sampled_from(
        [
            *("1", "2", "12", "120", "5", "0", "000", "345", "3.5", "0.5", ".5", ",", ", ", " ,", " ", "  ", "\n"),
            *("+", "-", "- ", "+ ", "=", "= ", "/", "*", "<", "!", "|", "(", ")", "_", "E", "e", "x", "d", "i", "T"),
            *("%", " %", "\\%", "{", "}", "{ ", "} ", "^", "^ ", "^{2}", "^{ 3 }", "^{T}", "\\{", "\\}", "\\pi", "or"),
            *(
                "^\\circ",
                "^ \\circ",
                "^{\\circ}",
                "\\frac",
                "\\frac{1}{2}",
                "\\sqrt{4}",
                "\\cdot ",
                "\\left(",
                "\\right)",
            ),
            *("\\overline{12}", "\\bar {", "cm"),
        ]
    ),
    min_size=1,
    max_size=7,
).map("".join)


def ours(text: str) -> tuple[str | None, str]:
    """What the whole way from a response to an expression makes of LaTeX, in words that can be compared."""
    expression, shown = equivalence.parsed(candidates(f"${text}$"))
    return None if expression is None else sympy.srepr(expression), shown


def its_own(text: str) -> tuple[str | None, str]:
    """What Math-Verify's own `parse` makes of it."""
    found = parse(f"${text}$", parsing_timeout=None)
    expressions = [sympy.srepr(one) for one in found if not isinstance(one, str)]
    return next(iter(expressions), None), next((one for one in found if isinstance(one, str)), "")


@settings(max_examples=4 * EXAMPLES)
@given(latex | short)
@example("5, 120")
@example("- 5, 120")
@example("0, 345")
@example("3 E2")
@example("3E- 2")
@example("x^{2}\\%")
@example("T^ T")
@example("x^{ T }")
@example("30^ \\circ")
@example("\\{ \\}")
@example("5 i")
@example("\\bar  {12}")
@example("\\sqrt { 3 \u2028}")  # white space that the grammar does not pass over
@example("[x\u2028]")
@example("x\x0c - 1")
def test_what_is_parsed_after_every_shortening_is_what_math_verify_parses(text: str) -> None:
    assume(limits.refusal(text) is None)
    assert ours(text) == its_own(text)


@settings(max_examples=2 * EXAMPLES)
@given(short, short)
@example("5^{T}", "5")
@example("5^\\circ^{3}", "5^ \\circ^{3}")
@example("120, 5", "5, 120")
@example("5120", "5, 120")
@example("32, 349", "32349")
@example("3\x0b+4", "3+4")
@example("\\frac{1\x0c}{2}", "\\frac{1}{2}")
@example("30\x0c^\\circ", "30")
def test_what_is_settled_without_parsing_is_what_math_verify_says(text: str, other: str) -> None:
    reward = MathVerify()
    for gold in {other, text, text.replace(" ", "")} - {""}:
        with suppress(Unscored):
            score = reward.settle(reward.extract(f"${text}$"), gold)
            if score is not None:
                parsed = [parse(f"${one}$", parsing_timeout=None) for one in (gold, text)]
                assert bool(score.reward) == verify(*parsed, timeout_seconds=None), gold


@pytest.mark.parametrize(
    ("text", "compact"),
    [
        ("x ^ { 2 } - 3 x", "x^2-3x"),
        ("x^{2}3", "x^{2}3"),
        ("2^{3}!", "2^{3}!"),
        ("x|^{2}", "x|^{2}"),
        ("x^{2}e", "x^{2}e"),
        ("1 000", "1 000"),
        ("x \\ = 5", "x \\ =5"),
        ("\\text{ no } - 3", "\\text{ no } - 3"),
        ("\\bar  { x } - 3", "\\bar  { x } - 3"),
        ("5, 120", "5, 120"),
        ("(5, 120)", "(5,120)"),
        ("3 E2", "3 E2"),
        ("3 e + 2", "3e+2"),
        ("x^{2}\\%", "x^{2}\\%"),
        ("x^ T", "x^ T"),
        ("\\{ \\}", "\\{ \\}"),
        ("\\{ 1, 2\\}", "\\{1,2\\}"),
    ],
)
def test_only_what_is_safe_is_left_out(text: str, compact: str) -> None:
    assert equivalence._compact(text) == compact


@settings(max_examples=EXAMPLES // 4)  # some take Math-Verify a second
@given(expressions | sets, expressions | sets)
def test_what_surely_differs_is_not_equal_to_math_verify(gold: str, answer: str) -> None:
    # Parsed as the child does, which is as Math-Verify does, see above, in a fifth of its time.
    (first, _), (second, _) = (equivalence.parsed(candidates(f"${text}$")) for text in (gold, answer))
    if first is not None and second is not None and surely_differ(first, second):
        assert not verify(first, second, timeout_seconds=None)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (sympy.Integer(7), x**2 + 1),
        (sympy.Integer(7), sympy.Eq(x, 8)),
        (sympy.Eq(x, 7), sympy.Integer(8)),
        (x + y, x - y),
        (sympy.sqrt(2), sympy.Float("1.4")),
        (sympy.sin(x) ** 2 + sympy.cos(x) ** 2, sympy.Integer(2)),
        (sympy.Integer(5), sympy.Function("f")(x)),
        (sympy.Integer(1), sympy.FiniteSet(1, 2)),
        (sympy.FiniteSet(1, 2), sympy.Integer(1)),
        (sympy.Integer(1), sympy.Tuple(1, 1)),
        (sympy.Integer(1), sympy.Interval(0, 2)),
        (sympy.FiniteSet(3), sympy.Integer(1)),
        (sympy.FiniteSet(1, x), sympy.Integer(1)),
        (sympy.FiniteSet(x, y), sympy.Integer(1)),
        (sympy.Integer(10**6), sympy.Integer(5)),
        (sympy.Integer(125), (x + 1) ** 48),
        (sympy.Integer(-3), 1 / (sympy.cos(x) ** 2 * sympy.cos(y) ** 2)),
        (sympy.Integer(50), sympy.binomial(x, 2)),
        (sympy.Integer(1024), sympy.Mul(sympy.factorial(15, evaluate=False), 2, evaluate=False)),
        (sympy.Integer(5), sympy.oo),
        (sympy.Integer(5), sympy.Interval(-sympy.oo, 5)),
        (sympy.Integer(20), sympy.Mul(25, sympy.UnevaluatedExpr(sympy.Rational(1, 100)), evaluate=False)),
    ],
)
def test_what_is_far_apart_differs(gold: sympy.Basic, answer: sympy.Basic) -> None:
    assert surely_differ(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (sympy.sin(x) ** 2 + sympy.cos(x) ** 2, sympy.Integer(1)),
        (sympy.Integer(1), sympy.Add(10**20, 1, -(10**20), evaluate=False)),  # floats lose the 1
        (sympy.Integer(1), sympy.Pow(1 + sympy.Float("1e-17"), 10**17, evaluate=False)),  # floats lose the rest
        (sympy.sqrt(-1, evaluate=False), sympy.sqrt(-1 + (sympy.sqrt(2) ** 2 - 2), evaluate=False)),  # across a cut
        (sympy.tan(sympy.pi / 2, evaluate=False), sympy.Integer(7)),  # a pole
        (x, y),  # letters may spell a word
        (sympy.Integer(25), sympy.Mul(25, sympy.UnevaluatedExpr(sympy.Rational(1, 100)), evaluate=False)),  # 25 %
        (sympy.Function("f")(x), sympy.Function("f")(y - (y - x))),
        (sympy.Matrix([1, 2]), sympy.Matrix([1, 3])),
        (sympy.FiniteSet(1), sympy.Integer(1)),
        (sympy.Integer(0), sympy.Interval(sympy.Pow(0, 1, evaluate=False), 0)),  # the set of 0
        (sympy.FiniteSet(x), sympy.Integer(1)),  # a letter may spell a word
        (sympy.Integer(1), sympy.Union(sympy.Interval(0, 1), sympy.Interval(1, 2), evaluate=False)),
        (sympy.Integer(1), sympy.zoo),
        (sympy.Integer(1), sympy.nan),
        (sympy.oo, 2 * sympy.Mul(2, sympy.oo, evaluate=False)),
        (-sympy.oo, sympy.Mul(-2, sympy.oo, evaluate=False)),
        (sympy.Integer(7), sympy.Add(sympy.oo, 9, sympy.Mul(-1, sympy.oo, evaluate=False), evaluate=False)),
    ],
)
def test_where_it_is_not_sure_it_does_not_say(gold: sympy.Basic, answer: sympy.Basic) -> None:
    assert not surely_differ(gold, answer)
