"""Real kills of the processes that grade: what the rollout gets, that the next is fine, that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from analyzer import proc
from analyzer.errors import EXIT_USER, RewardError
from analyzer.grading import Limits, Reply, Target, nursery
from analyzer.grading.supervisor import Supervisor
from analyzer.schema import Status
from tests.grading.processes import gone, marked

TARGET = Target("tests.grading.targets:Target", {"mark": "faults"})
LIMITS = Limits(cpu_seconds=0.1, wall_factor=12, memory_bytes=200 << 20)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def supervisor(warm_zygotes: None) -> Iterator[Supervisor]:
    """Its zygote is forked, as is one that replaces it. Tests of what a zygote leaves behind have it started."""
    supervisor = Supervisor(TARGET, LIMITS)
    supervisor.start()
    yield supervisor
    supervisor.close()
    nursery.close_all()


def signalled(pid: Callable[[], int], number: int, after: float, times: int = 1) -> threading.Thread:
    """A thread that signals the process that `pid` names, some time from now, so many times."""

    def run() -> None:
        for _ in range(times):
            time.sleep(after)
            os.kill(pid(), number)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def current_child(supervisor: Supervisor) -> int:
    child = supervisor._child
    if child is None:
        raise AssertionError("no child is running")
    return child.pid


def test_f1_a_child_killed_once_in_mid_call_is_replaced_and_the_call_made_again(supervisor: Supervisor) -> None:
    thread = signalled(lambda: current_child(supervisor), signal.SIGKILL, after=0.1)
    assert supervisor.call("sleep", 0.4) == Reply(Status.OK, "awake")
    thread.join()


def test_f1_a_child_killed_twice_is_a_crash_and_the_next_call_is_fine(supervisor: Supervisor) -> None:
    thread = signalled(lambda: current_child(supervisor), signal.SIGKILL, after=0.2, times=2)
    reply = supervisor.call("sleep", 0.9)
    thread.join()
    assert (reply.status, reply.detail) == (Status.CRASH, "the grading process crashed (SIGKILL)")
    assert supervisor.call("echo", "next").value == "next"


def test_f1_a_child_killed_between_calls_is_not_noticed(supervisor: Supervisor) -> None:
    os.kill(current_child(supervisor), signal.SIGKILL)
    time.sleep(0.05)
    assert supervisor.call("echo", "next").value == "next"


def test_f2_a_killed_zygote_is_started_again_and_the_call_made_again(supervisor: Supervisor) -> None:
    zygote = supervisor.call("zygote").value
    thread = signalled(lambda: zygote, signal.SIGKILL, after=0.1)
    assert supervisor.call("sleep", 0.4).value == "awake"
    thread.join()
    assert supervisor.call("zygote").value != zygote


def test_f2_what_a_reward_left_running_goes_when_its_zygote_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "daemon")
    supervisor = Supervisor(Target(TARGET.path, {"mark": "daemon"}), LIMITS._replace(cpu_seconds=10))
    zygote = supervisor.call("zygote").value
    thread = signalled(lambda: zygote, signal.SIGKILL, after=0.15)
    assert supervisor.call("fork_and_hang", retry=False).status is Status.CRASH
    thread.join()
    supervisor.call("echo", 1)
    supervisor.close()
    nursery.close_all()
    assert gone("FAULT=daemon", seconds=3)


def test_f4_a_stopped_child_is_a_timeout() -> None:
    with closing(Supervisor(TARGET, LIMITS._replace(wall_factor=1))) as supervisor:
        supervisor.start()
        child = current_child(supervisor)
        os.kill(child, signal.SIGSTOP)
        reply = supervisor.call("echo", "never read")
        assert (reply.status, reply.detail.partition(",")[0]) == (Status.TIMEOUT, "stopped")
        assert not Path(f"/proc/{child}").exists()
        assert supervisor.call("echo", "next").value == "next"
    nursery.close_all()


def test_f4_a_stopped_zygote_is_replaced(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "COMMAND_SECONDS", 0.5)
    os.kill(supervisor.call("zygote").value, signal.SIGSTOP)
    assert supervisor.call("exit", 1).status is Status.CRASH
    assert supervisor.call("echo", "next").value == "next"


def test_f13_memory_is_bounded_above_what_is_loaded_and_the_worker_is_spared() -> None:
    limits = LIMITS._replace(cpu_seconds=30)  # touching 200 MB takes its time on a busy machine
    with closing(Supervisor(TARGET, limits)) as supervisor:
        assert supervisor.call("hoard_slowly").status is Status.MEMORY
        child = supervisor.call("pid").value
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"


def test_f14_a_reward_whose_library_is_missing_ends_the_run_at_start() -> None:
    with pytest.raises(RewardError, match="ImportError: libgrade") as error:
        Supervisor(Target("tests.grading.targets:FailsToLoad"), LIMITS).start()
    assert error.value.exit_code == EXIT_USER


@pytest.mark.parametrize(
    "data",
    [
        "garbage" * 100,
        "\xff\xff\xff\xff",
        "\x00\x00\x00\x02{}",
        "\x00\x00\x00\x04null",
        "\x00\x0d\xbb\xa0" + "[" * 450_000 + "]" * 450_000,
        "\x00\x06\xdd\xd0" + "[" * 450_000,
        '\x00\x00\x00\x34{"id":1,"status":"ok","value":"forged","last":false }',
    ],
    ids=["garbage", "huge", "empty", "null", "nested", "open", "stale id"],
)
def test_f17_what_is_no_reply_is_a_crash_and_never_the_reward_of_another(supervisor: Supervisor, data: str) -> None:
    reply = supervisor.call("write_to_all", data)
    assert reply.status is Status.CRASH
    assert "a malformed reply" in reply.detail
    assert [supervisor.call("echo", n).value for n in range(5)] == [0, 1, 2, 3, 4]


@contextmanager
def spinning(number: int, cpu: int) -> Iterator[None]:
    code = (
        f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nprint(flush=True)\n"
        f"while os.getppid() == {os.getpid()}: sum(range(10000))"
    )
    processes = [
        # Each in a session of its own: the kernel's autogroups would give them one share between them.
        subprocess.Popen([sys.executable, "-SEc", code], stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(number)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is up
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_f18_a_busy_node_makes_a_call_slower_and_changes_no_reply() -> None:
    cpu = min(os.sched_getaffinity(0))
    limits = LIMITS._replace(wall_factor=1.5)
    with spinning(4, cpu), closing(Supervisor(TARGET, limits)) as supervisor:
        supervisor.start()
        os.sched_setaffinity(current_child(supervisor), {cpu})
        started = time.monotonic()
        assert supervisor.call("burn", 0.06).value == "done"
        assert time.monotonic() - started > limits.cpu_seconds * limits.wall_factor  # not compared with it
    nursery.close_all()


WORKER = """
import sys
from analyzer.grading import Limits, Target
from analyzer.grading.supervisor import Supervisor

