"""remarks: what a user should read of the difficulty, in sentences: how sure it is, why problems look hard.

3 problems were never solved: 1 cannot be solved: the ground truth fails its own reward, e.g. '2,125'; 2 may be hard
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.config import AnalysisSettings
from analyzer.difficulty import flags
from analyzer.errors import counted, percentage
from analyzer.schema import PASS_THRESHOLD, Metrics, least_passing
from analyzer.stages.merge import Merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray

BIASED_BY_CUTS = 0.05  # say so where cut responses could move more of the problems
_FEW_VALUES = 10  # different rewards: with more, the gaps between them are accidents


def remarks(settings: AnalysisSettings, report: Mapping[str, Any], merged: Merged, metrics: Metrics) -> list[str]:
    """The sentences, the most telling first. `report`: what was measured, as summary.json has it."""
    lines = [
        *_never_solved_line(report),
        *threshold_lines(settings.pass_threshold, merged.deciding),
        *rounding_lines(settings.pass_threshold, merged.deciding),
        *_guard_line(report["suspect_golds"]),
    ]
    share = report["informative"]["8"]
    if share["share"] is not None:
        lines.append(
            f"{percentage(share['share'])} of groups of 8 would have different rewards, and so a gradient "
            f"({percentage(share['low'])} to {percentage(share['high'])})"
            if share["high"] >= 0.005  # less reads as "<1% (0% to <1%)"
            else "fewer than 1% of groups of 8 would have different rewards: hardly any has a gradient"
        )
    if moved := report["unscored"]["problems_that_could_move"]:
        lines.append(
            f"{counted(moved, 'problem')} could be in another bucket if their unscored rollouts had been scored"
        )
    cut = report["truncation"]
    if cut and cut["problems_that_could_move"] > BIASED_BY_CUTS * len(metrics.passes):
        lines.append(
            f"{counted(cut['problems_that_could_move'], 'problem')} could be in another bucket if their cut-off "
            f"responses had passed; of the finished responses {percentage(cut['pass_rate_of_finished'] or 0)} pass, of "
            f"the longest tenth of them {percentage(cut['pass_rate_of_longest_finished_tenth'] or 0)}"
        )
    lines += [
        f"{seen['repeated']:,} of {counted(seen['long_responses'], 'long response')}{f' of {name}' if name else ''} "
        "duplicate another sample of the same problem (a reused seed, or temperature 0?): all estimates here are then "
        "too certain"
        for name, seen in report["duplicates"].items()
    ]
    if top := report["top_up"]:
        before, after = top["settled_before"], top["settled_after"]
        gain = (
            "would raise the share in the right bucket (solve rate below 25 %, 50 %, 75 %, or above) from "
            f"{percentage(before)} to {percentage(after)}"
            if before is not None
            else "would settle an unknown share of them, which one sample per problem does not tell"
        )
        lines.append(
            f"{counted(top['rollouts'], 'more rollout')} (+{top['rollouts'] / max(len(merged.codes), 1):.0%}) for "
            f"{counted(top['problems'], 'problem')} {gain}: topup.parquet"
        )
    return lines


def _never_solved_line(report: Mapping[str, Any]) -> list[str]:
    never = report["never_solved"]
    if not never["problems"]:
        return []
    parts = []
    if number := never[flags.GOLD_UNEARNABLE]:
        example = report["gold_unearnable"][0]["ground_truth"] if report["gold_unearnable"] else None
        parts.append(f"{number} cannot be solved: the ground truth fails its own reward, e.g. {example!r}")
    if number := never[flags.SUSPECT_GOLD]:
        parts.append(f"{counted(number, 'looks', 'look')} mislabeled (see flag in problem_metrics.parquet)")
    if number := never[flags.CUT_OFF]:
        parts.append(f"{counted(number, 'is', 'are')} mostly cut off at the token limit")
    if number := never[flags.NO_ANSWER]:
        parts.append(f"{number} mostly {'lacks' if number == 1 else 'lack'} an answer")
    if number := never["hard"]:
        parts.append(f"{number} may be hard")
    return [f"{counted(never['problems'], 'problem was', 'problems were')} never solved: {', '.join(parts)}"]


def _guard_line(suspects: Mapping[str, Any]) -> list[str]:
    return [
        f"the policy's confident answers are right in only {percentage(one['reliability'])} of the problems of "
        f"{name}: too few "
        "to judge ground truths by"
        for name, one in suspects["data_sources"].items()
        if not one["spoke"] and one["majorities"] and one["reliability"] is not None
    ]


def threshold_lines(threshold: float, rewards: NDArray[np.floating]) -> list[str]:
    """Where rewards vary and all lie on one side of the threshold, or are on a scale that it divides near its end."""
    low, high = float(np.fmin.reduce(rewards, initial=np.inf)), float(np.fmax.reduce(rewards, initial=-np.inf))
    least = least_passing(threshold)
    divides = low < least <= high
    # Infinite the other way round where nothing is scored.
    if low >= high or (divides and (high <= 1 or threshold != PASS_THRESHOLD)):
        return []
    scored = rewards[~np.isnan(rewards)].astype(np.float64)
    values = np.unique(scored)  # not above: sorting ten million rewards takes a second
    shown = " and ".join(f"{value:g}" for value in values) if len(values) == 2 else f"{low:g} to {high:g}"
    advice = f"give the reward from which a rollout passes with --pass_threshold, {_middle(values):g} for instance"
    if not divides:
        side, outcome = ("reach", "passes") if low >= least else ("stay below", "fails")
        all_of = f"and all {side} the pass threshold {threshold:g}, so every rollout {outcome}"
        return [f"rewards are {shown}, {all_of}: {advice}"]
    # 0 to 10, or accuracy plus bonuses: the threshold is of another scale, and a tenth of the points passes.
    passing = values[values >= least]
    if len(passing) == 1 or threshold - low > (high - low) / 3:
        return []
    share = float((scored >= least).mean())
    return [
        f"rewards are {shown}, and all from {passing[0]:g} on pass ({percentage(share)}): if that is not what "
        f"solved means, "
        f"{advice}"
    ]


def _middle(values: FloatArray) -> float:
    """A threshold to suggest: the middle of the widest gap between a few values, else of their range."""
    if len(values) > _FEW_VALUES:
        return float(values[0] + values[-1]) / 2
    at = int(np.argmax(np.diff(values)))
    return float(values[at] + values[at + 1]) / 2


def rounding_lines(threshold: float, rewards: NDArray[np.floating]) -> list[str]:
    """Where rewards fail that are the threshold in 16 bits. They may as well be what they are: 179 of 256 tests."""
    least = least_passing(threshold)
    with np.errstate(over="ignore"):  # an infinite one is not a reward
        rounded = (("bfloat16", _as_bfloat16(threshold)), ("float16", float(np.float16(threshold))))
    for kind, nearest in rounded:
        if nearest < least and (number := int((rewards == nearest).sum())):
            return [
                f"{counted(number, 'reward is', 'rewards are')} {nearest:g}, which is {threshold:g} in {kind}, and "
                f"below the pass threshold: if 16 bits rounded them, give --pass_threshold {nearest:g}"
            ]
    return []


def _as_bfloat16(value: float) -> float:
    """The nearest bfloat16: the upper half of a 32-bit float, rounded half to even."""
    bits = int(np.float32(value).view(np.uint32))
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(np.uint32(rounded).view(np.float32))
