"""SIGKILL of the driver at any moment: no process is left, and the same command ends with the same bytes (F5, F7)."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Story
from tests.faults.drivers import outputs


def killed_and_finished(story: Story, folder: Path, moments: list[float]) -> None:
    """Kill the run at each of these shares of its length, start it again each time, and let the last one end."""
    for moment in moments:
        driver = story.start(folder)
        time.sleep(moment * story.seconds)
        driver.kill()
        assert driver.leaves_nothing(), f"left after a kill at {moment:.3f} of {moments}: {driver.commands()}"
    code, err = story.start(folder).end()
    assert code == 0, f"{moments}: {err}"
    assert outputs(folder / "output") == story.expected, f"other outputs after kills at {moments}"
    leftovers = [str(path) for path in folder.rglob("*") if path.name.endswith(".tmp")]
    assert not leftovers, f"{moments}: {leftovers}"


def test_f5_f7_a_driver_killed_at_random_points_loses_nothing_but_time(story: Story, folder: Path) -> None:
    """One in each third of its length."""
    seed = time.time_ns()
    moments = [random.Random(seed + third).uniform(max(0.05, third / 3), (third + 1) / 3) for third in range(3)]
    killed_and_finished(story, folder, moments)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(25))
def test_f7_100_random_kill_points(story: Story, tmp_path: Path, seed: int) -> None:
    moments = [random.Random(1000 * seed + kill).uniform(0.05, 1.05) for kill in range(4)]
    killed_and_finished(story, tmp_path, moments)