supervisor = Supervisor(Target(sys.argv[1]), Limits(60, 5, 200 << 20))
supervisor.start()
supervisor.call("change", "process")
supervisor.start()
print("ready", flush=True)
try:
    supervisor.call(sys.argv[2])
except KeyboardInterrupt:
    print(supervisor.call("echo", "interrupted").value, flush=True)
"""


def start_worker(mark: str, path: str, method: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, path, method],
        cwd=ROOT,
        env=os.environ | {"FAULT": mark, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise AssertionError("started with a pipe")
    return process.stdout.readline().strip()


def wait_until_busy(mark: str) -> None:
    """Wait until one of these processes has taken CPU time: the call that spins has begun."""
    before = {pid: proc.cpu_seconds(pid) for pid in marked(mark)}
    while all(proc.cpu_seconds(pid) - spent < 0.1 for pid, spent in before.items()):
        time.sleep(0.02)


@pytest.mark.parametrize(
    "method", [pytest.param("spin", marks=pytest.mark.faults), "spin_in_c", "sleep_long", "fork_and_hang"]
)
def test_no_process_is_left_when_a_worker_is_killed(method: str) -> None:
    with start_worker(method, TARGET.path, method) as worker:
        assert read_line(worker) == "ready"
        time.sleep(0.2)  # it is in the call
        assert len(marked(f"FAULT={method}")) >= 3  # worker, zygote, child
        worker.kill()
    assert gone(f"FAULT={method}", seconds=3)


def test_no_process_is_left_when_a_worker_is_killed_while_the_reward_loads() -> None:
    with start_worker("loading", "tests.grading.targets:HangsOnLoad", "spin") as worker:
        while len(marked("FAULT=loading")) < 2:
            time.sleep(0.02)
        time.sleep(0.2)
        worker.kill()
    assert gone("FAULT=loading", seconds=3)


def test_an_interrupted_call_ends_its_child_and_the_next_one_has_another() -> None:
    with start_worker("interrupt", TARGET.path, "spin") as worker:
        assert read_line(worker) == "ready"
        wait_until_busy("FAULT=interrupt")
        worker.send_signal(signal.SIGINT)
        assert read_line(worker) == "interrupted"
    assert worker.returncode == 0
    assert gone("FAULT=interrupt", seconds=3)
