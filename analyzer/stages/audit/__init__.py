"""audit: is this reward right for this data?

Asked of a seeded sample of each data_source: does the ground truth, presented the way the reward expects an answer,
earn the maximum; does another problem's ground truth earn less; where few responses pass or hold an answer, would
another reward, or another spelling of the ground truths, do better (trials.py); and, where asked for, how often does a
second grader disagree with the reward on real responses.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer import rewards
from analyzer.cache.verdicts import Verdicts
from analyzer.config import AnalysisSettings
from analyzer.difficulty.by_source import Tally, tally
from analyzer.difficulty.intervals import wilson
from analyzer.plan import Plan
from analyzer.rewards import BaseReward, Reward, Where
from analyzer.rewards._common.answers import answer_text
from analyzer.rewards._common.spelling import same
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.sources import SourceOfProblems
from analyzer.schema import DATA_IDX, RESPONSE, SAMPLE_IDX, NotPresentable, Problem, Score, least_passing
from analyzer.scoring import Scorer, failure
from analyzer.stages.audit.reading import SHOWN, AuditInput, problems_of, rows_of, short
from analyzer.stages.audit.trials import Trial, extracted, sentence, try_rewards
from analyzer.stages.merge import Merged
from analyzer.tokens import TokenCounter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.rollouts.numbering import Numbering

__all__ = [
    "Audit",
    "Disagreement",
    "GoldAudit",
    "SecondOpinion",
    "audit_golds",
    "audit_rewards",
    "is_low",
    "second_opinions",
    "warnings",
]

GOLD_SAMPLE = 256  # problems drawn in all
GOLDS = 24  # problems asked of each data_source at most
OPINIONS = 300  # rollouts drawn for the second grader
EXAMPLES = 10
FOOLED_SHARE = 0.2  # warn above: two problems may have the same answer in words that `same` does not know
FOOLERS = 3  # other problems' ground truths that a problem is given
UNFOUND_SHARE = 0.05  # warn where no answer is found in more of the responses that were not cut off
LOW_PASS_RATE = 0.05  # ... and where less than this pass
MOSTLY = 0.5  # where more responses hold no answer, that says it all
MISSING_EXAMPLES = 2
ENDING = 120  # characters of a response in an example
DISAGREEMENT = 0.01  # warn where the disagreement rate is surely above


class GoldAudit(NamedTuple):
    """What presented ground truths earned, of one data_source."""

    asked: int  # problems whose own ground truth was presented
    failed: int  # ... and did not earn the maximum
    others: int  # problems that were given another one's ground truth
    fooled: int  # ... and gave it the maximum
    example: str  # the first failure, for a person


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


class Audit(NamedTuple):
    """What the audit found, by data_source."""

    golds: dict[str, GoldAudit]
    opinions: dict[str, SecondOpinion]
    tallies: dict[str, Tally]
    trials: dict[str, Trial]
    missing: dict[str, tuple[str, ...]]  # the ends of two responses without an answer that were not cut off
    cut: Tally | None  # of all rollouts, where the input says which were cut off


def audit_rewards(
    settings: AnalysisSettings,
    plan: Plan,
    dataset: Dataset,
    numbering: Numbering,
    merged: Merged,
    *,
    cache_dir: str,
    cut: NDArray[np.bool_] | None,
) -> Audit:
    """Ask whether each reward is right for its data; only counts where the rewards came with the input.

    cut: which responses were cut off, (rollouts,); None: nobody knows.
    """
    of_rollouts: Any = {"rewards": merged.rewards, "passing": merged.passing, "found": merged.found, "cut": cut}
    # All rollouts as one data source, for the warning of truncation, which also holds for rewards that came with the
    # input.
    one_source = np.zeros(numbering.problems, np.int8)
    whole = None if cut is None else tally(one_source, 1, codes=merged.codes, **of_rollouts)[0]
    if plan.keep_rewards:
        return Audit({}, {}, {}, {}, {}, whole)
    of_problems = SourceOfProblems(merged.source_names, merged.source)
    counts = tally(merged.source, len(of_problems.names), codes=merged.codes, **of_rollouts)
    tallies = dict(zip(of_problems.names, counts, strict=True))
    # Not those cut off, which had no room for an answer: the question is whether the reward looks in the right place.
    missing = {
        name: _endings(dataset, numbering, _of_several_problems(_unfound(merged, cut, code), merged.codes))
        for code, (name, count) in enumerate(tallies.items())
        if count.unfound_share > UNFOUND_SHARE
    }
    if plan.gold_column is None:
        return Audit({}, {}, tallies, {}, missing, whole)
    # Of a sum of rewards the part that decides about pass or fail; format or length have no ground truth to present.
    deciders = {name: reward.decider for name, reward in plan.rewards.items()}
    given = AuditInput(
        dataset.files,
        numbering,
        plan.gold_column,
        plan.data_source or "",
        deciders,
        plan.limits,
        settings.seed,
        settings.pass_threshold,
    )
    strip = TokenCounter(plan.tokenizer).strip
    verdicts = Verdicts(cache_dir, plan.verdict_parts, plan.versions)
    golds = audit_golds(given, verdicts)
    verdicts.sync()
    trials = try_rewards(given, of_problems, [*missing, *(n for n, c in tallies.items() if is_low(c))], strip)
    opinions = {}
    if settings.audit:
        opinions = second_opinions(
            given,
            lambda rows: merged.deciding[numbering.positions(rows)],
            strip,
            lambda reward: rewards.build(reward.second_grader) if reward.second_grader else None,
            lambda rows: np.zeros(len(rows), dtype=bool) if cut is None else cut[numbering.positions(rows)],
        )
    return Audit(golds, opinions, tallies, trials, missing, whole)


def is_low(count: Tally) -> bool:
    """Whether so few rollouts of a data source pass that its reward may not fit."""
    return count.pass_rate is not None and count.pass_rate < LOW_PASS_RATE


def _unfound(merged: Merged, cut: NDArray[np.bool_] | None, source: int) -> NDArray[np.bool_]:
    """(rollouts,) those of a data source that are scored, not cut off, and without an answer."""
    unfound: NDArray[np.bool_] = ~merged.found & ~np.isnan(merged.rewards) & (merged.source == source)[merged.codes]
    return unfound if cut is None else unfound & ~cut


def _of_several_problems(rollouts: NDArray[np.bool_], codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """The places of a few of the rollouts, of as many problems as there are. Both are of shape (rollouts,)."""
    places = np.flatnonzero(rollouts)
    _, first = np.unique(codes[places], return_index=True)
    order = np.concatenate((np.sort(first), np.setdiff1d(np.arange(min(len(places), MISSING_EXAMPLES)), first)))
    return places[order[:MISSING_EXAMPLES].astype(np.int64)]


def _endings(dataset: Dataset, numbering: Numbering, positions: NDArray[np.int64]) -> tuple[str, ...]:
    """The last characters of some responses, each on one line. positions: places among the analyzed rows."""
    rows = np.flatnonzero(numbering.row_codes() >= 0)[positions]
    batches = Reader(dataset.files, [RESPONSE]).batches([(row, row + 1) for row in rows.tolist()])
    texts = [text for _, batch in batches for text in batch.column(0).to_pylist()]
    return tuple(" ".join(text.split())[-ENDING:] for text in texts)


# ---------------------------------------------------------------- ground truths


def audit_golds(given: AuditInput, verdicts: Verdicts) -> dict[str, GoldAudit]:
    """Present a sample of ground truths to the reward of their data_source; only rewards in two steps are asked."""
    rng = np.random.default_rng(given.seed)
    starts = given.numbering.run_starts[given.numbering.run_codes >= 0]
    # Starts of runs: one row a problem, in the usual case. Sorted, so that each block is read once.
    rows = np.sort(rng.choice(starts, min(GOLD_SAMPLE, len(starts)), replace=False))
    found: dict[str, list[tuple[Any, Problem]]] = {}
    table = rows_of(given, rows.tolist(), [DATA_IDX])
    for ids, problem in problems_of(given, table):
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


# ---------------------------------------------------------------- second opinions


def second_opinions(
    given: AuditInput,
    rewards_of: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    strip: Callable[[str], str],
    second_of: Callable[[BaseReward], BaseReward | None],
    cut_of: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> dict[str, SecondOpinion]:
    """Ask a second grader about a sample of rollouts.

    `rewards_of`: the rewards of global rows, NaN where not scored. `strip`: takes special tokens out of a response.
    `second_of`: the second grader for a reward, None if there is none. `cut_of`: which global rows were cut off.
    """
    seconds = {name: second for name, reward in given.rewards.items() if (second := second_of(reward)) is not None}
    rows = _sample_rows(given)
    table = rows_of(given, rows, [DATA_IDX, SAMPLE_IDX, RESPONSE])
    first = rewards_of(np.array(rows, dtype=np.int64)).tolist()
    cut = cut_of(np.array(rows, dtype=np.int64)).tolist()
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
                example = (float(first[at]), score.reward, short(problem.ground_truth), ending, *shown, cut[at])
                differing.setdefault(name, []).append(Disagreement(ids[0], ids[1], *example))
    finally:
        for scorer in scorers.values():
            scorer.close()
    opinions = {}
    for name, number in sorted(compared.items()):
        found = differing.get(name, [])
        # Wilson's interval holds near 0 and 1, where most rates of disagreement are; the normal one does not.
        low, high = wilson(len(found), number)
        opinions[name] = SecondOpinion(
            str(seconds[name]),
            number,
            len(found),
            low,
            high,
            tuple(found[:EXAMPLES]),
        )
    return opinions


def _sample_rows(given: AuditInput) -> list[int]:
    ranges = np.array(given.numbering.kept_ranges(), dtype=np.int64)
    sizes = ranges[:, 1] - ranges[:, 0]
    # A seed of its own for each sample: otherwise all of them would be of the same rows, and share their bad luck.
    rng = np.random.default_rng(given.seed + 1)
    chosen = np.sort(rng.choice(int(sizes.sum()), min(OPINIONS, int(sizes.sum())), replace=False))
    before = np.append(0, np.cumsum(sizes))
    at = np.searchsorted(before, chosen, side="right") - 1
    rows: list[int] = (ranges[at, 0] + chosen - before[at]).tolist()
    return rows


# ---------------------------------------------------------------- words


def warnings(names: Mapping[str, str], expects: Mapping[str, str], audit: Audit) -> list[str]:
    """What the audit found amiss, and what to do.

    names, expects: the reward of each data_source, and how it expects an answer to look.
    """
    found: list[str] = []
    for name, gold in audit.golds.items():
        if gold.failed:
            found.append(
                f"{name}: the ground truth, given as the answer, does not score full marks from reward "
                f"{names[name]} in "
                f"{gold.failed} of {gold.asked} sampled problems ({gold.example}): correct answers to such problems "
                "cannot be rewarded. Choose another reward with --reward_fn, or correct the ground truths."
            )
        if gold.fooled > FOOLED_SHARE * gold.others:
            found.append(
                f"{name}: another problem's ground truth scores full marks from reward {names[name]} in {gold.fooled} "
                f"of {gold.others} sampled problems: the reward cannot tell right answers from wrong ones."
            )
    for name, count in audit.tallies.items():
        trial = audit.trials.get(name)
        advice = sentence(trial, names[name]) if trial else ""
        if count.unfound_share > UNFOUND_SHARE:
            aside = " that were not cut off" if count.uncut < count.rollouts else ""
            found.append(
                f"no answer was found in {count.unfound_share:.0%} of the responses of {name}{aside}, which count as "
                f"wrong: reward {names[name]} looks for {expects[name]}, which is missing in "
                + "; ".join(f'"...{text}"' for text in audit.missing.get(name, ()))
                + f".{advice} If answers are written another way, choose a reward that reads them with --reward_fn."
            )
        if is_low(count) and max(count.unfound_share, count.cut_share) < MOSTLY:
            found.append(_low(name, audit.tallies, trial, "" if count.unfound_share > UNFOUND_SHARE else advice))
    for name, opinion in audit.opinions.items():
        if opinion.low > DISAGREEMENT:
            found.append(
                f"{opinion.grader} disagrees with reward {names[name]} on {opinion.disagreed} of {opinion.compared} "
                f"sampled rollouts of {name} (95 % interval {opinion.low:.1%} to {opinion.high:.1%}): look at the "
                "examples in summary.json before you train with this reward."
            )
    return found


def _low(name: str, tallies: Mapping[str, Tally], trial: Trial | None, advice: str) -> str:
    """The warning for a data source of which hardly any rollout passes."""
    where, rate = f"for {name}", f"pass rate {tallies[name].pass_rate or 0.0:.3f}"
    if len(tallies) == 1:
        where = "everywhere"
    elif rest := [count for other, count in tallies.items() if other != name and count.scored]:
        rate += f", {sum(c.passed for c in rest) / sum(c.scored for c in rest):.3f} in the other data sources"
    beside = ""
    if trial and trial.answer:
        empty = "" if trial.ground_truth else " (it is empty)"
        beside = (
            f' although answers were found: ground truth "{trial.ground_truth}"{empty} beside the answer '
            f'"{trial.answer}" (data_idx {trial.data_idx!r})'
        )
    return (
        f"rewards are low {where} ({rate}){beside}.{advice} Check that --reward_fn_key names the right ground truth "
        "and that the reward fits the data."
    )
