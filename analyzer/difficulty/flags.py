"""flags: why a problem looks hard when it may not be.

Of 25 GSM8K problems that 22 models never solve, none is hard: 14 have a ground truth that the reward can never match
("2,125" with a comma), 11 are wrong or ambiguous. One flag a problem at most, the first that holds of FLAGS::

    gold_unearnable   the ground truth, presented to its own reward, earns less than the maximum
    suspect_gold      the policy agrees on another answer, and such agreement is right elsewhere
    cut_off           never solved, and half or more of the responses end at the token limit
    no_answer         never solved, and half or more of the responses hold no answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.difficulty.answers import Majorities
    from analyzer.schema import IntArray

    Bools = NDArray[np.bool_]

FLAGS = ("", "gold_unearnable", "suspect_gold", "cut_off", "no_answer")
"""The values of the column `flag`; a code is the position in this tuple."""
_, GOLD_UNEARNABLE, SUSPECT_GOLD, CUT_OFF, NO_ANSWER = FLAGS
RELIABLE = 0.9
"""Wrong majorities say something of ground truths only where majorities are right at least this often. A weak policy is
confidently wrong: on AIME it is right in half of its majorities, and every suspicion would be false."""


class Evidence(NamedTuple):
    """What is known of each problem; arrays of shape (problems,)."""

    passes: IntArray
    samples: IntArray  # scored rollouts
    rollouts: IntArray  # all of them
    unearnable: Bools  # its ground truth was presented and did not earn the maximum
    majorities: Majorities
    cut: IntArray  # rollouts that were cut off at their token limit
    unanswered: IntArray  # rollouts in which no answer was found
    source: NDArray[np.integer]  # the number of its data source


class Reliability(NamedTuple):
    """How far the majority of a policy can be trusted, of one data source."""

    majorities: int  # problems where half or more of the samples agree on an answer
    right: float  # problems of these whose majority passes (a tie counts in part)

    @property
    def share(self) -> float:
        """The share of majorities that are right, NaN where there is no majority."""
        return self.right / self.majorities if self.majorities else float("nan")

    @property
    def speaks(self) -> bool:
        """Whether wrong majorities may be compared with the ground truth."""
        return self.share >= RELIABLE  # NaN, of no majorities, is not


def reliabilities(evidence: Evidence, sources: int) -> list[Reliability]:
    """The reliability of each data source. Problems that cannot be passed say nothing and are left out."""
    # Two votes at least: one sample, or one of two, is not an agreement.
    agreed = (2 * evidence.majorities.votes >= evidence.samples) & (evidence.majorities.votes > 1)
    # Where the ground truth cannot be earned a right majority counts as wrong, and would make the policy look
    # unreliable.
    agreed &= (evidence.samples > 0) & ~evidence.unearnable
    count = np.bincount(evidence.source[agreed], minlength=sources)
    right = np.bincount(evidence.source[agreed], evidence.majorities.right[agreed], sources)
    return [Reliability(int(n), float(passing)) for n, passing in zip(count, right, strict=True)]


def suspicious(evidence: Evidence) -> Bools:
    """Half or more of the samples agree on one answer that does not pass, and at most one in eight passes."""
    scored = evidence.samples > 0
    # Two votes at least: one sample of two is not an agreement.
    agree = (2 * evidence.majorities.wrong_votes >= evidence.samples) & (evidence.majorities.wrong_votes > 1)
    found: Bools = scored & agree & (8 * evidence.passes <= evidence.samples)
    return found


def flags(evidence: Evidence, found: list[Reliability]) -> NDArray[np.int8]:
    """The flag of each problem as its position in FLAGS; shape (problems,). `found`: by data source."""
    speaks = np.array([one.speaks for one in found], bool)[evidence.source]
    never = evidence.passes == 0
    # All rollouts and not the scored ones: one that was cut off may be the one that could not be scored.
    rollouts = np.maximum(evidence.rollouts, 1)
    codes = np.zeros(len(evidence.passes), np.int8)
    # In reverse order of rank: what is written later is the flag that holds.
    codes[never & (2 * evidence.unanswered >= rollouts)] = FLAGS.index(NO_ANSWER)
    codes[never & (2 * evidence.cut >= rollouts)] = FLAGS.index(CUT_OFF)
    codes[suspicious(evidence) & speaks] = FLAGS.index(SUSPECT_GOLD)
    codes[evidence.unearnable] = FLAGS.index(GOLD_UNEARNABLE)
    return codes


def never_solved(evidence: Evidence, codes: NDArray[np.int8]) -> dict[str, int]:
    """Problems without a pass: how many, by their flag, and `hard` for those without one.

    A problem without scored rollouts counts where its ground truth is the reason.
    """
    never = (evidence.passes == 0) & ((evidence.samples > 0) | evidence.unearnable)
    counts = np.bincount(codes[never], minlength=len(FLAGS)).tolist()
    return {"problems": int(never.sum()), **dict(zip(FLAGS[1:], counts[1:], strict=True)), "hard": counts[0]}


def truncation_bias(tokens: NDArray[np.integer], passing: Bools, finished: Bools) -> tuple[float, float] | None:
    """(pass rate of the longest finished tenth, of all finished); None where no response finished. (rollouts,) each.

    Do long responses fail anyway? Where the two are close, responses that were cut off would have passed about as
    often as others, and count as wrong for being cut.
    """
    if not finished.any():
        return None
    # Of finished ones alone: those cut off are the ones whose pass rate is in question.
    lengths, passed = tokens[finished], passing[finished]
    longest = lengths >= np.quantile(lengths, 0.9, method="higher")
    return float(passed[longest].mean()), float(passed.mean())
