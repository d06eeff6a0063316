"""informative: which share of groups teaches a policy gradient anything.

GRPO, RLOO and DAPO sample G responses per prompt and learn from their differences in reward: a group of equal rewards
has no advantage and gives no gradient. One record, 8 samples of which 2 pass::

    a group of 4 is informative with probability 0.786, one of 16 (predicted) with 0.93

Where a problem has G samples or more, the share of its G-subsets with unequal rewards is exact and unbiased, for any
reward. Where it has fewer, it is predicted: the posterior mean of 1 - p^G - (1 - p)^G, for rewards that pass or fail
(graded.py for others).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.passing import all_pass, log_factorials

if TYPE_CHECKING:
    from analyzer.difficulty.graded import Graded
    from analyzer.difficulty.posterior import Classes, Posterior
    from analyzer.schema import FloatArray, IntArray

GROUPS = (4, 8, 16, 32, 64)
"""The group sizes of the summary."""
CONFIDENCE = 1.645  # standard errors either side: 90 %
_AT_ONCE = 1 << 13  # passes: of a problem of a million samples, all of them by all rates would be gigabytes


class Estimate(NamedTuple):
    """A share with its 90 % interval."""

    share: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def mixed(group: int) -> FloatArray:
    """1 - p^G - (1 - p)^G at grid.RATES: how likely a group of G both passes and fails."""
    return 1 - RATES**group - (1 - RATES) ** group


def exact(group: int, passes: IntArray, samples: IntArray) -> FloatArray:
    """The share of `group`-subsets that both pass and fail; NaN where samples < group. Arrays of any one shape."""
    return 1 - all_pass(group, passes, samples) - all_pass(group, samples - passes, samples)


def shares(
    groups: Sequence[int], found: Posterior, refits: Sequence[FloatArray], graded: Graded | None = None
) -> dict[int, Estimate]:
    """`informative` of several group sizes, ascending; NaN where most problems have one scored rollout.

    A larger group differs at least as often, so what was counted in smaller ones is the least that is predicted.
    """
    if not are_sampled_twice(found.classes):
        return dict.fromkeys(groups, UNKNOWN)
    estimates, least = {}, 0.0
    for group in groups:
        one = informative(group, found, refits, graded)
        if graded is not None:
            one = Estimate(max(one.share, least), one.low, max(one.high, least))
        estimates[group], least = one, one.share
    return estimates


def are_sampled_twice(classes: Classes) -> bool:
    """Whether the median problem has two scored rollouts or more: one says nothing of whether its rewards differ."""
    counted = np.where(classes.samples > 0, classes.problems, 0)
    order = np.argsort(classes.samples, kind="stable")
    upto = np.cumsum(counted[order])
    return bool(upto[-1] if len(upto) else 0) and bool(classes.samples[order][np.searchsorted(upto, upto[-1] / 2)] >= 2)


def informative(group: int, found: Posterior, refits: Sequence[FloatArray], graded: Graded | None = None) -> Estimate:
    """The share of groups of that size with unequal rewards, over all scored problems, with its 90 % interval.

    refits: priors fitted to resampled problems (posterior.with_refits). The posterior alone covers too little: what is
    not known of the prior is common to all problems and does not average out.
    graded: where rewards are more than pass or fail.
    """
    classes = found.classes
    scored = classes.samples > 0
    total = int(classes.problems[scored].sum())
    if not total:
        return UNKNOWN
    counted = np.where(scored, classes.problems, 0)
    # Exact where there are enough samples. The posterior would pull a problem towards the others although its own
    # samples say it without bias.
    enough = classes.samples >= group
    sampled, few = counted[enough], np.where(enough, 0, counted)
    if graded is None:
        exact_shares = exact(group, classes.passes[enough], classes.samples[enough])
        variance = float(sampled @ _sampling_variance(group, found)[enough] + few @ found.variance(mixed(group)))
        predicted = float(few @ found.mean(mixed(group)))
        in_refits = [float(few @ found.under(priors).mean(mixed(group))) for priors in refits] if few.any() else []
    else:
        exact_shares = graded.exact[group][enough]
        predicted, of_predicted, in_refits = graded.predicted(group)
        variance = of_predicted + _variance_bound(group, exact_shares, classes.samples[enough], sampled)
    # Exact shares do not depend on the prior, so only predicted ones share its error.
    if len(in_refits) > 1:
        variance += float(np.var(in_refits, ddof=1))
    share = (float(sampled @ exact_shares) + predicted) / total
    error = CONFIDENCE * math.sqrt(variance) / total
    return Estimate(share, max(share - error, 0.0), min(share + error, 1.0))


def _sampling_variance(group: int, found: Posterior) -> FloatArray:
    """How much `exact` varies from one set of samples to the next, in the posterior mean; 0 where samples < group."""
    variance = np.zeros(len(found.classes.samples))
    for samples in np.unique(found.classes.samples[found.classes.samples >= group]).tolist():
        mean, square = np.zeros(len(RATES)), np.zeros(len(RATES))
        factorials = log_factorials(samples)
        for first in range(0, samples + 1, _AT_ONCE):
            passes = np.arange(first, min(first + _AT_ONCE, samples + 1))
            rates = _near(passes, samples)
            chances = _chances(passes, samples, rates, factorials)
            values = exact(group, passes, np.full(len(passes), samples))
            mean[rates] += values @ chances
            square[rates] += values**2 @ chances
        # E[X^2] - E[X]^2 over the passes that a rate may give, for all rates of the grid at once.
        at_rate = square - mean**2
        those = found.classes.samples == samples
        variance[those] = found.weights[those] @ np.maximum(at_rate, 0.0)
    return variance


def _variance_bound(group: int, shares: FloatArray, samples: IntArray, problems: IntArray) -> float:
    """The variance of the sum of exact shares of classes of problems; (classes,) each, of those with enough samples.

    At most group / samples of the variance of a single group (Hoeffding 1948), which is at most that of the mean share.
    """
    total = int(problems.sum())
    # With one problem more of each kind: three problems that agree do not prove that all do.
    mean = (float(problems @ shares) + 1) / (total + 2)
    return float(problems @ np.minimum(group / np.maximum(samples, 1), 1.0)) * mean * (1 - mean)


def binomial(samples: int) -> FloatArray:
    """The probability of 0 .. samples passes at each rate of the grid, (samples + 1, POINTS)."""
    return _chances(np.arange(samples + 1), samples, slice(0, len(RATES)), log_factorials(samples))


def _near(passes: IntArray, samples: int) -> slice:
    """The rates of the grid at which so many passes have more than a chance of 4e-22 (Hoeffding 1963)."""
    if len(passes) > samples:
        return slice(0, len(RATES))
    reach = math.sqrt(25 / samples)
    low, high = np.searchsorted(RATES, [passes[0] / samples - reach, passes[-1] / samples + reach])
    return slice(int(low), int(high))


def _chances(passes: IntArray, samples: int, at: slice, factorials: FloatArray) -> FloatArray:
    """The probability of each of `passes` at some rates of the grid, (passes, rates)."""
    ways = factorials[samples] - factorials[passes] - factorials[samples - passes]
    rates = RATES[at]
    table = np.zeros((len(passes), len(rates)))
    # Without the ends of the grid, whose logarithms are infinite: at rate 0 no sample passes, at 1 all do.
    inner = (rates > 0) & (rates < 1)
    logs = np.multiply.outer(passes, np.log(rates[inner]))
    logs += np.multiply.outer(samples - passes, np.log1p(-rates[inner]))
    table[:, inner] = np.exp(logs + ways[:, None])
    for end, all_there in ((0.0, passes == 0), (1.0, passes == samples)):
        table[np.ix_(all_there, rates == end)] = 1.0
    return table
