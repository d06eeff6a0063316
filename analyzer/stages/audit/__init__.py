"""audit: is this reward right for this data?

Asked of a seeded sample of each data_source: does the ground truth, presented the way the reward expects an answer,
earn the maximum; does another problem's ground truth earn less; where few responses pass or hold an answer, would
another reward, or another spelling of the ground truths, do better (trials.py); and, where asked for, how often does a
second grader disagree with the reward on real responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.cache.verdicts import Verdicts
from analyzer.config import AnalysisSettings
from analyzer.difficulty.by_source import Tally, tally
from analyzer.errors import percentage
from analyzer.plan import Plan
from analyzer.rollouts.dataset import Dataset, Reader
from analyzer.rollouts.sources import SourceOfProblems
from analyzer.schema import RESPONSE
from analyzer.stages.audit.golds import GoldAudit, audit_golds
from analyzer.stages.audit.opinions import Disagreement, SecondOpinion, second_opinions
from analyzer.stages.audit.reading import AuditInput
from analyzer.stages.audit.trials import Trial, sentence, try_rewards
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

FOOLED_SHARE = 0.2  # warn above: two problems may have the same answer in words that `same` does not know
UNFOUND_SHARE = 0.05  # warn where no answer is found in more of the responses that were not cut off
LOW_PASS_RATE = 0.05  # ... and where less than this pass
MOSTLY = 0.5  # where more responses hold no answer, that says it all
MISSING_EXAMPLES = 2
ENDING = 120  # characters of a response in an example
DISAGREEMENT = 0.01  # warn where the disagreement rate is surely above


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

    cut: which responses were cut off, (rollouts,); None: unknown.
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
    opinions = second_opinions(given, merged.deciding, cut, strip) if settings.audit else {}
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


# ---------------------------------------------------------------- words


def warnings(names: Mapping[str, str], expects: Mapping[str, str], audit: Audit) -> list[str]:
    """What the audit found amiss, and what to do.

    names, expects: the reward of each data_source, and how it expects an answer to look.
    """
    found: list[str] = []
    for name, gold in audit.golds.items():
        if gold.failed:
            found.append(
                f"{name}: the ground truth, given as the answer, does not score full marks from reward {names[name]} "
                f"in {gold.failed} of {gold.asked} sampled problems ({gold.example}): correct answers to such problems "
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
                f"no answer was found in {percentage(count.unfound_share)} of the responses of {name}{aside}, which "
                f"count as "
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
                f"sampled rollouts of {name} (95 % interval {percentage(opinion.low, 1)} to "
                f"{percentage(opinion.high, 1)}): look at the "
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
