"""golds: does a ground truth, presented as the answer, earn the maximum, and another problem's ground truth less?"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analyzer.cache.verdicts import Verdicts
from analyzer.rewards import Reward, Where
from analyzer.rewards._common.spelling import same
from analyzer.schema import DATA_IDX, NotPresentable, Problem, Score
from analyzer.scoring import Scorer, failure
from analyzer.stages.audit.reading import AuditInput, problems_of, rows_of, short

GOLD_SAMPLE = 256  # problems drawn in all
GOLDS = 24  # problems asked of each data_source at most
_AT_A_TIME = 32  # rows read together
FOOLERS = 3  # other problems' ground truths that a problem is given


class GoldAudit(NamedTuple):
    """What presented ground truths earned, of one data_source."""

    asked: int  # problems whose own ground truth was presented
    failed: int  # ... and did not earn the maximum
    others: int  # problems that were given another one's ground truth
    fooled: int  # ... and gave it the maximum
    example: str  # the first failure, for a person


def audit_golds(given: AuditInput, verdicts: Verdicts) -> dict[str, GoldAudit]:
    """Present a sample of ground truths to the reward of their data_source; only rewards in two steps are asked."""
    rng = np.random.default_rng(given.seed)
    starts = given.numbering.run_starts[given.numbering.run_codes >= 0]
    # Starts of runs: one row a problem, in the usual case. Sorted, so that each block is read once.
    rows = np.sort(rng.choice(starts, min(GOLD_SAMPLE, len(starts)), replace=False))
    found: dict[str, list[tuple[Any, Problem]]] = {}
    # Each row costs the decoding of its row group, and those at the start are mostly enough.
    parts = (rows[start : start + _AT_A_TIME].tolist() for start in range(0, len(rows), _AT_A_TIME))
    for ids, problem in (one for part in parts for one in problems_of(given, rows_of(given, part, [DATA_IDX]))):
        found.setdefault(problem.data_source, []).append((ids[0], problem))
        if all(len(found.get(name, ())) >= GOLDS for name in given.rewards):
            break
    audits = {}
    for name, reward in sorted(given.rewards.items()):
        # The ground truth of a reward for code is a list of tests: no response can be made of it.
        if name not in found or not isinstance(reward, Reward) or reward.where is Where.SANDBOX:
            continue
        if reward.needs_gold:
            with contextlib.closing(Scorer(reward, given.limits, verdicts.of)) as scorer:
                audit = _audit_with(scorer, reward, found[name][:GOLDS])
            if audit is not None:
                audits[name] = audit
    return audits


def _audit_with(scorer: Scorer, reward: Reward, asked: Sequence[tuple[Any, Problem]]) -> GoldAudit | None:
    failed = others = fooled = 0
    example = ""
    for number, (name, problem) in enumerate(asked):
        if not _presentable(reward, reward.gold_of(problem)):
            return None
        # Through the scorer and not by `grade`: the limits and the child process are part of what a correct response
        # meets.
        own = _earned(scorer, reward, problem, reward.gold_of(problem))
        if own.reward is None or own.reward < reward.maximum:
            failed += 1
            earned = own.status if own.reward is None else own.reward
            example = example or f'data_idx {name!r}, ground truth "{short(problem.ground_truth)}" earns {earned}'
        # Neighbours in the sample, so that each ground truth is tried on others about as often. Equal ones fool nobody.
        rest = [p for _, p in [*asked[number + 1 :], *asked[:number]]]
        foolers = list(itertools.islice((p for p in rest if not _same_gold(reward, p, problem)), FOOLERS))
        if foolers:
            others += 1
            given = [_earned(scorer, reward, problem, reward.gold_of(other)).reward for other in foolers]
            full = sum(earned is not None and earned >= reward.maximum for earned in given)
            fooled += 2 * full > len(given)  # one alone may be this problem's answer in words that `same` does not know
    return GoldAudit(len(asked), failed, others, fooled, example)


def _same_gold(reward: Reward, one: Problem, other: Problem) -> bool:
    """Whether two problems have one ground truth, spelt alike or presented alike: the letter B of other options."""
    gold, another = reward.gold_of(one), reward.gold_of(other)
    if same(gold, another):
        return True
    try:
        return reward.present(gold) == reward.present(another)
    except Exception:  # noqa: BLE001  # what cannot be presented earns nothing, see _earned
        return False


def _earned(scorer: Scorer, reward: Reward, problem: Problem, gold: Any) -> Score:
    """What a ground truth earns as the answer to a problem; no reward where it is none that can be presented."""
    try:
        answer = reward.present(gold)
    except Exception as error:  # noqa: BLE001  # a ground truth of another type must not end a run that is scored
        return failure(error)
    return scorer.score(problem, [answer])[0]


def _presentable(reward: Reward, gold: Any) -> bool:
    """Whether the reward can make up a response that gives a ground truth."""
    try:
        reward.present(gold)
    except NotPresentable:
        return False
    except Exception:  # noqa: BLE001  # a failure to count, see _earned
        return True
    return True
