"""Two drivers on one run from the beginning (F12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Story
from tests.faults.drivers import outputs


@pytest.mark.faults
def test_f12_two_drivers_at_once_share_the_run_and_end_with_the_same_bytes(story: Story, folder: Path) -> None:
    drivers = [story.start(folder), story.start(folder)]
    for driver in drivers:
        code, err = driver.end()
        assert code == 0, err
    assert outputs(folder / "output") == story.expected
    assert not list(folder.rglob("*.tmp"))
