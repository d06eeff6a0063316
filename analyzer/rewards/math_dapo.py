r"""DAPO and AIME: the last line "Answer: ..." of a response, equal to the ground truth after Minerva's normalisation.

    "... which gives 204.\nAnswer: $204$"   with ground truth "204"   ->   1.0, pred "204"

Without such a line, the last `\boxed{...}` counts, compared as it stands. The rule of verl 0.9.1,
utils/reward_score/math_dapo.py; the normalisation is that of Minerva (Lewkowycz et al. 2022, appendix D.1).
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from analyzer.rewards import Reward, register
from analyzer.rewards._common.boxed import last_box
from analyzer.rewards._common.gold import text_gold
from analyzer.schema import Score

WINDOW = 300  # characters at the end of a response in which the answer line must begin
BOX_WINDOW = 100  # and those in which the box must begin
ANSWER_LINE = re.compile(r"(?i)Answer\s*:\s*([^\n]+)")
NO_ANSWER = "[INVALID]"  # verl's prediction where it finds none


class Prediction(NamedTuple):
    """What a response answers: the text of its answer line, or of its box."""

    text: str
    boxed: bool = False


@register
class MathDapo(Reward):
    r"""1.0 where the prediction is the ground truth, else -1.0; the prediction is the further column `reward_pred`.

    The line is looked for in the last 300 characters, the box in the last 100, braces and all. A box never stands in
    for an answer line that is there, be it wrong. A box is compared without normalisation.
    """

    name = "math_dapo"
    data_sources = ("math", "math_dapo", "math_dapo_reasoning", "aime*")
    expects = 'a line "Answer: ..." near the end'
    tried_by_audit = True
    second_grader = "math_verify"

    def extract(self, response: str) -> Prediction | None:
        # verl cuts here "for efficiency", which decides: an answer line above the last 300 characters is not one.
        tail = response[-WINDOW:]
        lines = ANSWER_LINE.findall(tail)
        if lines and not ("[" in lines[-1] and normalise(lines[-1]) == NO_ANSWER):
            return Prediction(lines[-1])
        box = last_box(tail[-BOX_WINDOW:])
        return None if box is None else Prediction(box, boxed=True)

    def grade(self, answer: Prediction | None, ground_truth: Any) -> Score:
        gold = text_gold(ground_truth)
        # verl compares a box without Minerva's normalisation, so \boxed{1,000} is not 1000.
        if answer is not None and answer.boxed:
            pred, right = answer.text, answer.text == gold
        else:
            pred = NO_ANSWER if answer is None else normalise(answer.text)
            right = pred == _normalise_gold(gold)
        return Score(1.0 if right else -1.0, extra={"pred": pred})

    def check_gold(self, ground_truth: Any) -> None:
        text_gold(ground_truth)

    def present(self, ground_truth: Any) -> str:
        return "Answer: " + text_gold(ground_truth)


REPLACED = (
    *(("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text")),
    *((",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}")),
)
REMOVED = (
    *("square", "ways", "integers", "dollars", "mph", "inches", "hours", "km", "units", "\\ldots", "sue", "points"),
    *("feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students"),
    *("childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3"),
    *("\\text{\n}", "\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots"),
)
SHORT_FRACTION = re.compile(r"frac([^{])(.)")
SHORT_ROOT = re.compile(r"sqrt([^{])")


def normalise(text: str) -> str:
    """The canonical form of a final answer: what follows its last "=", without units, words, spaces and dollars.

    The order of the steps is part of the rule ("a " is removed before " " is). Linear in the length of the text.
    """
    text = text.rpartition("=")[2]
    for old, new in REPLACED:
        text = text.replace(old, new)
    for word in REMOVED:
        text = text.replace(word, "")
    if "$" in text:
        text = "\n".join(map(_first_formula, text.split("\n")))
    for command in ("\\text{", "\\textbf{", "\\overline{"):
        text = _unwrap(text, command)
    if "\\boxed{" in text:
        text = "\n".join(map(_unwrap_box, text.split("\n")))
    text = SHORT_FRACTION.sub(r"frac{\1}{\2}", text)
    text = SHORT_ROOT.sub(r"sqrt{\1}", text)
    text = text.replace("$", "")
    # Commas go only where nothing but digits is left: (1,2) stays a pair.
    digits = text.replace(",", "")
    return (digits if digits.isdigit() else text).strip()


_normalise_gold = functools.lru_cache(maxsize=64)(normalise)


def _first_formula(line: str) -> str:
    """A line that holds `$...$` becomes the first such formula alone."""
    parts = line.split("$", 2)
    return f"${parts[1]}$" if len(parts) == 3 else line


def _unwrap(text: str, command: str) -> str:
    r"""Each `\text{...}` becomes what stands up to the next "}" of the same line; what has no such "}" stays."""
    done: list[str] = []
    copied = closed = 0
    start = text.find(command)
    while start >= 0:
        inner = start + len(command)
        if closed < inner:  # else the "}" found last is still ahead: searched once, not once per command
            closed = text.find("}", inner)
            if closed < 0:
                break
        newline = text.rfind("\n", inner, closed)
        if newline >= 0:
            start = text.find(command, newline)
            continue
        done += text[copied:start], text[inner:closed]
        copied = closed + 1
        start = text.find(command, copied)
    return "".join(done) + text[copied:]


def _unwrap_box(line: str) -> str:
    r"""`\boxed{...}` up to the last "}" of the line becomes its content."""
    before, box, after = line.partition("\\boxed{")
    inner, close, rest = after.rpartition("}")
    return before + inner + rest if box and close else line
