"""beta: the beta distribution under which passes and failures are likeliest, from which EM starts (prior.py).

One record: problems whose solve rates are spread like Beta(0.7, 2.1), passes 0, 3, 0, 8, 1, .. of 8 samples each.

A prior and a dozen that are fitted to resampled problems are all searched for together, which gives what a search for
each alone gives, to the last bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_LOGIT_BOUNDS = (-16.0, 16.0)  # of the mean of the beta distribution
_STRENGTH_BOUNDS = (-7.0, 9.0)  # of log(a + b), which has no best value where all problems are alike
_PRECISION = 1e-4
_LEAN = 1e-6  # towards a + b = 2, which decides where the rollouts do not
_GOLDEN = (math.sqrt(5) - 1) / 2
_FEW = 3  # fits that are found sooner one by one
_AT_ONCE = 96  # fits of one search, which holds up to 24 kB of each
_MOST_KNOWN = 1 << 14  # fits that are remembered
_MOST_TABLED = 1 << 10  # samples of a problem up to which logarithms are added up
_ERROR = 1e-13  # of a likelihood, by what it is a sum of: a hundred times what rounding can do

_Strength = TypeVar("_Strength", float, "FloatArray")
_Counted = tuple[tuple[int, float], ...]  # (value, problems that have it)
_Fit = tuple[_Counted, _Counted, _Counted]  # passes, failures, samples


def fitted_betas(passes: IntArray, failures: IntArray, weights: FloatArray) -> list[tuple[float, float]]:
    """The a and b of the likeliest beta distribution for the passes and failures of each of several data sets.

    passes, failures: (classes,). weights: (classes, fits), how many problems of each data set are in each class.

    With one rollout per problem nothing tells how much problems differ: then only the mean of the distribution means
    something, and a + b is that of the uniform distribution. scipy.optimize would find the same; importing it takes
    longer than a small run.
    """
    return _fitted(_fits(passes, failures, weights))


def fit_ahead(data: Iterable[tuple[IntArray, IntArray, IntArray]]) -> None:
    """Find what `fitted_betas` will be asked for, for all arguments at once: that takes hardly longer than for one."""
    _fitted([fit for passes, failures, weights in data for fit in _fits(passes, failures, weights)])


# A report draws charts of priors that the analysis has fitted before it. A key is a few numbers per class, whatever the
# number of problems.
_known: dict[_Fit, tuple[float, float]] = {}


def _fitted(fits: Sequence[_Fit]) -> list[tuple[float, float]]:
    found = {fit: _known[fit] for fit in fits if fit in _known}
    new = [fit for fit in dict.fromkeys(fits) if fit not in found]
    for start in range(0, len(new), _AT_ONCE):
        some = new[start : start + _AT_ONCE]
        found.update(zip(some, _together(some) if len(some) > _FEW else map(_alone, some), strict=True))
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    _known.update(found)
    return [found[fit] for fit in fits]


def _fits(passes: IntArray, failures: IntArray, weights: IntArray | FloatArray) -> list[_Fit]:
    """What each of some fits is of; weights: (classes, fits)."""
    several = (_counted(values, weights) for values in (passes, failures, passes + failures))
    return list(zip(*several, strict=True))


def _counted(values: IntArray, weights: IntArray | FloatArray) -> list[_Counted]:
    """For each fit each value above 0 that problems have, and how many of them."""
    distinct, inverse = np.unique(values, return_inverse=True)
    problems = np.zeros((len(distinct), weights.shape[1]))
    np.add.at(problems, inverse.reshape(-1), weights)
    known = distinct.tolist()
    # The others add 0 to every likelihood.
    return [
        tuple((value, times) for value, times in zip(known, each, strict=True) if value and times)
        for each in problems.T.tolist()
    ]


def _beta(logit: float, strength: float) -> tuple[float, float]:
    """The a and b of the beta distribution whose mean has this logit, and whose a + b has this logarithm."""
    both = math.exp(strength)
    return both / (1 + math.exp(-logit)), both / (1 + math.exp(logit))


def _likelihood(fit: _Fit, logit: float, strength: float) -> float:
    a, b = _beta(logit, strength)
    passed, failed, tried = fit
    return _rising(a, passed) + _rising(b, failed) - _rising(a + b, tried)


def _rising(start: float, counted: _Counted) -> float:
    """The sum of log(start (start + 1) .. (start + n - 1)) over all n."""
    # Called some thousand times for one fit, hence a list and no generator.
    log_gamma, base = math.lgamma, math.lgamma(start)
    return math.fsum([times * (log_gamma(start + n) - base) for n, times in counted])


def _lean(strength: _Strength) -> _Strength:
    """What is taken off a likelihood for being far from the uniform distribution."""
    return _LEAN * (strength - math.log(2)) ** 2


# ---------------------------------------------------------------- one fit


def _alone(fit: _Fit) -> tuple[float, float]:
    def best_mean(strength: float) -> float:
        return _peak(lambda logit: _likelihood(fit, logit, strength), *_LOGIT_BOUNDS)

    strength = _peak(lambda each: _likelihood(fit, best_mean(each), each) - _lean(each), *_STRENGTH_BOUNDS)
    return _beta(best_mean(strength), strength)


def _peak(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one maximum is largest, by golden-section search."""
    # Each step uses one of the two values of the step before: half of the evaluations of a search by thirds.
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > _PRECISION:
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
    return (low + high) / 2


