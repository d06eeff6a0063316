"""--reward_fn list, and a name that is none."""

from __future__ import annotations

import pytest

from analyzer import rewards
from analyzer.commands.analyze_rollouts import analyze_rollouts
from analyzer.commands.filter_difficulty import filter_difficulty
from analyzer.commands.reward_list import is_asked_for
from analyzer.errors import ConfigError


@pytest.mark.parametrize(
    "argv", [["--reward_fn", "list"], ["--reward-fn=list"], ["--rollouts", "r", "--reward_fn=list"]]
)
def test_the_list_needs_no_other_flag(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze_rollouts(argv) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[:-1]] == rewards.names()
    assert filter_difficulty(argv) == 0
    assert capsys.readouterr().out.splitlines() == listed


def test_each_line_says_what_the_reward_is_and_which_data_sources_it_serves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    analyze_rollouts(["--reward_fn", "list"])
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for name in rewards.names():
        line = listed[name]
        assert len(line.removeprefix(name).strip()) > 20
        assert all(source in line for source in rewards.find(name).data_sources)
        assert line.endswith("]") or not rewards.find(name).data_sources


@pytest.mark.parametrize("argv", [["--reward_fn", "gsm8k"], ["--output_dir", "list"], ["list"], ["--reward_fn"]])
def test_other_words_do_not_ask_for_it(argv: list[str]) -> None:
    assert not is_asked_for(argv)


@pytest.mark.parametrize(("name", "near"), [("numerik", "numeric"), ("exact-match", "exact_match"), ("lst", "")])
def test_a_name_that_is_none_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{near}'" if near else "there are: ") as error:
        rewards.build(name)
    assert all(known in str(error.value) for known in rewards.names())
