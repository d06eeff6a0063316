r"""How each framework calls Math-Verify: in what it looks for the ground truth, what of a response it takes, how.

    RECIPES["trl"].gold_text("\\frac{1}{2}")    ->   "\\frac{1}{2}", as it stands; the default puts it in $...$

Read in trl 1.16.0 (rewards/accuracy_rewards.py), open-r1 (src/open_r1/rewards.py at 1416fa0), verl 0.9.1
(utils/reward_score/math_verify.py) and verifiers 0.1 (rubrics/math_rubric.py), which prime-rl trains with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from analyzer.rewards._common.boxed import BOX, last_box

_THOUGHT = "</think>"


class Search(NamedTuple):
    """What counts as a candidate in a text, in which order they are tried, and how LaTeX is normalized."""

    numbers: bool = True  # numbers and plain expressions too, not LaTeX alone (ExprExtractionConfig)
    numbers_first: bool = False  # of a number and LaTeX that end at one place, try the number first
    boxed_first: bool = False  # boxes before what stands after "final answer is" (boxed_match_priority=0)
    anywhere: bool = True  # also what no box and no word like "answer" leads to (try_extract_without_anchor)
    first_only: bool = False  # the first candidate alone, whether it parses or not (extraction_mode="first_match")
    repairs: bool = True  # \frac12, \sqrt3 and .5 are mended before they are parsed (malformed_operators, nits)
    last_side: bool = False  # of a = b = c only c is parsed (equations)


class Recipe(NamedTuple):
    """One framework's call."""

    gold_form: str  # what the ground truth is put in, `{}` standing for it
    present_form: str  # a response that earns
    gold: Search = Search()
    answer: Search = Search()
    last_box: bool = False  # a response is what its last box holds, put in a box again; without one it earns nothing

    def gold_text(self, gold: str) -> str:
        """The text in which the ground truth is looked for."""
        return self.gold_form.replace("{}", gold, 1)

    def answer_text(self, response: str) -> str | None:
        """The text in which the answer is looked for; None if there is none. Linear time."""
        if not self.last_box:
            return response
        # What was thought does not count there; a response without the mark counts whole.
        box = last_box(response.rpartition(_THOUGHT)[2])
        return f"{BOX}{box}}}" if box else None


# What TRL and open-r1 pass as LatexExtractionConfig for the answer, in our terms.
_ANCHORED = Search(numbers=False, boxed_first=True, anywhere=False, first_only=True, repairs=False)

RECIPES: Mapping[str, Recipe] = {
    "default": Recipe("${}$", "${}$"),
    "trl": Recipe("{}", "\\boxed{{}}", answer=_ANCHORED),
    "open_r1": Recipe("{}", "\\boxed{{}}", gold=Search(first_only=True), answer=_ANCHORED._replace(last_side=True)),
    # verl wraps the gold in a box itself, and looks for it with LaTeX alone.
    "verl": Recipe("\\boxed{{}}", "\\boxed{{}}", gold=Search(numbers=False), answer=Search(numbers_first=True)),
    "boxed": Recipe("\\boxed{{}}", "\\boxed{{}}", last_box=True),
}
