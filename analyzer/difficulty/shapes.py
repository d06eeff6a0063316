"""shapes: where the prior of a few problems starts, an average over many ways in which solve rates may be spread.

One record, three problems with 0, 0 and 1 passes in 4 samples each: every shape (one hump or two, with and without
spikes at 0 and 1; some 7,500) is weighted by how likely it makes these passes, and so few rollouts rule out hardly any.

Refits start from one of these shapes each: what the shapes differ in is what is not known.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.difficulty.grid import beta_cells

if TYPE_CHECKING:
    from analyzer.schema import FloatArray, IntArray

_MEANS = 1 / (1 + np.exp(-np.linspace(-6.0, 6.0, 25)))  # of one hump
_STRENGTHS = np.geomspace(0.25, 256.0, 11)  # a + b of its beta distribution: two spikes, ..., all problems alike
_HUMPS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)  # means of two humps, each pair of them
_HUMP_STRENGTH = 32.0
_SHARES = (0.2, 0.5, 0.8)  # of the problems in the first of two humps
_SPIKES = (0.0, 0.1, 0.3, 0.6, 0.9)  # of the problems at a rate of 0, and of those at 1
_TWO_HUMPS = 0.2  # the weight of two humps before the rollouts are seen
_NO_SPIKE = 0.6  # ... and of no spike


class Shapes(NamedTuple):
    """Distributions of the solve rate that EM may start from: each body with each pair of spikes."""

    bodies: FloatArray  # (POINTS, bodies) without weight at the ends
    spikes: FloatArray  # (spikes, 2) the weight at a rate of 0 and at 1
    log_weights: FloatArray  # (bodies, spikes) before the rollouts are seen


def starts(
    table: FloatArray, problems: IntArray, refits: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The average of the shapes, (POINTS,), and that many of them, drawn by their weights, (POINTS, refits).

    table: grid.likelihoods of classes of problems, (classes, POINTS). problems: how many are in each, (classes,).
    """
    likely = _likely(table, problems)
    return _average(likely), _drawn(likely, refits, random)


def _likely(table: FloatArray, problems: IntArray) -> FloatArray:
    """The weight of each shape given the rollouts, (bodies, spikes)."""
    shapes = _shapes()
    body = 1 - shapes.spikes.sum(axis=1)
    # (classes, bodies, spikes): a problem is of the body, or at one of the ends, where its likelihood is 0 or 1
    found = np.multiply.outer(table @ shapes.bodies, body) + (table[:, [0, -1]] @ shapes.spikes.T)[:, None, :]
    logs: FloatArray = np.tensordot(problems.astype(np.float64), np.log(found), 1)
    total = int(problems.sum())
    # Less the share of one problem: the result is applied to each problem, which must not count twice.
    logs *= (total - 1) / total
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
    one = [_body(mean * both, (1 - mean) * both) for mean in _MEANS for both in _STRENGTHS]
    # Means near 0 and 1 are many of the grid, which is even in the logit; so they weigh less.
    weights = np.repeat(np.sqrt(_MEANS * (1 - _MEANS)), len(_STRENGTHS))
    humps = [_body(mean * _HUMP_STRENGTH, (1 - mean) * _HUMP_STRENGTH) for mean in _HUMPS]
    two = [share * low + (1 - share) * high for at, high in enumerate(humps) for low in humps[:at] for share in _SHARES]
    bodies = np.concatenate([(1 - _TWO_HUMPS) * weights / weights.sum(), np.full(len(two), _TWO_HUMPS / len(two))])
    spikes = np.array([(low, high) for low in _SPIKES for high in _SPIKES if low + high < 1])
    # One end is more often a spike than both.
    ends = np.where(spikes > 0, 1.0, 3.0).prod(axis=1)
    ends[0] = 0
    ends *= (1 - _NO_SPIKE) / ends.sum()
    ends[0] = _NO_SPIKE
    return Shapes(np.stack([*one, *two], axis=1), spikes, np.log(np.outer(bodies, ends)))


def _body(a: float, b: float) -> FloatArray:
    """The mass of Beta(a, b) in the cells of the grid, without any at 0 and 1."""
    cells = beta_cells(a, b)
    cells[1] += cells[0]
    cells[-2] += cells[-1]
    cells[[0, -1]] = 0.0
    return cells
