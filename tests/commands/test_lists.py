"""`--reward_fn list` and its like: every name, one sentence or more each, in 80 columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from analyzer import buckets, dialects, rewards
from analyzer.commands import lists
from analyzer.commands.all import NAMES, find
from analyzer.errors import ConfigError
from analyzer.selection import formats, recipes
from analyzer.workers import backends

REGISTERED: dict[str, Callable[[], list[str]]] = {
    "reward_fn": rewards.names,
    "input_format": dialects.names,
    "bucketing_strategy": buckets.names,
    "recipe": lambda: [recipe.name for recipe in recipes.RECIPES],
    "format": formats.names,
    "backend": backends.names,
}
ASKED = [
    (name, field.name)
    for name in NAMES
    for field in dataclasses.fields(find(name).settings)
    if field.metadata["listed"]
]


def test_every_flag_that_takes_names_has_a_list_and_every_list_a_flag() -> None:
    assert {flag for _, flag in ASKED} == set(lists.LISTS) == set(REGISTERED)


@pytest.mark.parametrize(("command", "flag"), ASKED)
def test_a_list_has_every_name_with_a_sentence_and_needs_no_other_flag(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for words in ([f"--{flag}", "list"], [f"--{flag.replace('_', '-')}=list"], ["--seed", "1", f"--{flag}=list"]):
        assert find(command).main(words) == 0
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1
    lines = shown[0].splitlines()
    assert max(map(len, lines)) <= 80
    first = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert set(REGISTERED[flag]()) <= first.keys()
    assert all(len(line.split()) > 1 for line in first.values())


def test_the_list_of_rewards_names_the_data_sources_that_each_serves(capsys: pytest.CaptureFixture[str]) -> None:
    find("analyze_rollouts").main(["--reward_fn", "list"])
    shown = " ".join(capsys.readouterr().out.split())
    for name in rewards.names():
        if sources := rewards.find(name).data_sources:
            assert f"data sources: {', '.join(sources)}" in shown


@pytest.mark.parametrize("words", [["--reward_fn", "gsm8k"], ["--output_dir", "list"], ["list"], ["--reward_fn"]])
def test_other_words_do_not_ask_for_a_list(words: list[str]) -> None:
    assert lists.asked_for(words, find("analyze_rollouts").settings) is None


@pytest.mark.parametrize(("name", "near"), [("numerik", "numeric"), ("exact-match", "exact_match"), ("lst", "")])
def test_a_name_that_does_not_exist_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{near}'" if near else "there are: ") as error:
        rewards.build(name)
    assert all(known in str(error.value) for known in rewards.names())
