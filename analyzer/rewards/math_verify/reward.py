r"""Math-Verify: whether the answer in a response equals the ground truth as mathematics.

    "... so $x = \frac{2}{4}$."   with ground truth "0.5"   ->   1.0

Equal to `verify(parse("$" + gold + "$"), parse(response))` of Math-Verify 0.9.0 with its default settings, or to the
call of the framework that a recipe is named after (recipes.py), but for what a limit or a deadline stops. The worker
finds the candidates (candidates.py) and settles plain numbers (arithmetic.py); the rest goes to Math-Verify itself, in
the child process (equivalence.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean
from analyzer.rewards import Reward, Where, register
from analyzer.rewards._common import limits
from analyzer.rewards._common.gold import shown
from analyzer.rewards.math_verify.arithmetic import Value, read
from analyzer.rewards.math_verify.candidates import GUESSES, LATEX, NOT_PARSED, REFUSED, Candidate, candidates
from analyzer.rewards.math_verify.recipes import RECIPES
from analyzer.rewards.math_verify.settling import outcome, settled
from analyzer.schema import GoldError, Score, Status, Unscored

MOST_CANDIDATES = 32  # carried along while it is not plain that one of them parses

_COMMAND = re.compile(r"\\[A-Za-z]+")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
_SEPARATOR = re.compile(r"[,;]|and|or")
_ANY_NUMBER = re.compile(r"\\(?:pm|mp|cup|in|mid|mathbb|[a-z]*dots)(?![a-z])|\.\.\.|\|")
_LARGEST = 10**limits.DIGIT_RUN


@register
class MathVerify(Reward):
    r"""1.0 where the response's answer equals the ground truth by Math-Verify, else 0.0.

    The answer is what Math-Verify finds first in the whole response: after "final answer is", in a box, after "answer",
    or the last LaTeX, expression or number anywhere. A ground truth in which it finds nothing, or that is neither a
    string nor a number, is a gold error; one that is over a limit is compared as text.
    """

    name = "math_verify"
    where = Where.CHILD
    libraries = ("math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime")
    expects = "a \\boxed{...}, LaTeX or a number"

    def __init__(self, *, recipe: str = "default") -> None:
        """`recipe`: whose call of Math-Verify this is (see recipes.py). Raises ConfigError for an unknown one."""
        if not isinstance(recipe, str) or recipe not in RECIPES:
            hint = did_you_mean(str(recipe), RECIPES)
            raise ConfigError(f"math_verify has no recipe {recipe!r}{hint}; there are: {', '.join(RECIPES)}")
        self._name = recipe
        self._recipe = RECIPES[recipe]

    def load(self) -> None:
        from analyzer.rewards.math_verify import equivalence

        equivalence.warm_up()

    def extract(self, response: str) -> tuple[Candidate, ...] | None:
        """The candidates, up to the first that surely parses: where two responses give the same, so is their reward."""
        limits.check_response(response)
        text = self._recipe.answer_text(response)
        found: list[Candidate] = []
        for candidate in candidates(text or "", self._recipe.answer):
            # The same text is often both the box and what follows "answer is"; a second one could only parse as
            # the first did.
            if found and candidate in found:
                continue
            if max(map(len, candidate.texts)) > limits.CANDIDATE:
                reason = f"an answer of more than {limits.CANDIDATE:,} characters"
                kind, reason = (GUESSES, "a long list of numbers") if _is_long_list(candidate) else (REFUSED, reason)
                return (*found, Candidate(kind, (reason, *candidate.texts), (False,)))
            # Each may be parsed in the child. What a list of 32 things that are not numbers answers is not known,
            # and so not 0.
            if len(found) == MOST_CANDIDATES:
                reason = f"more than {MOST_CANDIDATES} candidates for the answer"
                return (*found, Candidate(REFUSED, (reason,), (False,)))
            found.append(candidate)
            # Cut here, equal answers of different responses are equal tuples and share one grade: on
            # math_l5_zeroeval 15,551 rollouts are 7,935 pairs of ground truth and answer.
            if _surely_parses(candidate):
                break
        return tuple(found) or None

    def grade(self, answer: Sequence[Sequence[Any]] | None, ground_truth: Any) -> Score:
        from analyzer.rewards.math_verify import equivalence

        gold = equivalence.gold_of(_text(ground_truth), self._name)
        # Settled again in the child where the worker could have: `grade` must be right by itself, whoever calls
        # it.
        settled = self.settle(answer, ground_truth)
        if settled is not None or answer is None:
            return settled or Score(0.0, found=False)
        found = equivalence.parsed(map(_candidate, answer), self._recipe.answer)
        return Score(1.0 if equivalence.equal(gold, found) else 0.0)

    def check_gold(self, ground_truth: Any) -> None:
        from analyzer.rewards.math_verify import equivalence

        gold = _text(ground_truth)
        if _refusal(gold) is None:  # else it is compared as text, see `settle`
            equivalence.gold_of(gold, self._name)

    def answer_text(self, answer: Sequence[Sequence[Any]] | None) -> str | None:
        """The first candidate, which wins unless it does not parse; of a refused answer, why it was refused."""
        return None if answer is None else ", ".join(_candidate(answer[0]).texts)

    def settle_gold(self, ground_truth: Any) -> bool:
        if not isinstance(ground_truth, str):
            return False
        return _refusal(ground_truth) is not None or _plain_gold(ground_truth, self._name) is not None

    def settle(self, answer: Sequence[Sequence[Any]] | None, ground_truth: Any) -> Score | None:
        """The score of no answer, of the ground truth word for word, and of plain arithmetic.

        Raises Unscored(GOLD_ERROR) for all but the same text where the ground truth is over a limit: whether another
        answer is equal to it is not known. Raises Unscored(LIMIT) for an answer over a limit.
        """
        gold = _text(ground_truth)
        # Not 0 for the other answers: whether 10^{10^{10}} is what was said cannot be known without parsing the
        # ground truth.
        if (reason := _refusal(gold)) is not None:
            shown = _shown(None if answer is None else _candidate(answer[0]))
            if shown and shown == _shown(_gold_candidate(gold, self._name)):
                return Score(1.0)
            detail = f"the ground truth is over a limit of parsing ({reason}), so only the same text scores"
            raise Unscored(Status.GOLD_ERROR, detail)
        if answer is None:
            return Score(0.0, found=False)
        first = _candidate(answer[0])
        if _is_long_list(first):
            # A set of as many numbers may be the right answer to "find all primes below 1,000".
            may_be_as_many = len(_SEPARATOR.findall(gold)) >= limits.LONG_LIST or _ANY_NUMBER.search(gold) is not None
            if not may_be_as_many:
                return Score(0.0)
        if first.kind in NOT_PARSED:
            raise Unscored(Status.LIMIT, first.texts[0])
        for text in first.texts:
            limits.check_answer(text)
        # Math-Verify compares text before it parses: the same text is right, if it survives the extraction as it
        # stands.
        if self._name == "default" and first == Candidate(LATEX, (gold,), (False,)) and _is_as_it_stands(gold):
            return Score(1.0)
        value = _plain_gold(gold, self._name)
        # A gold with "=" may be compared as a relation, whose other side would count.
        equal = None if value is None or "=" in gold else settled(value, map(_candidate, answer))
        return None if equal is None else Score(1.0 if equal else 0.0)

    def present(self, ground_truth: Any) -> str:
        return self._recipe.present_form.replace("{}", _text(ground_truth), 1)


def _candidate(fields: Sequence[Any]) -> Candidate:
    """A candidate, also where its tuples have become lists on the way to the child."""
    if isinstance(fields, Candidate):
        return fields
    # JSON has no tuples, and a Candidate must be hashable for the memo of parsed texts.
    kind, texts, percents = fields
    return Candidate(kind, tuple(texts), tuple(percents))


def _text(ground_truth: Any) -> str:
    """The ground truth as text. Raises GoldError for what is neither a string nor a finite number."""
    if isinstance(ground_truth, str):
        return ground_truth
    # type(), not isinstance: True would be the number 1.
    if type(ground_truth) in (int, float) and abs(ground_truth) < _LARGEST:
        return str(ground_truth)
    raise GoldError(f"the ground truth must be a string or a number, not {shown(ground_truth)}")


def _surely_parses(candidate: Candidate) -> bool:
    is_one = len(candidate.texts) == 1 and not candidate.percents[0]
    return is_one and isinstance(outcome(candidate.kind, candidate.texts[0]), Value)


@functools.lru_cache(maxsize=256)
def _plain_gold(gold: str, recipe: str) -> Value | None:
    """The value of a ground truth that surely parses, NaN where it is not known; None for any other."""
    if not _is_as_it_stands(gold) or _refusal(gold) is not None:
        return None
    if recipe == "default":
        return read(gold)
    candidate = _gold_candidate(gold, recipe)
    value = outcome(candidate.kind, candidate.texts[0]) if candidate and _surely_parses(candidate) else None
    return value if isinstance(value, Value) else None


def _gold_candidate(gold: str, recipe: str) -> Candidate | None:
    form = RECIPES[recipe]
    return next(candidates(form.gold_text(gold), form.gold), None)


_refusal = functools.lru_cache(maxsize=256)(limits.refusal)


def _shown(candidate: Candidate | None) -> tuple[str, ...]:
    """A candidate as text, whether it is parsed or not."""
    if candidate is None:
        return ()
    texts = candidate.texts[1:] if candidate.kind in NOT_PARSED else candidate.texts
    return tuple(text.strip() for text in texts)


def _is_as_it_stands(gold: str) -> bool:
    """Whether Math-Verify, given the ground truth between dollar signs, takes just that, and does not empty it."""
    # Whatever could start another environment, or an "answer" with a rank of its own, within the ground truth.
    no_other = not any(mark in gold for mark in ("$", "\n", "\\boxed", "\\fbox", "nswer", "NSWER")) and gold.isascii()
    return no_other and not gold.endswith("\\") and bool(_ALPHANUMERIC.search(_COMMAND.sub("", gold)))


def _is_long_list(candidate: Candidate) -> bool:
    return candidate.kind == GUESSES or (len(candidate.texts) == 1 and limits.is_long_list(candidate.texts[0]))
