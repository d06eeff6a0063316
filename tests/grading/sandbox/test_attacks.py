"""The code rows of the table of adversarial inputs, at each level this machine can run, as root and as a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import SandboxError
from analyzer.grading.sandbox import Level, choose_level
from tests.grading.sandbox import attacks

USERS = ("here", "nobody")


@cache
def run_here(level: Level) -> dict[str, Any]:
    try:
        choose_level(level)
    except SandboxError as error:
        pytest.skip(str(error))
    return dict(json.loads(json.dumps(attacks.run(level))))


_as_nobody: dict[Level, dict[str, Any]] = {}


@pytest.fixture(params=[(level, user) for level in Level for user in USERS], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def results(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What became of all programs at one level, run by one user."""
    level, user = request.param
    if user == "here":
        return run_here(level)
    if level not in _as_nobody:
        run: Callable[[list[str]], str] = request.getfixturevalue("as_nobody")
        _as_nobody[level] = json.loads(run([str(Path(attacks.__file__)), level]))
    return _as_nobody[level]


@pytest.mark.parametrize("name", attacks.CONTAINED)
def test_a_hostile_program_manages_nothing(results: dict[str, Any], name: str) -> None:
    if name not in results:
        pytest.skip("not given to a level that is no sandbox")
    verdict, output, detail = results[name]
    assert output == ""
    assert verdict is None, detail  # it got to its end


@pytest.mark.parametrize("name", attacks.LIMITED)
def test_a_program_over_a_limit_gets_its_verdict(results: dict[str, Any], name: str) -> None:
    assert results[name][0] == attacks.LIMITED[name][1], results[name]


def test_a_program_with_too_many_threads_is_stopped(results: dict[str, Any]) -> None:
    if "threads" not in results:
        pytest.skip("not given to a level that is no sandbox")
    assert results["threads"][0] == "runtime_error"
    assert results["threads"][1] == ""


def test_the_machine_is_as_it_was(results: dict[str, Any]) -> None:
    machine = results["machine"]
    assert machine["intact"], "the canary"
    assert machine["connections"] == 0
    assert machine["left"] == [], "processes"
    assert machine["runners"] <= 2, "orphans of a program"  # bubblewrap and the runner
    assert machine["scratch"] == [], "files"


def test_the_next_program_finds_nothing_of_those_before(results: dict[str, Any]) -> None:
    assert results["after"] == [None, "[] 1\n", ""]


def test_the_user_is_the_one_that_was_meant(request: pytest.FixtureRequest, results: dict[str, Any]) -> None:
    if "nobody" in request.node.callspec.id:
        assert results["machine"]["uid"] == 65534
