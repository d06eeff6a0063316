"""Failures that tell of the node (timeout, memory, crash) are scored again at the next run; all else is final."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.errors import EXIT_OK, EXIT_UNSCORED
from analyzer.rollouts.sizes import Sizes
from tests.commands import Outcome, parquet, rollouts

pytestmark = pytest.mark.usefixtures("warm_zygotes")
Analyze = Callable[..., Outcome]
PROBLEMS, SAMPLES = 5, 5

REWARD = """
import os

MOOD = {folder!r} + os.sep + "".join(["mo", "od"])  # computed: a file that is named would be part of the run

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    answer = solution_str.rpartition("#### ")[2]
    with open({log!r}, "a") as log:
        log.write(answer + "\\n")
    how = os.path.exists(MOOD) and open(MOOD).read()
    if answer == "7" and how:  # one of five of problem 3
        if how == "timeout":
            while True: pass
        if how == "memory":
            bytearray(1 << 45)
        if how == "crash":
            os.abort()
        if how == "error":
            raise ValueError("not mine")
    return {{"score": float(answer == ground_truth), "pred": answer}}
"""


class Case:
    """A run whose function fails on some rollouts as long as the file `mood` says how."""

    def __init__(self, analyze: Analyze, folder: Path) -> None:
        self._analyze = analyze
        self._folder = folder
        self.mood, self._log = folder / "mood", folder / "log"
        (folder / "mine.py").write_text(REWARD.format(log=str(self._log), folder=str(folder)))
        rows = rollouts(PROBLEMS, SAMPLES)
        rows = rows[::2] + rows[1::2]  # the rows of a problem do not stand together
        self._data = parquet(folder / "rollouts.parquet", rows, row_group_size=10)

    def run(self, how: str | None = None, **flags: object) -> tuple[Outcome, Counter[str]]:
        """The outcome of a run, and how often the function was asked about each answer."""
        self._log.write_text("")
        self.mood.unlink(missing_ok=True)
        if how:
            self.mood.write_text(how)
        outcome = self._analyze(
            self._data,
            reward_fn=f"{self._folder / 'mine.py'}:compute_score",
            reward_timeout=0.1,
            overwrite=True,
            sizes=Sizes(shard=1 << 9),
            **flags,
        )
        return outcome, Counter(self._log.read_text().split())


@pytest.fixture
def case(analyze: Analyze, tmp_path: Path) -> Case:
    return Case(analyze, tmp_path)


def statuses(outcome: Outcome) -> Counter[str]:
    return Counter(outcome.table()["reward_status"].to_pylist())


@pytest.mark.parametrize("how", ["timeout", "memory", "crash"])
def test_what_failed_by_the_node_is_scored_again_at_the_next_run_and_nothing_else(case: Case, how: str) -> None:
    first, _ = case.run(how)
    assert first.code == EXIT_UNSCORED
    failed = statuses(first)[how]
    assert statuses(first) == {"ok": PROBLEMS * SAMPLES - failed, how: failed}
    second, asked = case.run(bucketing_strategy="pass_rate")
    assert (second.code, asked) == (EXIT_OK, {"7": failed})
    assert "nothing is scored again" not in second.err
    assert f"{failed} that had no reward (timeout, memory or crash) will be scored again" in second.err
    third, asked = case.run(bucketing_strategy="pass_rate")
    assert (third.code, asked) == (EXIT_OK, {})
    assert "nothing is scored again" in third.err
    assert third.files() == second.files()


def test_the_outputs_are_those_of_a_run_without_failures(case: Case, tmp_path: Path) -> None:
    case.run("crash")
    healed, _ = case.run()
    clean, _ = case.run(cache_dir=tmp_path / "another_cache", output_dir=tmp_path / "another")
    assert healed.files() == clean.files()


def test_a_failure_that_comes_twice_is_final(case: Case) -> None:
    first, _ = case.run("crash")
    second, asked = case.run("crash")
    assert set(asked) == {"7"}
    third, asked = case.run()
    assert not asked
    assert first.files() == second.files() == third.files()


def test_another_failure_than_before_is_tried_once_more(case: Case) -> None:
    case.run("timeout")
    case.run("crash")
    outcome, asked = case.run()
    assert outcome.code == EXIT_OK
    assert set(asked) == {"7"}


def test_an_error_is_final(case: Case) -> None:
    first, _ = case.run("error")
    second, asked = case.run()
    assert not asked
    assert first.files() == second.files()


def test_parts_score_again_what_is_theirs(case: Case) -> None:
    case.run("crash", part="1/2")
    case.run("crash", part="2/2")
    outcome, asked = case.run()
    assert (outcome.code, set(asked)) == (EXIT_OK, {"7"})
    assert not os.path.exists(case.mood)
