from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rewards.f1 import F1, f1


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = F1(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == pytest.approx(case["reward"])


words = st.lists(st.sampled_from("abcde"))


@given(words, words)
def test_is_the_harmonic_mean_of_precision_and_recall(answer: list[str], gold: list[str]) -> None:
    score = f1(answer, gold)
    assert score == f1(gold, answer)
    assert 0 <= score <= 1
    if shared := sum(min(answer.count(word), gold.count(word)) for word in set(answer)):
        precision, recall = shared / len(answer), shared / len(gold)
        assert score == pytest.approx(2 * precision * recall / (precision + recall))
    else:
        assert score == (not answer and not gold)


@given(st.text(min_size=1).filter(lambda gold: "</think>" not in gold))
def test_a_presented_gold_earns_the_maximum(gold: str) -> None:
    reward = F1()
    assert reward.grade(reward.extract(reward.present(gold)), gold).reward == reward.maximum
