"""loky's resource tracker does its work without joblib, and with it where a version should need it."""

from __future__ import annotations

from pathlib import Path

from tests.processes import PIPE, Process

START = """
import os, sys, time
from analyzer.workers import tracker
"""
REGISTER = """
tracker.start()
import joblib.externals.loky.backend.resource_tracker as theirs
open(sys.argv[1], "w").close()
theirs.register(sys.argv[1], "file")
open(sys.argv[1] + ".first", "w").close()
theirs.register(sys.argv[1] + ".first", "file")
theirs.maybe_unlink(sys.argv[1] + ".first", "file")
while os.path.exists(sys.argv[1] + ".first"):  # until it is there
    time.sleep(0.01)
print("numpy" in open(f"/proc/{theirs._resource_tracker._pid}/maps").read(), flush=True)
os.kill(os.getpid(), 9)
"""


def run(program: str, *words: str) -> tuple[str, str]:
    """What it wrote, once the tracker has ended, too: it holds stderr."""
    with Process(["-c", START + program, *words], stdout=PIPE, stderr=PIPE, brief=True) as driver:
        return driver.communicate(timeout=60)


def test_what_a_killed_driver_leaves_is_removed_by_a_tracker_without_joblib(tmp_path: Path) -> None:
    left = tmp_path / "left"
    out, err = run(REGISTER, str(left))
    assert out == "False\n"
    assert not left.exists()
    assert "leaked file objects" in err  # loky's own words
    assert "Traceback" not in err


def test_with_a_version_of_joblib_that_needs_its_packages_the_tracker_works_as_well(tmp_path: Path) -> None:
    left = tmp_path / "left"
    needs = 'tracker._LEAN = tracker._LEAN.replace("    import", "    raise ImportError; import")'
    out, err = run(needs + REGISTER, str(left))
    assert out == "True\n"
    assert not left.exists()
    assert "Traceback" not in err
