"""What in a response may be its answer: as Math-Verify's own patterns find it, in time that grows with the length."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from latex2sympy2_extended import normalize_latex
from math_verify import ExprExtractionConfig, LatexExtractionConfig
from math_verify.parser import get_extraction_regexes

from analyzer.rewards.math_verify import equivalence, latex_spans
from analyzer.rewards.math_verify.candidates import EXPRESSION, LATEX, NUMBER, REFUSED, Candidate, candidates, in_boxes
from analyzer.rewards.math_verify.latex_spans import LatexText
from analyzer.rewards.math_verify.reward import MathVerify
from analyzer.schema import Status, Unscored

EXAMPLES = settings().max_examples  # of the profile, see tests/conftest.py
REWARD = MathVerify()
LATEX_CONFIG = LatexExtractionConfig()
NORMALISATION = LATEX_CONFIG.normalization_config
PATTERNS = sorted(
    (
        (priority, pattern, config is LATEX_CONFIG)
        for patterns, config in get_extraction_regexes([LATEX_CONFIG, ExprExtractionConfig()])
        for pattern, priority in patterns
    ),
    key=lambda pattern: pattern[0],
)

pieces = st.lists(
    st.sampled_from(
        [
            *("answer", "Answer: ", "final answer", "final answer is", " is", " is: ", " I hope", ". I hope", "\n"),
            *("$", "$$", "\\$", "\\[", "\\]", "\\(", "\\)", " [", "] ", "\\boxed{", "\\boxed{7}", "}", "{", "\\"),
            *("1", "12", "-3", "1,000", "2.5", ".5", "3+4", "(2)*3", "\\frac{1}{2}", "-\\frac{3}{4}", "x", "٣", "é"),
            *(" ", "  ", "=", " = ", "==", ",", ", ", " and ", ", or ", ".", ":", "**", "€", "%", "\\%", " percent"),
        ]
    ),
    max_size=24,
).map("".join)


def by_the_package(text: str) -> list[Candidate]:
    """Its matches in the order in which it tries them, LaTeX normalized, up to the first number."""
    found = []
    for _, group in itertools.groupby(PATTERNS, key=lambda pattern: pattern[0]):
        matches = [(match, is_latex) for _, pattern, is_latex in group for match in pattern.finditer(text)]
        for match, is_latex in sorted(matches, key=lambda one: (-one[0].end(), one[0].start())):
            groups = match.groupdict()
            found.append(latex(groups) if is_latex else plain(groups))
            if found[-1].kind == NUMBER:
                return found
    return found


def latex(groups: dict[str, str | None]) -> Candidate:
    there = [(name, text) for name, text in groups.items() if "_latex" in name and text]
    whole_box = replace(NORMALISATION, boxed="last")
    texts = (normalize_latex(text, whole_box if name == "first_latexBoxed" else NORMALISATION) for name, text in there)
    percents = (bool(groups.get(f"{name.partition('_')[0]}_percent")) for name, _ in there)
    return Candidate(LATEX, tuple(texts), tuple(percents))


def plain(groups: dict[str, str | None]) -> Candidate:
    integer = next((text for name, text in groups.items() if name.startswith("integer") and text), "")
    decimal = next((text for name, text in groups.items() if name.startswith("decimal") and text), "")
    if not integer and not decimal:
        return Candidate(EXPRESSION, (groups["expr"] or "",), (False,))
    digits = integer.replace(",", "").replace(" ", "").lstrip("0") or "0"
    return Candidate(NUMBER, (digits + decimal.replace(",", "."),), (bool(groups.get("percent")),))


# The usual end of a response, for which there is a short cut, and what is nearly such an end.
ends = st.tuples(
    pieces,
    st.sampled_from(["The final answer is ", "final answer is: ", "Final answer  is\n", "final answer: is "]),
    st.sampled_from(["$", "$$", "\\(", "\\[ a final answer is \\[", "\\$"]),
    pieces | st.sampled_from(["\\boxed{10}", "\\boxed{ }", "x is 3+4", "5 is 7", "\\boxed{\\boxed{1}}", "1$ and $2"]),
    st.sampled_from(["$", "$$", "\\)", "\\]", "\\$", "$, $3$", "$ %"]),
    st.sampled_from(["", ".", ". ", ".\n", " \n.", "}", " 1", ". I hope", " percent"]),
).map("".join)


@settings(max_examples=4 * EXAMPLES)
@given(pieces | ends)
@example("\\[\\boxed{4} so the final answer is \\[\\boxed{5}\\]")
@example("The final answer is $1$ or \\boxed{2}.")
@example("The final answer is $1$. It is 2.")
@example("The final answer is $x$. The final answer is $y$.")
@example("The final answer is $\\boxed{1}$ and $\\boxed{2}$.")
@example("The final answer is $x is 3+4$.")
def test_candidates_are_what_the_patterns_of_math_verify_find_in_their_order(text: str) -> None:
    ours = [
        one._replace(texts=tuple(map(equivalence._normalized, one.texts))) if one.kind == LATEX else one
        for one in candidates(text)
    ]
    assert ours == by_the_package(text)


lines = st.lists(
    st.tuples(
        pieces,
        st.sampled_from(
            [
                *("so.\n", "is:\n", '",\n', "x\n", "and\n", "percent\n", "1.\n", "$\n", "\n"),
                *("\\(1\\).\n", "\\(1\\)\n", "\\[2\\]\n1", "\\]\nor", "\\)\n\n-", "\\]:\n", "\\)\n and ", "\\]\nSo "),
                *("so ", "is, ", "if [", "of] ", "is: ", "so \\(", "\\) so. "),
            ]
        ),
    ).map("".join),
    max_size=6,
).map("".join)


@settings(max_examples=4 * EXAMPLES)
@given(lines, st.integers(1, 5))
def test_candidates_are_the_same_where_the_text_is_searched_part_by_part(text: str, tail: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latex_spans, "TAIL", tail)
        in_parts = list(candidates(text))
        patch.setattr(latex_spans, "TAIL", len(text))
        assert in_parts == list(candidates(text))


def test_a_long_text_is_searched_from_its_last_lines() -> None:
    text = "The sum of $1$ and $2$ is six.\n" * 40
    assert next(LatexText(text).breaks()) > len(text) - 2 * latex_spans.TAIL
    assert list(LatexText("$$" + text).breaks()) == [0]
    assert list(LatexText("\\[" + text).breaks()) == [0]


# ---------------------------------------------------------------- linear time

LINEAR = [
    *("answer", "answer ", "Answer: ", "answer is", "final answer is ", "final answer is is is ", "answer: =1="),
    *("answer = ", "answer $", "answer: $", "answer \\[", "final answer is \\[", "final answer is $1$, ", "é answer "),
    *("$", "$$ ", "\\$", "$1$ and ", "1$", "\\[", "\\(", "\\(1\\)", " [", " [1] ", "\\frac{", "\\frac{1}{2}"),
    *("\\(\\x", "\\[\\\\", "\\\\[", "\\[1\\] or "),
    *("\\boxed{", "\\boxed{1}", "$\\boxed{1}", "$$\\boxed{$$", "\\boxed{1} and ", "}", "(", ")(", "a", " ", "\n"),
    *(" 1 ", "1 + 1 ", "1+", "=", "=1", "7", "1,000", "1,", "1%", "1 percent ", "**1", "I hope final answer is $1$"),
]
FORMS = ["{}", "{} so the final answer is $\\boxed{{1}}$. I hope", "answer: \\[{}\\] = 1", "final answer is {} = 1"]


@pytest.mark.parametrize("unit", LINEAR)
def test_eight_times_the_text_takes_about_eight_times_the_time(unit: str) -> None:
    """CPU time: quadratic work would take 64 times as much. Three attempts are for what else the machine does."""

    def seconds(form: str, size: int) -> float:
        response = form.format(unit * (size // len(unit)))
        began = time.process_time()
        answer = REWARD.extract(response)
        hash(answer)
        return time.process_time() - began

    for form in FORMS:
        # What is done at once needs no comparison: the bound is never below 0.01 s.
        large = seconds(form, 16_000)
        if large >= 0.01:
            bound = 24 * min(seconds(form, 2_000) for _ in range(3)) + 0.01
            assert large < bound or any(seconds(form, 16_000) < bound for _ in range(2)), form


def test_a_megabyte_of_answers_is_searched() -> None:
    response = "answer " * 142_000 + "\\boxed{1}"
    assert REWARD.extract(response) == (Candidate(LATEX, ("1",), (False,)),)


# ---------------------------------------------------------------- limits


def test_a_long_answer_and_many_candidates_are_refused_where_they_stand() -> None:
    long = REWARD.extract("$" + "x+" * 3000 + "x$ then $1$ and nothing more. \\boxed{" + "y" * 5000 + "}")
    assert long is not None
    assert long[0].kind == REFUSED
    many = REWARD.extract(" ".join(f"$f(x_{n})$." for n in range(100)))
    assert many is not None
    assert [candidate.kind for candidate in many] == [LATEX] * 32 + [REFUSED]


def test_a_response_of_more_than_a_million_characters_is_refused() -> None:
    with pytest.raises(Unscored) as refusal:
        REWARD.extract("5" * 1_000_001)
    assert refusal.value.status is Status.LIMIT


@pytest.mark.parametrize(
    ("text", "last", "content"),
    [
        ("\\boxed{1}", True, "1"),
        ("\\boxed{1}, \\boxed{2}", True, "1,2"),
        ("\\boxed{1} is one root of it. The other root of it is found in the same way \\boxed{2}", True, "2"),
        ("\\boxed{1} is one root of it. The other root of it is found in the same way \\boxed{2}", False, "1,2"),
        ("\\boxed{\\frac{1}{2}}", True, "\\frac{1}{2}"),
        ("\\boxed{\\boxed{3}}", True, "3"),
        ("\\fbox{4}", True, "4"),
        ("no box", True, "no box"),
    ],
)
def test_boxes_are_opened(text: str, last: bool, content: str) -> None:
    assert in_boxes(text, last) == content
