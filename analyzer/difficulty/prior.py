"""prior: how the solve rates of a data source are spread, estimated from passes and samples.

One record, 1,319 problems with 8 samples each, 400 of them always solved and 90 never::

    Prior(weights=[0.04, ..., 0.21])    # over POINTS solve rates from 0 to 1

Solve rates of real data have humps and spikes (never, always) that no beta distribution has, so the distribution is
left free on a grid: the nonparametric maximum likelihood estimate (Kiefer and Wolfowitz 1956; Laird 1978), computed by
EM. EM is stopped early, after one step for every ten problems: run to the end it would put all weight on a handful of
rates, which with few problems is noise.

EM cannot tell what the samples do not: whether a tenth of the problems are never solved or rarely is beyond 4 samples
each, and three problems say next to nothing. So it starts from an average over some 7,500 shapes (one hump or two,
with and without spikes), each weighted by how well it fits, and refits start from one of these shapes each: what the
shapes differ in is what is not known.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_LOGITS = np.linspace(-9.0, 9.0, 361)  # a solve rate of 1 in 8,000 and one of 0 are the same to any run
RATES: FloatArray = np.concatenate([[0.0], 1 / (1 + np.exp(-_LOGITS)), [1.0]])
"""The solve rates of the grid, ascending; 0 and 1 are among them. Shape (POINTS,)."""
POINTS = len(RATES)
MOST_STEPS = 300
_BLOCK = 1 << 6  # classes whose likelihoods under all shapes are held at a time

_MEANS = 1 / (1 + np.exp(-np.linspace(-6.0, 6.0, 25)))  # of one hump
_STRENGTHS = np.geomspace(0.25, 256.0, 11)  # a + b of its beta distribution: two spikes, ..., all problems alike
_HUMPS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)  # means of two humps, each pair of them
_HUMP_STRENGTH = 32.0
_SHARES = (0.2, 0.5, 0.8)  # of the problems in the first of two humps
_SPIKES = (0.0, 0.1, 0.3, 0.6, 0.9)  # of the problems at a rate of 0, and of those at 1
_TWO_HUMPS = 0.2  # the weight of two humps before the rollouts are seen
_NO_SPIKE = 0.6  # ... and of no spike
_ENOUGH = 50
"""Problems that decide between shapes: none of the shapes is the truth, and thousands of problems would decide for one
of them all the same, where it is the best by a little."""


class Shapes(NamedTuple):
    """Distributions of the solve rate that EM may start from: each body with each pair of spikes."""

    bodies: FloatArray  # (POINTS, bodies) without weight at the ends
    spikes: FloatArray  # (spikes, 2) the weight at a rate of 0 and at 1
    log_weights: FloatArray  # (bodies, spikes) before the rollouts are seen


def likelihoods(passes: IntArray, samples: IntArray) -> FloatArray:
    """p^passes (1 - p)^(samples - passes) for each rate p of the grid, over its largest value: (classes, POINTS).

    Scaled so that a thousand samples do not underflow; the scale cancels in every posterior.
    """
    inner = RATES[1:-1]
    failures = samples - passes
    # In logarithms: p^1000 is 0 in floating point for every p below 0.47.
    logs = np.multiply.outer(passes, np.log(inner)) + np.multiply.outer(failures, np.log1p(-inner))
    best = np.where(samples > 0, logs.max(axis=1), 0.0)
    # A pass is impossible at a rate of 0, a failure at 1; with none of it those ends are the likeliest of all.
    best = np.where((passes == 0) | (failures == 0), 0.0, best)
    table = np.empty((len(passes), POINTS))
    np.exp(logs - best[:, None], out=table[:, 1:-1])
    table[:, 0], table[:, -1] = passes == 0, failures == 0
    return table


def fit_prior(
    passes: IntArray, samples: IntArray, problems: IntArray, resampled: IntArray, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The weights of the grid, (POINTS,), and those of each refit, (POINTS, refits).

    passes, samples: of classes of problems with equal passes and samples (at least 1), (classes,). problems: how many
    problems are in each class, (classes,). resampled: how many of them in each refit, (classes, refits).
    """
    total, refits = int(problems.sum()), resampled.shape[1]
    table = likelihoods(passes, samples)
    likely = _likely(table, passes, samples, problems)
    weights = np.column_stack([_average(likely), _drawn(likely, refits, random)])  # (POINTS, 1 + refits)
    counts = np.column_stack([problems, resampled]).astype(np.float64)
    for _ in range(min(total // 10, MOST_STEPS)):
        # One step of EM: the posteriors of all problems, averaged. All fits are in one matrix product.
        weights *= table.T @ (counts / np.maximum(table @ weights, 1e-300)) / total
    weights /= weights.sum(axis=0)
    return weights[:, 0], weights[:, 1:]


def _likely(table: FloatArray, passes: IntArray, samples: IntArray, problems: IntArray) -> FloatArray:
    """The weight of each shape given the rollouts, (bodies, spikes)."""
    shapes = _shapes()
    body = 1 - shapes.spikes.sum(axis=1)
    logs = np.zeros_like(shapes.log_weights)
    for start in range(0, len(passes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        never, always = passes[rows] == 0, passes[rows] == samples[rows]
        # (classes, bodies, spikes): a problem is of the body, or at one of the ends, where its likelihood is 0 or 1
        found = np.multiply.outer(table[rows] @ shapes.bodies, body)
        found += (np.outer(never, shapes.spikes[:, 0]) + np.outer(always, shapes.spikes[:, 1]))[:, None, :]
        logs += np.tensordot(problems[rows].astype(np.float64), np.log(found), 1)
    total = int(problems.sum())
    # Less the share of one problem: what is found is applied to each problem, which has not to count twice.
    logs *= (total - 1) / total * min(1.0, _ENOUGH / total)
    logs += shapes.log_weights
    weights: FloatArray = np.exp(logs - logs.max())
    weights /= weights.sum()
    return weights


def _average(likely: FloatArray) -> FloatArray:
    """The average of the shapes, (POINTS,)."""
    shapes = _shapes()
    average: FloatArray = shapes.bodies @ (likely @ (1 - shapes.spikes.sum(axis=1)))
    average[[0, -1]] = likely.sum(axis=0) @ shapes.spikes
    return average


def _drawn(likely: FloatArray, number: int, random: np.random.Generator) -> FloatArray:
    """That many of the shapes, drawn by their weights, and a little of all, so that EM can go anywhere."""
    shapes = _shapes()
    # One from each twelfth of the weights: independent draws would leave more to chance.
    places = (random.permutation(number) + random.random(number)) / max(number, 1)
    upto = np.cumsum(likely)
    at = np.minimum(np.searchsorted(upto, places * upto[-1]), likely.size - 1)
    body, spike = np.unravel_index(at, likely.shape)
    drawn = shapes.bodies[:, body] * (1 - shapes.spikes[spike].sum(axis=1))
    drawn[[0, -1]] = shapes.spikes[spike].T
    mixed: FloatArray = 0.97 * drawn + 0.03 * _average(likely)[:, None]
    return mixed


@functools.cache
def _shapes() -> Shapes:
    one = [_beta_cells(mean * both, (1 - mean) * both) for mean in _MEANS for both in _STRENGTHS]
    # Means near 0 and 1 are many of the grid, which is even in the logit; so they weigh less.
    weights = np.repeat(np.sqrt(_MEANS * (1 - _MEANS)), len(_STRENGTHS))
    humps = [_beta_cells(mean * _HUMP_STRENGTH, (1 - mean) * _HUMP_STRENGTH) for mean in _HUMPS]
    two = [share * low + (1 - share) * high for at, high in enumerate(humps) for low in humps[:at] for share in _SHARES]
    bodies = np.concatenate([(1 - _TWO_HUMPS) * weights / weights.sum(), np.full(len(two), _TWO_HUMPS / len(two))])
    spikes = np.array([(low, high) for low in _SPIKES for high in _SPIKES if low + high < 1])
    # One end is more often a spike than both.
    ends = np.where(spikes > 0, 1.0, 3.0).prod(axis=1)
    ends[0] = 0
    ends *= (1 - _NO_SPIKE) / ends.sum()
    ends[0] = _NO_SPIKE
    return Shapes(np.stack([*one, *two], axis=1), spikes, np.log(np.outer(bodies, ends)))


def _beta_cells(a: float, b: float) -> FloatArray:
    """The mass of Beta(a, b) in the cell of each rate of the grid but 0 and 1, and a little more.

    In the logit x the density is e^(a x) / (1 + e^x)^(a + b): its tails are exponential, with the mass density / a
    beyond the first point of the grid and density / b beyond the last.
    """
    # logaddexp(0, x) is log(1 + e^x) without overflow.
    logs = a * _LOGITS - (a + b) * np.logaddexp(0, _LOGITS)
    inner = np.exp(logs - logs.max())
    step = _LOGITS[1] - _LOGITS[0]
    cells = inner * step
    cells[0] += inner[0] / a
    cells[-1] += inner[-1] / b
    cells = np.pad(cells / cells.sum() + 1e-9, 1)
    cells /= cells.sum()
    return cells
