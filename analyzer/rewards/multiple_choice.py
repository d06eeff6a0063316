r"""Multiple choice: the letter A-J that a response settles on, equal to the ground truth.

    "... so the answer is (C)."   with ground truth "C"   ->   1.0

An answer is, of whichever stands last, a box that holds a letter, `\boxed{C}` or `\boxed{\text{(C) } 12}`, or a phrase
that names one: "the answer is C", "**Answer:** (C)", "the correct option is C", "C is the correct answer",
"<answer>C</answer>". Without either, a last line that is nothing but a letter counts. Letters are capitals.

There is no random guess where nothing is found (MMLU-Pro's compute_accuracy.py draws a letter), and the last answer
counts where MMLU-Pro takes the first: a response that names one letter after another has answered once.
"""

from __future__ import annotations

import re
from typing import Any

from analyzer.rewards import Reward, register
from analyzer.rewards._common.boxed import BOX, closing_brace
from analyzer.rewards._common.gold import shown
from analyzer.rewards._common.places import conclusion
from analyzer.schema import GoldError, Score

ANSWERS = ("answer", "Answer", "ANSWER")
OPTIONS = ("option", "Option", "choice", "Choice")  # only "the correct option", not "another option is C"
LEFT = 50  # characters before a keyword in which "C is the correct" may stand

# Every quantifier is bounded, so that each keyword costs the same whatever stands around it.
_OPENING = r"(?:[*_\"'`$\[{(]|\\(?:text|textbf|mathrm|mathbf|mbox|bf)\s?\{|\\[(\[ ]|\s){0,8}"
_REASON = r"(?:because|since|as|due|given|based|which)\b"
_LETTER = (  # "A gas" and "I think" are no choices: the letter begins a clause, unless a reason follows it
    rf"(?P<letter>[B-HJ]|[AI](?!\s(?!{_REASON})[a-z]))(?![\w'’-]|\s?[=+^]|\s[-−]\s?[A-Z]\b)"
)
_ANOTHER = r"[(*\[]{0,3}(?:[A-HJ]|I(?!\s[a-z]))(?![\w'’])"
_MORE = (  # "A or B", "A, B and C", "A + B": several letters are no answer; "B, A is wrong" is one
    r"(?P<more>[)\]*}]{0,4}\s?(?:[+=]|(?:and|or|&|/)\s?" + _ANOTHER + r"|"
    r",\s?(?:and\s|or\s)?" + _ANOTHER + r"[)\]}*.]{0,4}\s?(?:,|/|&|and\b|or\b|\n|$)))?"
)
_VERB = r"(?:(?:is|was|would be|should be|must be|will be)\b|[:：=>→–—-]|->)"
_FILLER = (
    r"(?:(?:therefore|thus|clearly|most likely|likely|probably|definitely|simply|indeed|the|correct|final|"
    r"option|choice|letter|answer|Option|Choice|Letter)\b[\s:,*]{1,4}){0,4}"
)
NAMED_AFTER = re.compile(
    r"[*_\"']{0,3}\s{0,3}(?:(?:choice|option|letter)\s)?(?:(?:to|for) (?:the|this) question\s)?"
    rf"{_VERB}[\s:*_]{{0,8}}{_FILLER}{_OPENING}{_LETTER}{_MORE}"
)
NAMED_BEFORE = re.compile(
    r"(?<![\w'’])(?P<letter>[A-J])[)*]{0,4}\s(?:is|must be|would be|should be)\s(?:clearly |therefore |thus )?"
    r"the (?:only |single |most |one )?(?:correct|right|best|final|appropriate|accurate|likely|true)\s$"
)
CHOSEN = re.compile(r"(?i)\b(?:correct|right|best|final|appropriate|accurate|likely|probable|closest|answer|my)\s$")
BOXED_LETTER = re.compile(rf"{_OPENING}{_LETTER}(?=[)\]}}.:]|[\s$*]{{0,4}}$){_MORE}")
LETTER_LINE = re.compile(
    r"[\s*_#>`$\"'(\[-]{0,6}(?:option |choice |letter )?\(?(?P<letter>[A-J])[)\]}.:*_`$\"'\s]{0,6}"
)
OPTION_LINE = re.compile(r"[\s*(]{0,4}(?P<letter>[A-J])[).:]\*{0,2}\s")
GOLD = re.compile(r"\(?([A-J])\)?\.?")


@register
class MultipleChoice(Reward):
    """1.0 where the last letter that the response names as its answer is the ground truth, else 0.0."""

    name = "multiple_choice"
    data_sources = ("TIGER-Lab/MMLU-Pro",)
    expects = 'a phrase "the answer is (letter)" or a box with a letter'

    def extract(self, response: str) -> str | None:
        text = conclusion(response)
        place, letter = _last_box(text)
        for keyword in ANSWERS + OPTIONS:
            place, letter = max((place, letter), _last_named(text, keyword, place))
        return letter or (_last_line(text) if place < 0 else None)

    def grade(self, answer: str | None, ground_truth: Any) -> Score:
        return Score(1.0 if answer == letter_gold(ground_truth) else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        letter_gold(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return f"The answer is ({letter_gold(ground_truth)})."


def letter_gold(ground_truth: Any) -> str:
    """The letter of a ground truth "C", "(C)" or "C.". Raises GoldError for anything else: it would never be equal."""
    match = GOLD.fullmatch(ground_truth.strip()) if isinstance(ground_truth, str) else None
    if match is None:
        raise GoldError(f"the ground truth must be a letter A-J, not {shown(ground_truth)}")
    return match[1]


NOWHERE = (-1, "")
"""No answer found. Found ones are (place in the text, letter), the letter "" where several are named at once."""


def _last_box(text: str) -> tuple[int, str]:
    start = text.rfind(BOX)
    close = closing_brace(text, start) if start >= 0 else -1
    match = BOXED_LETTER.match(text[start + len(BOX) : close]) if close >= 0 else None
    return (start, _letter(match)) if match else NOWHERE


def _last_named(text: str, keyword: str, after: int) -> tuple[int, str]:
    """The last phrase with the keyword that names a letter, if it stands beyond `after`."""
    start = text.rfind(keyword)
    while start > after:
        before = text[max(0, start - LEFT) : start]
        if before[-1:] != "/" and not before[-1:].isalpha() and (keyword in ANSWERS or CHOSEN.search(before)):
            if match := NAMED_AFTER.match(text, start + len(keyword)):
                return start, _letter(match)
            if match := NAMED_BEFORE.search(before):
                return start, match["letter"]
        start = text.rfind(keyword, 0, start)
    return NOWHERE


def _letter(match: re.Match[str]) -> str:
    return "" if match["more"] else match["letter"]


def _last_line(text: str) -> str | None:
    """The letter that the last line consists of, or that begins the only line, "B. Paris"."""
    lines = text.strip().rsplit("\n", 2)
    match = LETTER_LINE.fullmatch(lines[-1])
    if len(lines) == 1:
        match = match or OPTION_LINE.match(lines[-1])
    elif OPTION_LINE.match(lines[-2]):
        return None  # a list of the options that was cut off
    return match["letter"] if match else None
