"""The code rows of the table of adversarial inputs, at each level this machine can run, as root and as a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyzer.grading.sandbox import Level
from tests.grading.sandbox import attacks
from tests.grading.sandbox.conftest import EVERY_LEVEL


def check(level: Level, results: dict[str, Any]) -> None:
    """All programs of a level got what they had to get, and the machine is as it was."""
    sealed = level.contains
    nothing = [None, "", ""]  # it got to its end, and managed nothing
    assert {name: results[name] for name in attacks.CONTAINED if sealed} == dict.fromkeys(
        attacks.CONTAINED if sealed else (), nothing
    )
    verdicts = {name: results[name][0] for name in attacks.LIMITED}
    assert verdicts == {name: verdict for name, (_, verdict) in attacks.LIMITED.items()}
    if sealed:
        assert results["threads"] == ["runtime_error", "", "too many threads"]
    else:
        assert results["orphans"] == [None, "left them\n", ""]
    assert results["after"] == [None, "[] 1\n", ""], "what the next program found"
    machine = results["machine"]
    assert machine["intact"], "the canary"
    assert machine["connections"] == 0
    assert machine["left"] == [], "processes"
    assert machine["runners"] <= 2, "orphans of a program, beside bubblewrap and the runner"
    assert machine["scratch"] == [], "files"


def test_hostile_programs_manage_nothing_and_leave_nothing(level: Level) -> None:
    check(level, json.loads(json.dumps(attacks.run(level))))


@EVERY_LEVEL  # as most clusters have it
def test_nor_do_they_where_the_worker_is_an_ordinary_user(level: Level, as_nobody: Callable[[list[str]], str]) -> None:
    results = json.loads(as_nobody([str(Path(attacks.__file__)), level.name]))
    assert results["machine"]["uid"] == 65534
    check(level, results)