# ---------------------------------------------------------------- several fits


def _together(fits: Sequence[_Fit]) -> list[tuple[float, float]]:
    search = _Search(fits)
    strengths = _peaks(search.best, search.error, search.exact_best, _STRENGTH_BOUNDS, len(fits))
    return list(map(_beta, search.means(strengths).tolist(), strengths.tolist()))


class _Search:
    """The likelihoods of several fits at once, (fits,) each: nearly, with a bound of the error, and exactly.

    A search only compares. Where two near values are further apart than the error, they compare as the exact ones do,
    which take ten times as long.
    """

    def __init__(self, fits: Sequence[_Fit]) -> None:
        self._fits = fits
        self._most = max((value for fit in fits for counted in fit for value, _ in counted), default=0)
        self._problems = np.array([max(sum(times for _, times in counted) for counted in fit) for fit in fits])
        # The sum over log(start + i) for i below each value is one over all i, times the problems with values above i.
        self._above = np.zeros((len(fits), 3, min(self._most, _MOST_TABLED)))
        for number, fit in enumerate(fits):
            for which, (counted, sign) in enumerate(zip(fit, (1.0, 1.0, -1.0), strict=True)):
                for value, times in counted:
                    self._above[number, which, :value] += sign * times
        self._steps = np.arange(self._above.shape[2])
        self._exact = functools.cache(lambda number, logit, strength: _likelihood(fits[number], logit, strength))
        self._means: dict[tuple[int, float], float] = {}

    def near(self, logits: FloatArray, both: FloatArray) -> FloatArray:
        """The likelihoods for means with these logits and these a + b."""
        if self._most > _MOST_TABLED:
            return np.zeros(len(self._fits))
        starts = np.empty((len(both), 3, 1))
        odds = np.exp(logits)
        starts[:, 0, 0], starts[:, 1, 0], starts[:, 2, 0] = both * (odds / (1 + odds)), both / (1 + odds), both
        values: FloatArray = np.einsum("fki,fki->f", self._above, np.log(starts + self._steps))
        return values

    def error(self, strengths: FloatArray) -> FloatArray:
        """How far two likelihoods may be nearer to each other, or further apart, than those that `_likelihood` gives.

        For these strengths and all below.
        """
        if self._most > _MOST_TABLED:
            return np.full(len(self._fits), np.inf)
        # No term is larger: log-gamma of x is below x log x, and below 30 where x is as small as it gets.
        largest = np.exp(strengths) + self._most + 2
        error: FloatArray = _ERROR * self._problems * (largest * np.log(largest) + 30)
        return error

    def means(self, strengths: FloatArray) -> FloatArray:
        """The likeliest mean of each fit, as a logit, where a + b is given."""
        given, both, error = strengths.tolist(), np.exp(strengths), self.error(strengths)
        found = _peaks(
            lambda logits: self.near(logits, both),
            lambda highest: error,
            lambda number, logit: self._exact(number, logit, given[number]),
            _LOGIT_BOUNDS,
            len(given),
        )
        self._means.update(zip(enumerate(given), found.tolist(), strict=True))
        return found

    def best(self, strengths: FloatArray) -> FloatArray:
        """What is largest at the likeliest a + b: the likelihood at the likeliest mean."""
        return self.near(self.means(strengths), np.exp(strengths)) - _lean(strengths)

    def exact_best(self, number: int, strength: float) -> float:
        """`best` of one fit, exactly; for a strength that `best` was called with."""
        return float(self._exact(number, self._means[number, strength], strength)) - _lean(strength)


def _peaks(
    near: Callable[[FloatArray], FloatArray],
    error: Callable[[FloatArray], FloatArray],
    exact: Callable[[int, float], float],
    between: tuple[float, float],
    number: int,
) -> FloatArray:
    """`_peak` of several functions in step: (number,), to the last bit.

    near: values at a point of each function. error: by how much two of them may be wrong together, at points up to
    these. exact: the value of one function.
    """
    lows, highs = (np.full(number, edge) for edge in between)
    left, right = highs - _GOLDEN * (highs - lows), lows + _GOLDEN * (highs - lows)
    at_left, at_right = near(left), near(right)
    while (going := highs - lows > _PRECISION).any():
        apart = at_right - at_left
        rises = apart > 0
        for which in np.flatnonzero(going & (np.abs(apart) <= error(highs))).tolist():
            rises[which] = exact(which, float(left[which])) < exact(which, float(right[which]))
        lows, highs = np.where(rises & going, left, lows), np.where(rises | ~going, highs, right)
        step = _GOLDEN * (highs - lows)
        new = np.where(rises, lows + step, highs - step)
        left, right = np.where(rises, right, new), np.where(rises, new, left)
        at_new = near(new)
        at_left, at_right = np.where(rises, at_right, at_new), np.where(rises, at_new, at_left)
    found: FloatArray = (lows + highs) / 2
    return found
