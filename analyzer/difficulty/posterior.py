"""posterior: what k passes in n samples say of a problem's solve rate, given how the rates of its data source spread.

One record, a problem solved 0 times in 8 of a data source where half of the problems are solved always::

    mean 0.06, quantile(0.05) 0.00, quantile(0.95) 0.21

Problems of one data source with equal (k, n) share everything said here, so it is a table over the distinct (k, n),
some hundreds at most, and a gather: 600,000 problems cost milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.difficulty.counting import distinct
from analyzer.difficulty.grid import POINTS, RATES, likelihoods
from analyzer.difficulty.prior import fit_prior, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.schema import FloatArray, IntArray

REFITS = 12
"""Priors fitted to resampled problems, for the part of an interval that comes from the prior."""


class Classes(NamedTuple):
    """The distinct (data source, passes, samples) of some problems."""

    passes: IntArray  # (classes,)
    samples: IntArray  # (classes,) scored rollouts of each problem
    source: IntArray  # (classes,)
    problems: IntArray  # (classes,) how many problems are in it; fractions where graded.py counts rollouts
    of: NDArray[np.int32]  # (problems,) the class of each problem


class Posterior(NamedTuple):
    """The distribution of the solve rate of each class, on the grid grid.RATES."""

    classes: Classes
    weights: FloatArray  # (classes, POINTS); of a class without samples, the prior
    priors: FloatArray  # (sources, POINTS)
    likelihoods: FloatArray  # (classes, POINTS) of the passes, see grid.likelihoods

    def under(self, priors: FloatArray) -> Posterior:
        """The posterior of the same passes under other priors, (sources, POINTS)."""
        weights = self.likelihoods * priors[self.classes.source]
        weights /= weights.sum(axis=1, keepdims=True)
        return self._replace(weights=weights, priors=priors)

    def mean(self, values: FloatArray = RATES) -> FloatArray:
        """The posterior mean of a function of the solve rate, given at RATES; shape (classes,)."""
        means: FloatArray = self.weights @ values
        return means

    def variance(self, values: FloatArray = RATES) -> FloatArray:
        """The posterior variance of a function of the solve rate; shape (classes,)."""
        return np.maximum(self.weights @ values**2 - self.mean(values) ** 2, 0.0)

    def quantile(self, share: float) -> FloatArray:
        """The smallest rate of the grid with at least this much of the posterior at or below it; shape (classes,)."""
        # A sum of hundreds of weights may miss by a last bit a share that it should reach, and the quantile would jump
        # a whole cell.
        below = np.cumsum(self.weights, axis=1) < share * (1 - 1e-12)
        rates: FloatArray = RATES[np.minimum(below.sum(axis=1), POINTS - 1)]
        return rates

    def draw(self, random: np.random.Generator) -> FloatArray:
        """A solve rate for each problem, from its posterior; shape (problems,)."""
        rates = np.empty(len(self.classes.of))
        order = np.argsort(self.classes.of, kind="stable")
        ends = np.cumsum(self.classes.problems)
        # Drawn in the order of the problems before they are looked at by class: the same problem gets the same number,
        # however classes are numbered.
        uniform = random.random(len(rates))
        for each, start, stop in zip(np.cumsum(self.weights, axis=1), ends - self.classes.problems, ends, strict=True):
            members = order[start:stop]
            rates[members] = RATES[np.minimum(np.searchsorted(each, uniform[members] * each[-1]), POINTS - 1)]
        return rates


def classes_of(passes: IntArray, samples: IntArray, source: NDArray[np.integer] | None = None) -> Classes:
    """Problems with equal data source, passes and samples together; all of shape (problems,)."""
    source = np.zeros(len(passes), np.int64) if source is None else source.astype(np.int64, copy=False)
    # Three numbers packed into one: a table of those that occur is made in one pass.
    span = int(samples.max(initial=0)) + 1
    sources = int(source.max(initial=0)) + 1
    keys, of = distinct((source * span + samples) * span + passes, sources * span**2)
    return Classes(keys % span, keys // span % span, keys // span**2, np.bincount(of, minlength=len(keys)), of)


def posterior(passes: IntArray, samples: IntArray, source: NDArray[np.integer] | None = None) -> Posterior:
    """The posterior of each problem, with a prior fitted to each data source.

    passes, samples, source: (problems,); source numbers the data sources from 0. Problems without samples have no
    part in the fit. A data source with one sample per problem has only its mean fitted: see beta.fitted_betas.
    """
    return with_refits(classes_of(passes, samples, source), 0, refits=0)[0]


def posterior_of(classes: Classes, priors: FloatArray) -> Posterior:
    """The posterior under these priors, (sources, POINTS)."""
    table = likelihoods(classes.passes, classes.samples)
    return Posterior(classes, table, priors, table).under(priors)


def with_refits(classes: Classes, seed: int, refits: int = REFITS) -> tuple[Posterior, list[FloatArray]]:
    """The posterior with a prior fitted to each data source, and `refits` sets of priors, (sources, POINTS).

    The refits say how far the priors may be wrong: each is fitted to as many problems drawn again with replacement
    (within each data source).
    """
    random = np.random.default_rng(seed)
    drawn = _drawn(classes, refits, random)
    priors = np.full((1 + refits, int(classes.source.max(initial=-1)) + 1, POINTS), 1.0 / POINTS)
    data = {}
    for number in range(priors.shape[1]):
        those = (classes.source == number) & (classes.samples > 0)
        if those.any():
            data[number] = (classes.passes[those], classes.samples[those], classes.problems[those], drawn[those])
    prepare(data.values())
    for number, given in data.items():
        priors[0, number], again = fit_prior(*given, random)
        priors[1:, number] = again.T
    return posterior_of(classes, priors[0]), list(priors[1:])


def _drawn(classes: Classes, refits: int, random: np.random.Generator) -> IntArray:
    """How many problems of each class are drawn in each of some samples with replacement, (classes, refits)."""
    drawn = np.zeros((len(classes.problems), refits), np.int64)
    for number in np.unique(classes.source):
        those = (classes.source == number) & (classes.samples > 0)
        whole = classes.problems[those].sum()
        total = round(float(whole))
        if total and refits:
            # Problems of a class are alike, so how many of each are drawn says all: one multinomial instead of drawing
            # problems.
            drawn[those] = random.multinomial(total, classes.problems[those] / whole, refits).T
    return drawn


@dataclass(frozen=True)
class Gathered:
    """A column of millions of problems that has few values: those of classes, and the class of each problem.

    Indexed by problems it gives their values, as an array of shape (problems,) would.
    """

    values: NDArray[Any]  # (classes,)
    of: NDArray[np.integer]  # (problems,)

    def __getitem__(self, problems: Any) -> Any:
        return self.values[self.of[problems]]


def column_of(classes: Classes, values: FloatArray) -> Gathered:
    """Values of classes as a column of problems; NaN for problems without samples."""
    return Gathered(np.where(classes.samples > 0, values, np.nan), classes.of)


def gathered(classes: Classes, values: FloatArray) -> FloatArray:
    """Values of classes as values of problems, (classes,) -> (problems,); NaN for problems without samples."""
    shown: FloatArray = np.where(classes.samples > 0, values, np.nan)[classes.of]
    return shown
