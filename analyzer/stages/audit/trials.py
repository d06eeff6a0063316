"""Trials: a sample of responses that earn little, or hold no answer, under their own reward and under others.

What a person would do by hand: put the ground truth beside an answer that was found, and ask whether the ground truth
is wrapped ('["5"]' where answers say 5) or another reward reads these responses better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from analyzer import rewards
from analyzer.errors import AnalyzerError, percentage
from analyzer.rewards import BaseReward, Reward, Where
from analyzer.rewards._common.answers import answer_text
from analyzer.rewards._common.spelling import unwrapped
from analyzer.rollouts.sources import SourceOfProblems
from analyzer.schema import DATA_IDX, RESPONSE, Problem, least_passing
from analyzer.scoring import Scorer
from analyzer.stages.audit.reading import AuditInput, problems_of, rows_of, short

PROBLEMS = 40  # problems of a data source that are looked at
EACH = 8  # responses of a problem
BETTER = 0.02  # another reward is named when it passes so many more of the responses
WRAPPED = 0.02  # a wrapping is named when so many of the responses would pass without it


class Trial(NamedTuple):
    """How sampled responses of one data source fare."""

    responses: int
    found: float  # share of the responses with an answer
    pass_rate: float
    data_idx: Any  # of an example: a response with an answer that does not pass
    ground_truth: str
    answer: str  # empty: no response has an answer and does not pass
    unwrapped: str  # what the ground truth of such a response says without its wrapping
    wrapped: float  # share of the responses that would pass without it
    other: str  # the reward that passes the most; empty where none passes more
    other_found: float
    other_pass_rate: float


class _Fares(NamedTuple):
    """What sampled responses earn under one reward; lists have an item for each response."""

    answers: list[Any]  # None: none was found
    passed: list[bool]
    unscored: int

    @property
    def found(self) -> float:
        return sum(answer is not None for answer in self.answers) / len(self.answers)

    @property
    def pass_rate(self) -> float:
        return sum(self.passed) / len(self.passed)


def try_rewards(
    given: AuditInput, of_problems: SourceOfProblems, names: Collection[str], strip: Callable[[str], str]
) -> dict[str, Trial]:
    """A trial of each of these data sources. `strip` takes special tokens out of a response."""
    rng = np.random.default_rng(given.seed + 2)
    trials = {}
    for name in sorted(names):
        reward = given.rewards[name]
        if isinstance(reward, Reward) and reward.needs_gold and reward.where is not Where.SANDBOX:
            rows = _sample(given, of_problems.codes == of_problems.names.index(name), rng)
            table = rows_of(given, rows, [DATA_IDX, RESPONSE])
            asked = [(ids, problem) for ids, problem in problems_of(given, table) if ids[1] is not None]
            if asked:  # responses that are null have a status, and nothing to try
                trials[name] = _trial(reward, [(ids[0], p, strip(ids[1])) for ids, p in asked], given)
    return trials


def _sample(given: AuditInput, wanted: Any, rng: np.random.Generator) -> list[int]:
    """The first rows of some runs of rows of the `wanted` problems, (problems,) bool: neighbours are read together."""
    numbering = given.numbering
    runs = np.flatnonzero((numbering.run_codes >= 0) & wanted[numbering.run_codes])
    chosen = np.sort(rng.choice(runs, min(PROBLEMS, len(runs)), replace=False))
    stops = numbering.run_stops()
    return [
        row
        for run in chosen.tolist()
        for row in range(int(numbering.run_starts[run]), min(int(numbering.run_starts[run]) + EACH, int(stops[run])))
    ]


def _trial(reward: Reward, sample: Sequence[tuple[Any, Problem, str]], given: AuditInput) -> Trial:
    own = _fares(reward, sample, given)
    failing = [at for at, passed in enumerate(own.passed) if not passed and own.answers[at] is not None]
    inner = _without_wrapping(reward, [sample[at] for at in failing], given)
    bare = next((text for text in inner if text), "")
    # An example that shows the wrapping, where there is one; else the first that fails.
    example = failing[inner.index(bare)] if failing else 0
    name, best = "", own
    for other in rewards.names():
        cls = rewards.find(other)
        # Only rewards that read a ground truth as text: the others would need options, a sandbox or another kind of
        # gold.
        if cls.tried_by_audit and other != str(reward):
            fares = _fares(cls(), sample, given)
            # A reward that fails on half of the responses was not made for them, however it fares on the rest.
            if fares.unscored <= len(sample) / 2 and sum(fares.passed) > sum(best.passed):
                name, best = other, fares
    # The best of several rewards beats the chosen one by chance now and then; so little is not worth a sentence.
    if best.pass_rate < own.pass_rate + BETTER:
        name, best = "", own
    data_idx, problem, _ = sample[example]
    return Trial(
        responses=len(sample),
        found=round(own.found, 6),
        pass_rate=round(own.pass_rate, 6),
        data_idx=data_idx,
        ground_truth=short(problem.ground_truth),
        answer=short(answer_text(own.answers[example])) if failing else "",
        unwrapped=bare,
        wrapped=round(sum(text != "" for text in inner) / len(sample), 6),
        other=name,
        other_found=round(best.found, 6),
        other_pass_rate=round(best.pass_rate, 6),
    )


def _fares(reward: BaseReward, sample: Sequence[tuple[Any, Problem, str]], given: AuditInput) -> _Fares:
    """Score the sample; what a reward refuses does not pass."""
    if not isinstance(reward, Reward):
        raise TypeError(f"{reward} does not extract answers")
    scorer = Scorer(reward, given.limits)
    fares = _Fares([], [], 0)
    unscored = 0
    try:
        for _, problem, response in sample:
            score = scorer.score(problem, [response])[0]
            unscored += score.reward is None
            fares.passed.append(score.reward is not None and score.reward >= least_passing(given.threshold))
            fares.answers.append(extracted(reward, response) if score.found else None)
    finally:
        scorer.close()
    return fares._replace(unscored=unscored)


def extracted(reward: BaseReward, response: str) -> Any:
    """What a reward extracts from a response; None where that fails, and where it extracts nothing."""
    if not isinstance(reward, Reward):
        return None
    try:
        return reward.extract(response)
    except AnalyzerError:
        raise
    except Exception:  # noqa: BLE001  # such a response has a status already
        return None


def _without_wrapping(reward: Reward, failing: Sequence[tuple[Any, Problem, str]], given: AuditInput) -> list[str]:
    """For each failing response its ground truth unwrapped, where the response would pass with that; else ""."""
    found = []
    scorer = Scorer(reward, given.limits)
    try:
        for _, problem, response in failing:
            passing = ""
            for inner in unwrapped(problem.ground_truth):
                score = scorer.score(problem._replace(ground_truth=inner, gold_text=None), [response])[0]
                if score.reward is not None and score.reward >= least_passing(given.threshold):
                    passing = inner
                    break
            found.append(passing)
    finally:
        scorer.close()
    return found


def sentence(trial: Trial, reward: str) -> str:
    """What the trial suggests, as sentences to follow a warning; empty where nothing is better."""
    text = ""
    if trial.wrapped >= WRAPPED:
        text += (
            f' Without its wrapping ("{trial.unwrapped}" for "{trial.ground_truth}") the ground truth would match in '
            f"{percentage(trial.wrapped)} of {trial.responses} sampled responses: rewrite the ground truths."
        )
    if trial.other:
        text += (
            f" On {trial.responses} sampled responses, {trial.other} finds an answer in "
            f"{percentage(trial.other_found)} of "
            f"them and gives {trial.other_pass_rate:.2f} where {reward} gives {trial.pass_rate:.2f}."
        )
    return text
