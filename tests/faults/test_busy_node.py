"""A busy or suspended node makes grading slower and changes no reward: real load on all cores, real SIGSTOP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analyzer.errors import SandboxError
from analyzer.grading import Limits, Reply, Target, nursery
from analyzer.grading.sandbox import Budget, Held, Level, Outcome, Sandbox, Verdict, box, choose_level
from analyzer.grading.supervisor import Supervisor
from analyzer.schema import Status
from tests import processes
from tests.commands import SCRIPT, TOKENIZER, flags, parquet
from tests.grading.sandbox.attacks import descendants, descendants_but

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
BURN = "import time\nwhile time.process_time() < {seconds}: sum(range(1000))\n"
RIGHT = BURN.format(seconds=0.75) + "print(input())"
ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"


@pytest.fixture(params=["strict", "landlock"])
def level(request: pytest.FixtureRequest) -> Level:
    try:
        return choose_level(request.param)
    except SandboxError as error:
        pytest.skip(str(error))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many busy processes, over all cores."""
    code = f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(10000))"
    started = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(processes)]
    try:
        time.sleep(1.0)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_right_programs_are_right_and_endless_ones_wrong_on_a_busy_node(level: Level) -> None:
    budget = Budget(cpu_seconds=1.0)
    with busy(20), closing(Sandbox(level)) as sandbox:
        right = [sandbox.run_script([RIGHT], b"5", budget) for _ in range(4)]
        assert right == [Outcome(None, b"5\n")] * 4
        test = f"def check(f):\n    assert f(1) == 2\n{BURN.format(seconds=0.5)}"
        program = f"def f(x):\n    exec({BURN.format(seconds=0.5)!r}, {{}})\n    return x + 1"
        assert sandbox.check([program], ["", test, "check(f)"], ["f"], budget).verdict is Verdict.ACCEPTED
        assert sandbox.run_script([ENDLESS], b"", budget).verdict is Verdict.TIME_LIMIT
    with closing(Sandbox(level)) as sandbox:
        assert sandbox.run_script([ENDLESS], b"", budget).verdict is Verdict.TIME_LIMIT  # and on a quiet one


def test_a_child_is_in_time_on_a_busy_node() -> None:
    limits = Limits(cpu_seconds=0.5, wall_factor=2, memory_bytes=200 << 20)
    target = Target("tests.grading.targets:Target", {"mark": "busy"})
    with busy(20), closing(Supervisor(target, limits)) as supervisor:
        assert [supervisor.call("burn", 0.3) for _ in range(3)] == [Reply(Status.OK, "done")] * 3
        assert supervisor.call("burn_below", 0.5) == Reply(Status.OK, "done")
        assert supervisor.call("spin").detail == "over 0.5 s of CPU time"
    nursery.close_all()


WORKER = """
import sys
from analyzer.grading import Limits, Target
from analyzer.grading.sandbox import Budget, Sandbox, find_level
from analyzer.grading.supervisor import Supervisor

if sys.argv[1] == "child":
    supervisor = Supervisor(Target("tests.grading.targets:Target"), Limits(0.6, 2, 200 << 20))
    supervisor.start()
    print("ready", flush=True)
    print(supervisor.call("burn", 0.5), flush=True)
else:
    sandbox = Sandbox(find_level(sys.argv[1]))
    sandbox.run_script(["print(1)"], b"", Budget())
    print("ready", flush=True)
    print(sandbox.run_script([sys.argv[2]], b"5", Budget(cpu_seconds=1.0, wall_factor=2)), flush=True)
"""


@contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stop(pids: set[int], seconds: float) -> None:
    for number, pause in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(pause)


def chosen(process: subprocess.Popen[str], who: str) -> set[int]:
    """The processes of a worker: all, itself, those below it, or the one that is youngest, which is graded."""
    below = descendants(process.pid)
    return {"all": {process.pid, *below}, "worker": {process.pid}, "below": below, "graded": {max(below)}}[who]


@pytest.mark.parametrize("who", ["all", "worker", "below", "graded"])
def test_a_suspended_program_goes_on_and_is_right(level: Level, who: str) -> None:
    budget = Budget(cpu_seconds=1.0, wall_factor=2)
    with worker(level.name, RIGHT) as process:
        assert line(process) == "ready"
        time.sleep(0.3)
        stop(chosen(process, who), 2.0 + box.GRACE_SECONDS if who == "all" else 2 * budget.wall_seconds)
        assert line(process) == str(Outcome(None, b"5\n"))


