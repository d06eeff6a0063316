"""Zygotes that workers share with their driver: one load for all, and nobody's end takes the others along."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analyzer import proc
from analyzer.grading import Limits, Target, nursery
from analyzer.grading.supervisor import Supervisor
from analyzer.schema import Status
from tests.processes import PIPE, Process

ROOT = Path(__file__).parents[2]
PATH = "tests.grading.targets:Target"
LIMITS = Limits(cpu_seconds=5.0)
WORKER = f"""
import sys
from analyzer.grading import Limits, Target
from analyzer.grading.supervisor import Supervisor

supervisor = Supervisor(Target({PATH!r}, {{"mark": sys.argv[1]}}), Limits(cpu_seconds=5.0))
for line in sys.stdin:
    reply = supervisor.call(line.strip(), retry=False)
    print(reply.status, reply.value, flush=True)
"""


class Worker:
    """Another process, which calls methods as it is told."""

    def __init__(self, mark: str) -> None:
        self.process = Process(["-c", WORKER, mark], cwd=ROOT, stdin=PIPE, stdout=PIPE)

    def call(self, method: str) -> tuple[str, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(method + "\n")
        self.process.stdin.flush()
        status, _, value = self.process.stdout.readline().strip().partition(" ")
        return status, value

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def driver() -> Iterator[Supervisor]:
    """A child of this process, whose zygote is shared."""
    nursery.close_all()
    supervisor = Supervisor(Target(PATH, {"mark": "shared"}), LIMITS)
    supervisor.start()
    nursery.share()
    yield supervisor
    supervisor.close()
    nursery.close_all()


@pytest.fixture
def worker(driver: Supervisor) -> Iterator[Callable[[str], Worker]]:
    """A function that starts a worker of the driver."""
    workers: list[Worker] = []

    def start(mark: str = "shared") -> Worker:
        workers.append(Worker(mark))
        return workers[-1]

    yield start
    for one in workers:
        one.end()


def dead(pid: int, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not proc.is_dead(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return proc.is_dead(pid)


def test_a_worker_has_children_of_its_own_from_the_zygote_of_its_driver(
    driver: Supervisor, worker: Callable[..., Worker]
) -> None:
    first, second = worker(), worker()
    zygote = str(driver.call("zygote").value)
    assert [first.call("zygote"), second.call("zygote")] == [("ok", zygote)] * 2
    assert len({first.call("pid"), second.call("pid"), ("ok", str(driver.call("pid").value))}) == 3


def test_what_a_run_announced_that_ended_before_it_shared_is_forgotten(worker: Callable[..., Worker]) -> None:
    nursery.announce()
    nursery.close_all()
    driver = Supervisor(Target(PATH, {"mark": "shared"}), LIMITS)
    zygote = driver.call("zygote").value
    nursery.share()
    assert worker().call("zygote") == ("ok", str(zygote))
    driver.close()
    nursery.close_all()


def test_another_reward_is_not_taken_for_the_one_that_is_shared(
    driver: Supervisor, worker: Callable[..., Worker]
) -> None:
    other = worker("other")
    assert other.call("zygote") != ("ok", str(driver.call("zygote").value))
    assert other.call("about") == ("ok", "['other', True]")


def test_a_child_that_dies_is_replaced_from_the_same_zygote(driver: Supervisor, worker: Callable[..., Worker]) -> None:
    one = worker()
    before = one.call("pid")
    os.kill(int(before[1]), signal.SIGKILL)
    assert one.call("pid")[0] == Status.CRASH
    assert one.call("pid") != before
    assert one.call("zygote") == ("ok", str(driver.call("zygote").value))


def test_the_children_of_a_worker_end_with_it_and_no_others(driver: Supervisor, worker: Callable[..., Worker]) -> None:
    killed, other = worker(), worker()
    child, others = int(killed.call("pid")[1]), other.call("pid")
    own = driver.call("pid").value
    killed.process.kill()
    assert dead(child)
    assert other.call("pid") == others
    assert driver.call("pid").value == own


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_worker_whose_shared_zygote_has_ended_starts_its_own(
    how: str, driver: Supervisor, worker: Callable[..., Worker]
) -> None:
    one = worker()
    child, zygote = int(one.call("pid")[1]), driver.call("zygote").value
    if how == "killed":
        os.kill(zygote, signal.SIGKILL)
    else:
        nursery.close_all()
    assert dead(child)
    assert one.call("echo")[0] == Status.CRASH
    assert one.call("zygote")[1] not in ("", str(zygote))
    assert one.call("about") == ("ok", "['shared', True]")


def test_a_worker_without_a_driver_starts_its_own(
    driver: Supervisor, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(nursery.SHARED, "of another host")
    assert worker().call("zygote") != ("ok", str(driver.call("zygote").value))


def test_what_a_driver_shared_ends_when_it_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(nursery.SHARED, raising=False)
    code = (
        f"from tests.grading.test_sharing import *\nimport time\nsupervisor = Supervisor(Target({PATH!r}, "
        "{'mark': 'shared'}), LIMITS)\nprint(supervisor.call('zygote').value, flush=True)\nnursery.share()\n"
        "one = Worker('shared')\nprint(one.call('pid')[1], flush=True)\ntime.sleep(60)"
    )
    with Process(["-c", code], cwd=ROOT, stdout=PIPE) as driver:
        assert driver.stdout is not None
        pids = [int(driver.stdout.readline()) for _ in range(2)]
        driver.kill()
    assert all(map(dead, pids))
