"""Two drivers on one run (F12), and a run shared out by --part."""

from __future__ import annotations

from pathlib import Path

from tests.faults.conftest import Story
from tests.faults.drivers import outputs


def test_f12_two_drivers_at_once_share_the_run_and_end_with_the_same_bytes(story: Story, tmp_path: Path) -> None:
    drivers = [story.start(tmp_path), story.start(tmp_path)]
    for driver in drivers:
        code, err = driver.end()
        assert code == 0, err
    assert outputs(tmp_path / "output") == story.expected
    assert not [path for path in tmp_path.rglob("*.tmp")]