@pytest.mark.parametrize("who", ["all", "worker", "below", "graded"])
def test_a_suspended_child_goes_on_and_answers(who: str) -> None:
    with worker("child") as process:
        assert line(process) == "ready"
        time.sleep(0.2)
        stop(chosen(process, who), 4.0)
        assert line(process) == str(Reply(Status.OK, "done"))


def test_a_program_that_stays_stopped_has_no_verdict(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "HELD_FACTOR", 1.0)

    before = descendants(os.getpid())

    def stop_the_program() -> None:
        time.sleep(0.3)
        os.kill(max(descendants_but(before)), signal.SIGSTOP)

    with closing(Sandbox(level)) as sandbox:
        sandbox.run_script(["print(1)"], b"", Budget())
        thread = threading.Thread(target=stop_the_program)
        thread.start()
        with pytest.raises(Held):
            sandbox.run_script([BURN.format(seconds=5)], b"", Budget(cpu_seconds=1.0, wall_factor=1))
        thread.join()
        assert sandbox.run_script(["print(1)"], b"", Budget()) == Outcome(None, b"1\n")


def test_a_sleeping_program_is_run_twice_and_then_wrong(level: Level) -> None:
    budget = Budget(cpu_seconds=0.3)
    with closing(Sandbox(level)) as sandbox:
        began = time.monotonic()
        outcome = sandbox.run_script(["import time\nopen('x', 'w').close()\ntime.sleep(60)"], b"", budget)
        assert (outcome.verdict, outcome.sure) == (Verdict.TIME_LIMIT, False)
        assert time.monotonic() - began >= 0.6


def test_a_program_that_is_killed_from_outside_is_run_again(level: Level) -> None:
    with worker(level.name, RIGHT) as process:
        assert line(process) == "ready"
        time.sleep(0.3)
        os.kill(max(descendants(process.pid)), signal.SIGKILL)
        assert line(process) == str(Outcome(None, b"5\n"))


# ---------------------------------------------------------------- through the whole command

GOLD = '[{"input": "5\\n", "output": "5\\n"}]'
PROGRAMS = {"right": (RIGHT, 1.0), "wrong": ("print(6)", 0.0), "endless": ("while True: pass", 0.0)}


def code_run(tmp_path: Path) -> list[str]:
    """Write rollouts of programs; returns the words of the command that scores them."""
    rows = [
        {
            "prompt": "Print what you read.",
            "response": f"```python\n{PROGRAMS[name][0]}\n```",
            "data_idx": name,
            "sample_idx": sample,
            "original_data_source": "livecodebench",
            "original_reward_model": {"style": "rule", "ground_truth": GOLD},
        }
        for name in PROGRAMS
        for sample in range(2)
    ]
    parquet(tmp_path / "r.parquet", rows)
    return flags(
        rollouts=tmp_path / "r.parquet",
        model_path=TOKENIZER,
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        allow_code_execution=True,
        code_timeout=1.0,
        n_jobs=2,
        no_report=True,
    )


def check_rewards(tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "out" / "rollouts_with_rewards.parquet")
    names, rewards = table["data_idx"].to_pylist(), table["reward"].to_pylist()
    assert table["reward_status"].to_pylist() == ["ok"] * 6
    assert rewards == [PROGRAMS[name][1] for name in names]


def test_the_command_scores_right_programs_right_on_a_busy_node(tmp_path: Path) -> None:
    words = code_run(tmp_path)
    with busy(20):
        done = processes.run([SCRIPT, *words], cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr
    check_rewards(tmp_path)
    again = processes.run([SCRIPT, *words, "--overwrite"], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    check_rewards(tmp_path)


def test_the_command_scores_right_programs_right_when_it_was_suspended(tmp_path: Path) -> None:
    """SIGSTOP for longer than any wall budget, as a scheduler does that needs the node."""
    process = processes.Process([SCRIPT, *code_run(tmp_path)], cwd=tmp_path)
    began = time.monotonic()
    # Stopped while programs run: a program's own process has the sandbox's launcher above it.
    while time.monotonic() - began < 120 and not list((tmp_path / "cache").rglob("*")):
        time.sleep(0.1)
    time.sleep(1.5)
    assert process.poll() is None  # it is at work
    stop({process.pid, *descendants(process.pid)}, 3.0 + box.GRACE_SECONDS)
    assert process.wait(300) == 0
    check_rewards(tmp_path)
