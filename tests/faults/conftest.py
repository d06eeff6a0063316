"""One run without faults, to compare the others with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.drivers import SAMPLE, Driver, outputs, slow_reward


class Story(NamedTuple):
    """A run of some seconds on two workers and 58 shards, and how it ends when nothing happens."""

    start: Callable[..., Driver]  # (folder, *flags): the command, with its output and cache in `folder`
    known: Path  # what its cache knows of the tokenizer: copied, it makes others start faster
    expected: dict[str, str]  # file name -> sha256
    seconds: float


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    reward = slow_reward(tmp_path_factory.mktemp("reward"))

    def start(folder: Path, *flags: str) -> Driver:
        places = {"rollouts": SAMPLE / "rollouts.parquet", "output": folder / "output", "cache": folder / "cache"}
        return Driver("--n_jobs", "2", "--reward_fn", reward, *flags, **places)

    folder = tmp_path_factory.mktemp("clean")
    began = time.monotonic()
    driver = start(folder)
    assert driver.end()[0] == 0
    return Story(start, folder / "cache" / "tokenizers", outputs(folder / "output"), time.monotonic() - began)


@pytest.fixture
def folder(story: Story, tmp_path: Path) -> Path:
    """A folder for a run that need not load the tokenizer anew."""
    shutil.copytree(story.known, tmp_path / "cache" / "tokenizers")
    return tmp_path
