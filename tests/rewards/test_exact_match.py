from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import ConfigError
from analyzer.rewards import build
from analyzer.rewards._common import patterns
from analyzer.rewards._common.places import PLACES
from analyzer.rewards.exact_match import ExactMatch
from analyzer.schema import GoldError, NotPresentable, Status, Unscored


def test_each_case_earns_its_reward(case: dict[str, Any]) -> None:
    reward = ExactMatch(**case.get("options", {}))
    assert reward.grade(reward.extract(case["response"]), case["ground_truth"]).reward == case["reward"]


@given(
    st.text(st.characters(exclude_characters="\\{}<>\n", exclude_categories=["Z", "C"]), min_size=1),
    st.sampled_from([*PLACES]),
    st.booleans(),
    st.booleans(),
)
def test_a_presented_gold_earns_the_maximum_in_every_place(
    gold: str, place: str, strip: bool, ignore_case: bool
) -> None:
    reward = ExactMatch(place=place, strip=strip, ignore_case=ignore_case)
    assert reward.grade(reward.extract(reward.present(gold)), gold).reward == reward.maximum


@pytest.mark.parametrize(
    ("response", "golds", "others"),
    [
        ("Answer: __init__", ["__init__", "init", "_init_"], ["___init__", "*init*"]),
        ("**Answer:** __init__", ["__init__", "init"], ["**__init__"]),
        ("**Answer: __init__**", ["__init__", "_init_"], ["___init__", "*init"]),
        ("**Answer:** **`__init__`**", ["`__init__`"], ["__init__"]),
        ("Answer: init", ["init"], ["__init__", "init_", "*init"]),
        ("Answer: **kwargs", ["**kwargs", "kwargs"], ["***kwargs", "**kwargs*"]),
        ("**Answer:** **kwargs", ["**kwargs", "kwargs"], ["kwargs*"]),
        ("__Answer:__\n*args, **kwargs", ["*args, **kwargs", "args, **kwargs"], ["args, kwargs"]),
        ("Answer: **x_1**", ["x_1"], ["x1", "_x_1"]),
        ("Answer: **", ["**"], ["", "*", "_"]),
        ("Answer: 2 * 3", ["2 * 3"], ["2 3"]),
    ],
)
def test_markdown_around_an_answer_line_may_be_of_the_answer(
    response: str, golds: list[str], others: list[str]
) -> None:
    reward = ExactMatch(place="answer_line")
    answer = reward.extract(response)
    assert [gold for gold in [*golds, *others] if reward.grade(answer, gold).reward == 1.0] == golds


@pytest.mark.parametrize("gold", [5, [], [5, 7], ["a", 5.5], ["a", True], {"target": "a"}, None])
def test_a_ground_truth_that_is_no_text_is_refused(gold: Any) -> None:
    with pytest.raises(GoldError):
        ExactMatch().check_gold(gold)


def test_an_unknown_place_names_the_places() -> None:
    with pytest.raises(ConfigError, match="whole, last_line, answer_line, tag, boxed, regex"):
        build("exact_match", {"place": "middle"})


def test_what_the_audit_looks_for_follows_the_place() -> None:
    assert ExactMatch(place="tag").expects == "an <answer>...</answer>"


def test_a_pattern_that_never_ends_is_a_time_out_and_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.1)
    reward = ExactMatch(place="regex", pattern="(a|aa)+$")
    with pytest.raises(Unscored) as stopped:
        reward.extract("a" * 60 + "b")
    assert stopped.value.status is Status.TIMEOUT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"place": "regex"}, "give both"),
        ({"pattern": "x"}, "give both"),
        ({"place": "regex", "pattern": "("}, "is not a regular expression"),
        ({"place": "regex", "pattern": ""}, "is not a regular expression"),
        ({"normalise": "lower"}, "there is: squad"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build("exact_match", options)


@pytest.mark.parametrize("pattern", ["Final: (.+)", "(?:x)*(.+)y", "[AB]: (.+)", "done", r"\(Final\) (.*)"])
def test_a_gold_is_presented_for_a_pattern_or_said_not_to_be_presentable(pattern: str) -> None:
    reward = ExactMatch(place="regex", pattern=pattern)
    try:
        response = reward.present("Paris")
    except NotPresentable:
        assert pattern not in ("Final: (.+)", r"\(Final\) (.*)")
    else:
        assert reward.extract(response) == "Paris"
