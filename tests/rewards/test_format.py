from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import ConfigError
from analyzer.rewards._common import patterns
from analyzer.rewards.format import Format
from analyzer.schema import NotPresentable, Status, Unscored

PEERS = {
    "think_answer": re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>\s*\Z", re.DOTALL),
    "open_r1": re.compile(r"^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$", re.DOTALL | re.MULTILINE),
    "trl": re.compile(r"^<think>(?!.*<think>)(.*?)</think>.*$", re.DOTALL | re.MULTILINE),
    "geometry3k": re.compile(r"<think>.*</think>.*\\boxed\{.*\}.*\Z", re.DOTALL),
}
"""The regular expressions of the frameworks, which take quadratic time."""
PIECES = ("<think>", "</think>", "<answer>", "</answer>", "\n", "\n\n", " ", "x", "\\boxed{", "}")


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = Format(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == case["reward"]


@pytest.mark.parametrize("tags", PEERS)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14), start=st.sampled_from(["", "<think>", "<think>\n"]))
def test_what_fits_is_what_the_regular_expression_of_the_framework_matches(
    tags: str, pieces: list[str], start: str
) -> None:
    text = start + "".join(pieces)
    assert Format(tags=tags).extract(text) == float(PEERS[tags].match(text) is not None)


def test_a_pattern_without_end_is_a_timeout_and_no_wrong_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.1)
    began = time.process_time()
    with pytest.raises(Unscored) as stopped:
        Format(pattern="(x|xx)+[yz]").extract("x" * 60)
    assert stopped.value.status is Status.TIMEOUT
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tags": "open-r1"}, "did you mean 'open_r1'"),
        ({"tags": "trl", "pattern": "x"}, "goes without tags"),
        ({"tags": "trl", "count": True}, "count is for the tags"),
        ({"pattern": "("}, "is not a regular expression"),
        ({"prefix": 3}, "prefix must be a text"),
    ],
)
def test_options_that_fit_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Format(**options)
    assert said in str(refusal.value)


def test_an_example_is_made_of_tags_and_never_of_a_pattern() -> None:
    assert Format(tags="think_answer").extract(Format(tags="think_answer").present(None)) == 1.0
    for reward in (Format(pattern="a+"), Format(tags="think_answer", prefix="<think>")):
        with pytest.raises(NotPresentable):
            reward.present(None)
