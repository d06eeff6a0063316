"""Kills and signals while the real command scores, on every backend: same bytes, exit codes, no process left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from analyzer.errors import EXIT_INTERRUPTED
from tests.faults.conftest import Story
from tests.faults.drivers import Driver, command, outputs
from tests.workers.test_executor import needs

LOKY = pytest.param("loky")
# tests/workers kills a worker of dask, too. A run with it takes two seconds of CPU time.
DASK = pytest.param("dask", marks=[needs("distributed"), pytest.mark.faults])
RAY = pytest.param("ray", marks=[needs("ray"), pytest.mark.ray])


def workers_of(backend: str) -> int:
    """One of dask's, which takes long to start; tests/workers has more of them."""
    return 1 if backend == "dask" else 2


def in_mid_run(driver: Driver) -> Driver:
    """The driver once some shards are committed and others are in flight."""
    driver.wait_for(lambda: driver.committed() >= 5)
    return driver


@pytest.mark.parametrize("backend", [LOKY, DASK, RAY])
def test_f3_f20_a_worker_killed_in_mid_run_and_a_zygote_after_it_change_no_byte(
    story: Story, folder: Path, backend: str
) -> None:
    driver = in_mid_run(story.start(folder, "--backend", backend, n_jobs=workers_of(backend)))
    os.kill(driver.workers()[0], signal.SIGKILL)
    assert driver.committed() < 15
    driver.wait_for(lambda: driver.committed() >= 15)  # the others go on, and those that replace it
    os.kill(driver.zygote(), signal.SIGKILL)
    assert driver.committed() < 25
    code, err = driver.end()
    assert code == 0, err
    assert outputs(folder / "output") == story.expected
    assert driver.leaves_nothing()


@pytest.mark.parametrize("backend", [DASK, RAY])
def test_f5_a_killed_driver_leaves_no_process(story: Story, folder: Path, backend: str) -> None:
    driver = in_mid_run(story.start(folder, "--backend", backend, n_jobs=workers_of(backend)))
    driver.kill()
    left = driver.leaves_rays_agents if backend == "ray" else driver.leaves_nothing
    assert left(), [command(pid) for pid in driver.processes()]


@pytest.mark.parametrize(
    ("backend", "number"),
    [
        ("loky", signal.SIGTERM),
        ("sequential", signal.SIGINT),
        # To one with workers SLURM's example sends it, in tests/examples.
        pytest.param("sequential", signal.SIGUSR1, marks=pytest.mark.faults),
        pytest.param("loky", signal.SIGINT, marks=pytest.mark.faults),
        *(pytest.param(*one.values, signal.SIGUSR1, marks=one.marks) for one in (DASK, RAY)),
    ],
)
def test_f6_a_signal_ends_the_run_with_75_in_5_seconds(
    story: Story, folder: Path, backend: str, number: signal.Signals
) -> None:
    driver = in_mid_run(story.start(folder, "--backend", backend, n_jobs=workers_of(backend), brief=False))
    seconds = driver.stop(number)
    code, err = driver.end()
    assert (code, seconds < 5) == (EXIT_INTERRUPTED, True), (seconds, err)
    assert f"stopped by {number.name}; the same command resumes" in err
    assert "Traceback" not in err, err
    assert driver.leaves_nothing()
    assert not (folder / "output").exists()
