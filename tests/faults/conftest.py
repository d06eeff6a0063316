"""One run without faults, to compare the others with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.commands import known_tokenizer
from tests.faults.drivers import Driver, many_shards, outputs, slow_reward


class Story(NamedTuple):
    """A run of a second or two on two workers and 25 shards, and how it ends when nothing happens."""

    start: Callable[..., Driver]  # (folder, *flags, n_jobs, brief, report): the command, output and cache in `folder`
    rollouts: Path
    clean: Path  # the folder of the run that nothing happened to
    reward: str  # as --reward_fn takes it
    expected: dict[str, str]  # file name -> sha256
    seconds: float


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("clean")
    reward, rollouts = slow_reward(folder), many_shards(folder / "rollouts")

    def start(folder: Path, *flags: str, n_jobs: int = 2, brief: bool = True, report: bool = False) -> Driver:
        places = {"rollouts": rollouts, "output": folder / "output", "cache": folder / "cache"}
        given = "--n_jobs", str(n_jobs), "--reward_fn", reward, *(() if report else ("--no_report",)), *flags
        return Driver(*given, **places, brief=brief)

    known_tokenizer(folder / "cache")
    began = time.monotonic()
    driver = start(folder)
    assert driver.end()[0] == 0
    assert driver.committed() == 25
    return Story(start, rollouts, folder, reward, outputs(folder / "output"), time.monotonic() - began)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a run that need not load the tokenizer again."""
    known_tokenizer(tmp_path / "cache")
    return tmp_path
