"""audit: is this reward right for this data?

Three questions, asked of a seeded sample of each data_source: does the ground truth, presented the way the reward
expects an answer, earn the maximum; does another problem's ground truth earn less; and, where asked for, how often
does a second grader disagree with the reward on real responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer import rewards
from analyzer.config import AnalysisSettings
from analyzer.plan import Plan
from analyzer.rewards import BaseReward, Reward, Where
from analyzer.rollouts import problems
from analyzer.rollouts.dataset import Dataset, InputFile, Reader
from analyzer.schema import DATA_IDX, DATA_SOURCE, PASS_THRESHOLD, RESPONSE, SAMPLE_IDX, Problem, Score
from analyzer.scoring import Scorer, failure
from analyzer.tokens import TokenCounter

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from analyzer.grading import Limits
    from analyzer.rollouts.numbering import Numbering

GOLD_SAMPLE = 256  # problems drawn in all
GOLDS = 24  # problems asked of each data_source at most
OPINIONS = 300  # rollouts drawn for the second grader
EXAMPLES = 10
FOOLED_SHARE = 0.2  # warn above: two problems may have the same answer in other words
DISAGREEMENT = 0.01  # warn where the disagreement rate is surely above
_SHOWN = 160  # characters of a text in an example


class Source(NamedTuple):
    """Where the audit reads, and what it asks."""

    files: tuple[InputFile, ...]
    numbering: Numbering
    gold_column: str
    data_source: str  # of data without that column
    rewards: Mapping[str, BaseReward]
    limits: Limits
    seed: int


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


def audit_rewards(
    settings: AnalysisSettings, plan: Plan, dataset: Dataset, numbering: Numbering, scored: NDArray[np.float64]
) -> Audit:
    """Ask whether each reward is right for its data; nothing where the rewards came with the input.

    scored: the rewards of the analysed rollouts, (rollouts,).
    """
    if plan.keep_rewards or plan.gold_column is None:
        return Audit({}, {})
    source = Source(
        dataset.files, numbering, plan.gold_column, plan.data_source or "", plan.rewards, plan.limits, settings.seed
    )
    golds = audit_golds(source)
    if not settings.audit:
        return Audit(golds, {})
    opinions = second_opinions(
        source,
        lambda rows: scored[numbering.positions(rows)],
        TokenCounter(plan.tokenizer).strip,
        lambda reward: rewards.build(reward.second_grader) if reward.second_grader else None,
    )
    return Audit(golds, opinions)


# ---------------------------------------------------------------- ground truths


def audit_golds(source: Source) -> dict[str, GoldAudit]:
    """Present a sample of ground truths to the reward of their data_source; only rewards in two steps are asked."""
    rng = np.random.default_rng(source.seed)
    starts = source.numbering.run_starts[source.numbering.run_codes >= 0]
    rows = np.sort(rng.choice(starts, min(GOLD_SAMPLE, len(starts)), replace=False))
    found: dict[str, list[tuple[Any, Problem]]] = {}
    table = _rows(source, rows.tolist(), [DATA_IDX])
    for ids, problem in _problems(source, table):
        found.setdefault(problem.data_source, []).append((ids[0], problem))
    return {
        name: _audit_source(reward, found[name][:GOLDS], source.limits)
        for name, reward in sorted(source.rewards.items())
        if name in found and isinstance(reward, Reward) and reward.where is not Where.SANDBOX
    }


def _audit_source(reward: Reward, asked: Sequence[tuple[Any, Problem]], limits: Limits) -> GoldAudit:
    scorer = Scorer(reward, limits)
    try:
        return _audit_with(scorer, reward, asked)
    finally:
        scorer.close()


def _audit_with(scorer: Scorer, reward: Reward, asked: Sequence[tuple[Any, Problem]]) -> GoldAudit:
    failed = others = fooled = 0
    example = ""
    for number, (name, problem) in enumerate(asked):
        own = _earned(scorer, reward, problem, problem.ground_truth)
        if own.reward is None or own.reward < reward.maximum:
            failed += 1
            earned = own.status if own.reward is None else own.reward
            example = example or f"data_idx {name!r}, ground truth {_short(problem.ground_truth)!r} earns {earned}"
        other = next((p for _, p in asked[number + 1 :] if _differs(p, problem)), None)
        if other is not None:
            others += 1
            given = _earned(scorer, reward, problem, other.ground_truth)
            fooled += given.reward is not None and given.reward >= reward.maximum
    return GoldAudit(len(asked), failed, others, fooled, example)


def _earned(scorer: Scorer, reward: Reward, problem: Problem, gold: Any) -> Score:
    """What a ground truth earns as the answer to a problem; no reward where it is none that can be presented."""
    try:
        answer = reward.present(gold)
    except Exception as error:  # noqa: BLE001  # a ground truth of another type must not end a run that is scored
        return failure(error)
    return scorer.score(problem, [answer])[0]


def _differs(one: Problem, other: Problem) -> bool:
    return bool(one.ground_truth != other.ground_truth)


# ---------------------------------------------------------------- second opinions


def second_opinions(
    source: Source,
    rewards_of: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    strip: Callable[[str], str],
    second_of: Callable[[BaseReward], BaseReward | None],
) -> dict[str, SecondOpinion]:
    """Ask a second grader about a sample of rollouts.

    `rewards_of`: the rewards of global rows, NaN where not scored. `strip`: takes special tokens out of a response.
    `second_of`: the second grader for a reward, None where there is none.
    """
    seconds = {name: second for name, reward in source.rewards.items() if (second := second_of(reward)) is not None}
    rows = _sample_rows(source)
    table = _rows(source, rows, [DATA_IDX, SAMPLE_IDX, RESPONSE])
    first = rewards_of(np.array(rows, dtype=np.int64)).tolist()
    compared: dict[str, int] = {}
    differing: dict[str, list[Disagreement]] = {}
    scorers = {name: Scorer(second, source.limits) for name, second in seconds.items()}
    try:
        for at, (ids, problem) in enumerate(_problems(source, table)):
            name = problem.data_source
            if name not in scorers or np.isnan(first[at]):
                continue
            score = scorers[name].score(problem, [strip(ids[2])])[0]
            if score.reward is None:
                continue
            compared[name] = compared.get(name, 0) + 1
            if (score.reward >= PASS_THRESHOLD) != (first[at] >= PASS_THRESHOLD):
                differing.setdefault(name, []).append(_disagreement(ids, problem, first[at], score))
    finally:
        for scorer in scorers.values():
            scorer.close()
    return {name: _opinion(str(seconds[name]), compared[name], differing.get(name, [])) for name in sorted(compared)}


def _opinion(grader: str, compared: int, differing: list[Disagreement]) -> SecondOpinion:
    from scipy.stats import binomtest

    interval = binomtest(len(differing), compared).proportion_ci(0.95, method="wilson")
    return SecondOpinion(
        grader, compared, len(differing), float(interval.low), float(interval.high), tuple(differing[:EXAMPLES])
    )


def _disagreement(ids: Sequence[Any], problem: Problem, reward: float, second: Score) -> Disagreement:
    ending = " ".join(ids[2].split())[-_SHOWN:]
    return Disagreement(ids[0], ids[1], float(reward), second.reward or 0.0, _short(problem.ground_truth), ending)


def _sample_rows(source: Source) -> list[int]:
    ranges = np.array(source.numbering.kept_ranges(), dtype=np.int64)
    sizes = ranges[:, 1] - ranges[:, 0]
    rng = np.random.default_rng(source.seed + 1)
    chosen = np.sort(rng.choice(int(sizes.sum()), min(OPINIONS, int(sizes.sum())), replace=False))
    before = np.append(0, np.cumsum(sizes))
    at = np.searchsorted(before, chosen, side="right") - 1
    rows: list[int] = (ranges[at, 0] + chosen - before[at]).tolist()
    return rows


# ---------------------------------------------------------------- words


def warnings(
    names: Mapping[str, str], golds: Mapping[str, GoldAudit], opinions: Mapping[str, SecondOpinion]
) -> list[str]:
    """What the audit found amiss, and what to do. `names`: the reward of each data_source."""
    found: list[str] = []
    for name, gold in golds.items():
        if gold.failed:
            found.append(
                f"the ground truth itself, given as the answer, does not earn the maximum of reward {names[name]} in "
                f"{gold.failed} of {gold.asked} sampled problems of {name} (e.g. {gold.example}): right answers to "
                "such problems cannot be rewarded; choose a reward that reads them with --reward_fn."
            )
        if gold.fooled > FOOLED_SHARE * gold.others:
            found.append(
                f"the ground truth of another problem earns the maximum of reward {names[name]} in {gold.fooled} of "
                f"{gold.others} sampled problems of {name}: the reward does not tell right answers from wrong ones."
            )
    for name, opinion in opinions.items():
        if opinion.low > DISAGREEMENT:
            found.append(
                f"{opinion.grader} disagrees with reward {names[name]} on {opinion.disagreed} of {opinion.compared} "
                f"sampled rollouts of {name} (95 % interval {opinion.low:.1%} to {opinion.high:.1%}): look at the "
                "examples in summary.json before you train on these rewards."
            )
    return found


# ---------------------------------------------------------------- reading


def _rows(source: Source, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Single rows, in order: these columns, the ground truth and, where there is one, the data_source."""
    import pyarrow as pa

    wanted = dict.fromkeys([*columns, source.gold_column])
    if not source.data_source:
        wanted[DATA_SOURCE] = None
    reader = Reader(source.files, list(wanted), held=True)
    batches = [batch for _, batch in reader.batches([(row, row + 1) for row in rows])]
    return pa.Table.from_batches(batches).combine_chunks().select(list(wanted))


def _problems(source: Source, table: pa.Table) -> list[tuple[tuple[Any, ...], Problem]]:
    """For each row the values of the first columns and the problem; rows are looked at one by one."""
    common = [name for name in (source.gold_column, DATA_SOURCE) if name in table.column_names]
    names = [name for name in table.column_names if name not in common]
    found = []
    for row in range(table.num_rows):
        one = table.slice(row, 1)
        groups = problems.group(one, common, source.gold_column, source.data_source)
        found.append((tuple(one[name][0].as_py() for name in names), groups.problems[0]))
    return found


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
