"""SIGKILL of the driver at any moment: no process is left, and the same command ends with the same bytes (F5, F7).

It is given twice in the end (F12); make test-faults has two drivers from the beginning in test_two_drivers.py.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from analyzer.files.outputs import MANIFEST
from tests.faults.conftest import Story
from tests.faults.drivers import outputs


def killed_and_finished(
    story: Story, folder: Path, moments: list[float], *, report: bool = False, drivers: int = 1, n_jobs: int = 2
) -> None:
    """Kill the run at each of these shares of its length, start it again each time, and let the last one end.

    drivers: that end it together, each with n_jobs workers.
    """
    for moment in moments:
        driver = story.start(folder, report=report)
        time.sleep(moment * story.seconds)
        driver.kill()
        assert driver.leaves_nothing(), f"left after a kill at {moment:.3f} of {moments}: {driver.commands()}"
    for driver in [story.start(folder, report=report, n_jobs=n_jobs) for _ in range(drivers)]:
        code, err = driver.end()
        assert code == 0, f"{moments}: {err}"
    of_another_list = {MANIFEST} if report else set()  # it names the report, which the run to compare with has not
    found, expected = outputs(folder / "output"), story.expected
    assert found.keys() == expected.keys()
    other = {name for name in found if found[name] != expected[name]} - of_another_list
    assert not other, f"other outputs after kills at {moments}: {other}"
    leftovers = [str(path) for path in folder.rglob("*") if path.name.endswith(".tmp")]
    assert not leftovers, f"{moments}: {leftovers}"


def test_f5_f7_f12_a_driver_killed_at_a_random_point_loses_nothing_but_time_and_two_end_its_run(
    story: Story, folder: Path
) -> None:
    killed_and_finished(story, folder, [random.Random(time.time_ns()).uniform(0.05, 1.0)], drivers=2, n_jobs=1)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(25))
def test_f7_100_random_kill_points(story: Story, tmp_path: Path, seed: int) -> None:
    moments = [random.Random(1000 * seed + kill).uniform(0.05, 1.05) for kill in range(4)]
    killed_and_finished(story, tmp_path, moments, report=True)
