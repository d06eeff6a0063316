"""One run without faults, to compare the others with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.commands import known_tokenizer
from tests.faults.drivers import SAMPLE, Driver, outputs, slow_reward


class Story(NamedTuple):
    """A run of some seconds on two workers and 58 shards, and how it ends when nothing happens."""

    start: Callable[..., Driver]  # (folder, *flags): the command, with its output and cache in `folder`
    expected: dict[str, str]  # file name -> sha256
    seconds: float


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    reward = slow_reward(tmp_path_factory.mktemp("reward"))

    def start(folder: Path, *flags: str) -> Driver:
        places = {"rollouts": SAMPLE / "rollouts.parquet", "output": folder / "output", "cache": folder / "cache"}
        return Driver("--n_jobs", "2", "--reward_fn", reward, *flags, **places)

    folder = tmp_path_factory.mktemp("clean")
    known_tokenizer(folder / "cache")
    began = time.monotonic()
    driver = start(folder)
    assert driver.end()[0] == 0
    return Story(start, outputs(folder / "output"), time.monotonic() - began)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a run that need not load the tokenizer again."""
    known_tokenizer(tmp_path / "cache")
    return tmp_path
