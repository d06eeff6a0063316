"""opinions: how often a second grader disagrees with the reward about pass or fail, on real responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer import rewards
from analyzer.difficulty.intervals import wilson
from analyzer.rewards._common.answers import answer_text
from analyzer.schema import DATA_IDX, RESPONSE, SAMPLE_IDX, least_passing
from analyzer.scoring import Scorer
from analyzer.stages.audit.reading import SHOWN, AuditInput, problems_of, rows_of, short
from analyzer.stages.audit.trials import extracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPINIONS = 300  # rollouts drawn for the second grader
EXAMPLES = 10


class Disagreement(NamedTuple):
    """One rollout that the two graders see differently."""

    data_idx: Any
    sample_idx: int
    reward: float
    second: float
    ground_truth: str
    response: str  # its end
    answer: str | None  # what the reward extracted; None where it found nothing, or looks at the whole response
    second_answer: str | None  # what the second grader extracted
    cut_off: bool  # whether the response was cut off at its token limit


class SecondOpinion(NamedTuple):
    """How often a second grader disagrees about pass or fail, of one data_source."""

    grader: str
    compared: int  # rollouts that both could score
    disagreed: int
    low: float  # 95 % interval of the disagreement rate (Wilson 1927)
    high: float
    examples: tuple[Disagreement, ...]


def second_opinions(
    given: AuditInput, deciding: NDArray[np.floating], cut: NDArray[np.bool_] | None, strip: Callable[[str], str]
) -> dict[str, SecondOpinion]:
    """Ask the second grader of each reward about a sample of rollouts.

    deciding: what decides about pass or fail, (rollouts,), NaN where not scored. cut: which were cut off, (rollouts,);
    None: unknown. strip: takes special tokens out of a response.
    """
    seconds = {name: rewards.build(one.second_grader) for name, one in given.rewards.items() if one.second_grader}
    places, rows = _sample(given)
    table = rows_of(given, rows.tolist(), [DATA_IDX, SAMPLE_IDX, RESPONSE])
    first = deciding[places].tolist()
    is_cut: list[Any] = [False] * len(rows) if cut is None else cut[places].tolist()
    least = least_passing(given.threshold)
    compared: dict[str, int] = {}
    differing: dict[str, list[Disagreement]] = {}
    scorers = {name: Scorer(second, given.limits) for name, second in seconds.items()}
    try:
        for at, (ids, problem) in enumerate(problems_of(given, table)):
            name = problem.data_source
            if name not in scorers or np.isnan(first[at]):
                continue
            text = strip(ids[2])
            score = scorers[name].score(problem, [text])[0]
            if score.reward is None:
                continue
            compared[name] = compared.get(name, 0) + 1
            if (score.reward >= least) != (first[at] >= least):
                read = [answer_text(extracted(grader, text)) for grader in (given.rewards[name], seconds[name])]
                shown = [None if one is None else short(one) for one in read]
                ending = " ".join(ids[2].split())[-SHOWN:]
                example = (float(first[at]), score.reward, short(problem.ground_truth), ending, *shown, is_cut[at])
                differing.setdefault(name, []).append(Disagreement(ids[0], ids[1], *example))
    finally:
        for scorer in scorers.values():
            scorer.close()
    opinions = {}
    for name, number in sorted(compared.items()):
        found = differing.get(name, [])
        # Wilson's interval holds near 0 and 1, where most rates of disagreement are; the normal one does not.
        low, high = wilson(len(found), number)
        opinions[name] = SecondOpinion(str(seconds[name]), number, len(found), low, high, tuple(found[:EXAMPLES]))
    return opinions


def _sample(given: AuditInput) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rollouts drawn at random: their places among the analyzed rows, ascending, and their global row numbers."""
    ranges = np.array(given.numbering.kept_ranges(), dtype=np.int64)
    sizes = ranges[:, 1] - ranges[:, 0]
    # A seed of its own for each sample: otherwise all of them would be of the same rows, and share their bad luck.
    rng = np.random.default_rng(given.seed + 1)
    chosen = np.sort(rng.choice(int(sizes.sum()), min(OPINIONS, int(sizes.sum())), replace=False))
    before = np.append(0, np.cumsum(sizes))
    at = np.searchsorted(before, chosen, side="right") - 1
    return chosen, ranges[at, 0] + chosen - before[at]
