"""What a response says beside its thoughts, however a model marks them."""

from __future__ import annotations

import pytest

from analyzer import score
from analyzer.rewards._common.places import THOUGHTS, conclusion

GUESS = "Perhaps 5. Answer: A. \\boxed{5} <answer>5</answer>"
EARN = {"multiple_choice": ("Answer: B", "B"), "numeric": ("The answer is 7", "7"), "includes": ("so 7", "7")}


@pytest.mark.parametrize(("begin", "end"), THOUGHTS)
def test_only_what_follows_a_thought_counts(begin: str, end: str) -> None:
    assert conclusion(f"{begin}{GUESS}{end}7") == "7"
    assert conclusion(f"{GUESS}{end}7") == "7"  # the chat template began it
    assert conclusion(f"7 {begin}{GUESS}") == "7"
    assert conclusion(f"{begin}{GUESS}") == ""
    assert conclusion(f"{begin}a{end}b{begin}{GUESS}{end}7") == "7"


@pytest.mark.parametrize("reward", EARN)
@pytest.mark.parametrize(("begin", "end"), THOUGHTS)
def test_a_guess_in_a_thought_that_never_ends_earns_nothing(reward: str, begin: str, end: str) -> None:
    says, gold = EARN[reward]
    cut, ended = score(reward, [f"{begin}I guess. {says}", f"{begin}I guess. {end}{says}"], gold)
    assert (cut.reward, ended.reward) == (0.0, 1.0)
