"""What is plain without sympy: the last side of an equation that may parse or not, if it is wrong either way."""

from __future__ import annotations

import string
from fractions import Fraction

import pytest
from math_verify import parse, verify

from analyzer.rewards.math_verify.arithmetic import Value
from analyzer.rewards.math_verify.candidates import LATEX, NUMBER, Candidate
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.rewards.math_verify.settling import settled

NUMBER_12 = Candidate(NUMBER, ("12",), (False,))


def latex(text: str) -> Candidate:
    return Candidate(LATEX, (text,), (False,))


@pytest.mark.parametrize(
    ("text", "gold", "outcome"),
    [
        ("\\text{the total} = 3 \\cdot 4 = 12", 13, False),
        ("\\text{the total} = 3 \\cdot 4 = 12", 12, None),  # right if it parses
        ("\\text{either } x = 13", 13, None),
        ("f(x) \\equiv 3", 13, None),  # no last side
        ("\\{x = 5\\}", 13, None),  # whose last side is not plain
        ("\\frac{x = 5}{2}", 13, None),
    ],
)
def test_the_last_side_of_an_equation_may_prove_it_wrong(text: str, gold: int, outcome: bool | None) -> None:
    assert settled(Value(Fraction(gold)), [latex(text), NUMBER_12]) is outcome


FORMS = ["12{}_x", "12 {}_2", "5+{}_{{1}}", "12{}", "12x{}_2"]


@pytest.mark.parametrize("form", FORMS)
def test_a_number_beside_a_name_equals_what_math_verify_says(form: str) -> None:
    assert_equal_to_math_verify(form, "ecgxEX")  # Euler's number, units, and letters that are names alone


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_number_beside_any_letter_equals_what_math_verify_says(form: str) -> None:
    assert_equal_to_math_verify(form, string.ascii_letters)


def assert_equal_to_math_verify(form: str, letters: str) -> None:
    reward = MathVerify()
    gold = form[: 2 if form.startswith("12") else 1]
    for letter in letters:
        response = f"${form.format(letter)}$"
        itself = verify(
            parse(f"${gold}$", parsing_timeout=None), parse(response, parsing_timeout=None), timeout_seconds=None
        )
        assert reward.grade(reward.extract(response), gold).reward == float(itself), response
