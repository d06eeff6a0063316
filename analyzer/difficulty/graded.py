"""graded: informative groups where rewards are more than pass and fail, as with partial credit or a length bonus.

One record, 4 rollouts with rewards 0.2, 0.2, 0.5 and 0.9::

    a group of 4 always has different rewards; of the 3 others, the first rollout agrees with 1, the third with none

A group of G is all equal when G - 1 further rollouts agree with its first one. So what is predicted is how often
others agree with a rollout, from how many do, as passes are predicted from passes: q^(G - 1) in the posterior mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from analyzer.difficulty.grid import RATES
from analyzer.difficulty.metrics import equal_runs, informative_groups
from analyzer.difficulty.posterior import Classes, Posterior, with_refits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray


class Graded(NamedTuple):
    """What is known of groups of graded rewards."""

    exact: Mapping[int, FloatArray]  # size -> (classes,) share of unequal groups; NaN: too few samples
    agreeing: (
        Posterior  # of how often others agree; classes of rollouts, those of a problem adding up to 1 in `problems`
    )
    refits: list[FloatArray]

    def of(self, source: int) -> Graded:
        """Of one data source."""
        classes = self.agreeing.classes
        chosen = np.where(classes.source == source, classes.problems, 0)
        return self._replace(agreeing=self.agreeing._replace(classes=classes._replace(problems=chosen)))

    def predicted(self, group: int) -> tuple[float, float, list[float]]:
        """The sum of the shares of problems with fewer samples than `group`, its variance, and each refit's."""
        classes = self.agreeing.classes
        counted = np.where(classes.samples + 1 < group, classes.problems, 0.0)
        unequal = 1 - RATES ** (group - 1)
        in_refits = [float(counted @ self.agreeing.under(priors).mean(unequal)) for priors in self.refits]
        # Rollouts of one problem vary together, hence no less than each of them does.
        variance = float(counted @ self.agreeing.variance(unequal))
        return float(counted @ self.agreeing.mean(unequal)), variance, in_refits


def graded_groups(
    codes: NDArray[np.integer],
    rewards: NDArray[np.floating],
    source: NDArray[np.integer],
    classes: Classes,
    *,
    groups: Sequence[int],
    seed: int,
) -> Graded:
    """What the rewards say of groups of these sizes.

    codes, rewards: as for metrics.problem_metrics. source: (problems,). classes: of the problems, by passes.
    """
    problems = len(source)
    exact = informative_groups(codes, rewards, problems, groups)
    runs = equal_runs(codes, rewards, source)
    nothing = np.zeros(0, np.int32)
    weights = cast("IntArray", runs.problems)  # rollouts of a problem count 1 together
    of_runs = Classes(runs.size - 1, runs.samples - 1, runs.source, weights, nothing)
    found, refits = with_refits(of_runs, seed)
    return Graded({group: by_class(classes, values) for group, values in exact.items()}, found, refits)


def by_class(classes: Classes, values: FloatArray) -> FloatArray:
    """The mean of values of problems, (problems,), within each class; NaN values make the class NaN."""
    mean: FloatArray = np.bincount(classes.of, values, len(classes.problems)) / np.maximum(classes.problems, 1)
    return mean


def pass_or_fail(
    mean: FloatArray, std: FloatArray, lowest: FloatArray, highest: FloatArray, pass_rate: FloatArray
) -> bool:
    """Whether all rewards are one of two values, of which the higher passes and the lower fails; or all are equal.

    The metrics of problems, (problems,) each, NaN where none is scored. Two rewards that both fail make groups unequal
    that pass rates call alike.
    """
    if np.isnan(mean).all():
        return True
    low = float(np.nanmin(lowest))
    scale = float(np.nanmax(highest)) - low
    if scale <= 0:
        return True
    there = ~np.isnan(mean)
    share = (mean[there] - low) / scale
    # Of all rewards between two values and with one mean, those at the two have the largest variance.
    spread = np.abs((std[there] / scale) ** 2 - share * (1 - share)) < 1e-6
    return bool(spread.all() and (np.abs(share - pass_rate[there]) < 1e-6).all())
