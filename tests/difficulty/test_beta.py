"""beta: fits that are searched for together are those that are searched for one by one, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyzer.difficulty import beta
from analyzer.difficulty.beta import fitted_betas


@settings(max_examples=settings().max_examples // 4)  # 0.05 s each, of five fits
@given(
    problems=st.integers(1, 400),
    most=st.sampled_from([1, 2, 8, 21]),
    shape=st.sampled_from([(0.6, 0.6), (20.0, 30.0), (0.01, 0.01), (5000.0, 5000.0)]),
    equal=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
@example(problems=3, most=8, shape=(0.6, 0.6), equal=True, seed=0)
@example(problems=200, most=2000, shape=(0.6, 0.6), equal=True, seed=0)  # too many samples to add up logarithms
def test_together_and_one_by_one_are_the_same(
    problems: int, most: int, shape: tuple[float, float], equal: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    samples = np.full(problems, most) if equal else random.integers(1, most + 1, problems)
    passes = random.binomial(samples, random.beta(*shape, problems))
    classes, counts = np.unique(np.stack([passes, samples]), axis=1, return_counts=True)
    weights = random.multinomial(problems, counts / problems, 5).T.astype(float)
    failures = classes[1] - classes[0]
    beta._known.clear()
    together = fitted_betas(classes[0], failures, weights)
    beta._known.clear()  # what was found together must not be what is compared with
    assert together == [fitted_betas(classes[0], failures, each[:, None])[0] for each in weights.T]


def test_of_a_set_of_fits_few_likelihoods_are_computed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    exact = beta._likelihood
    monkeypatch.setattr(beta, "_likelihood", lambda *given: computed.append(given) or exact(*given))
    random = np.random.default_rng(1)
    passes = random.binomial(21, random.beta(0.7, 0.9, 721))
    classes, counts = np.unique(passes, return_counts=True)
    weights = random.multinomial(721, counts / 721, 12).T.astype(float)
    beta._known.clear()
    fitted_betas(classes, 21 - classes, weights)
    assert len(computed) < 12 * 200  # one by one, 12 times 839
