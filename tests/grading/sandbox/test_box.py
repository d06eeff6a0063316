"""A sandbox that breaks is replaced, and goes with whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import textwrap
import threading
import time

import pytest

from analyzer import proc
from analyzer.grading.sandbox import Budget, Level, Sandbox, Unavailable, box, levels
from tests.grading.sandbox.attacks import descendants, own_temporary_directory
from tests.grading.sandbox.conftest import EVERY_LEVEL
from tests.processes import PIPE, Process

BUDGET = Budget(cpu_seconds=0.5)


def echo(sandbox: Sandbox, text: str = "x") -> bytes:
    return sandbox.run_script(["print(input())"], text.encode(), BUDGET).output


def runner_of(sandbox: Sandbox) -> int:
    echo(sandbox)
    return sandbox._boxes["program"]._pid


def test_a_runner_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    os.kill(runner_of(sandbox), signal.SIGKILL)
    assert echo(sandbox, "again") == b"again\n"


def test_a_runner_killed_under_a_program_is_replaced_and_the_program_run_again(sandbox: Sandbox) -> None:
    runner = runner_of(sandbox)
    threading.Timer(0.1, os.kill, (runner, signal.SIGKILL)).start()
    source = "import time\ntime.sleep(0.3)\nprint(input())"
    assert sandbox.run_script([source], b"x", BUDGET).output == b"x\n"
    assert runner_of(sandbox) != runner


def test_a_runner_that_stands_still_is_replaced(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "GRACE_SECONDS", 0.2)
    os.kill(runner_of(sandbox), signal.SIGSTOP)
    assert echo(sandbox, "again") == b"again\n"


def test_a_sandbox_that_cannot_be_opened_any_more_is_unavailable(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(level: Level) -> None:
        tries.append(level)
        raise Unavailable("no more namespaces")

    monkeypatch.setattr("analyzer.grading.sandbox.judge.open_box", refuse)
    sandbox = Sandbox(level)
    for _ in range(5):
        with pytest.raises(Unavailable):
            echo(sandbox)
    assert len(tries) == 3  # then it is not tried again for every program


def test_a_program_waits_for_input_no_longer_than_its_time(sandbox: Sandbox) -> None:
    started = time.monotonic()
    budget = Budget(cpu_seconds=0.1)
    assert sandbox.run_script(["import time\ntime.sleep(60)"], b"", budget).verdict == "time_limit"
    assert time.monotonic() - started < 20  # a busy machine; alone it takes a fifth of a second


def test_a_large_input_and_output_pass(sandbox: Sandbox) -> None:
    text = b"9" * 5_000_000
    outcome = sandbox.run_script(["print(input())"], text, Budget(output_bytes=6_000_000))
    assert outcome.output == text + b"\n"


@EVERY_LEVEL
def test_closing_leaves_no_process(level: Level) -> None:
    sandbox = Sandbox(level)
    runner = runner_of(sandbox)
    sandbox.close()
    assert not os.path.exists(f"/proc/{runner}")


ALL_BELOW = "all below it"


SHARED, OWN = 0o1777, 0o755  # folders for temporary files: of all users, of root's alone


@EVERY_LEVEL
def test_no_process_and_no_file_outlives_a_worker_that_is_killed(level: Level) -> None:
    assert_nothing_outlives(level, "worker", signal.SIGKILL, SHARED)


@pytest.mark.parametrize(
    ("who", "number", "mode"),
    [
        ("worker", signal.SIGTERM, SHARED),
        (ALL_BELOW, signal.SIGTERM, SHARED),
        (ALL_BELOW, signal.SIGKILL, SHARED),
        (ALL_BELOW, signal.SIGKILL, OWN),  # who signals whom has no part in who may remove what
    ],
)
def test_no_process_and_no_file_outlives_the_one_that_started_it(
    level: Level, who: str, number: signal.Signals, mode: int
) -> None:
    assert_nothing_outlives(level, who, number, mode)


def assert_nothing_outlives(level: Level, who: str, number: signal.Signals, mode: int) -> None:
    code = f"""
        import tempfile
        from analyzer.grading.sandbox import Budget, Sandbox, find_level
        tempfile.tempdir = None  # what the process knows that this one is forked from
        sandbox = Sandbox(find_level({level.name!r}))
        sandbox.run_script(["print(1)"], b"", Budget())
        print("ready", flush=True)
        source = "import time; open('left', 'w').write('x'); time.sleep(60)"
        sandbox.run_script([source], b"", Budget(cpu_seconds=60))
    """
    with own_temporary_directory() as temporary:
        temporary.chmod(mode)
        env = {**os.environ, "TMPDIR": str(temporary)}
        with Process(["-c", textwrap.dedent(code)], stdout=PIPE, env=env) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)
            below = descendants(process.pid)
            assert below
            # Stopped meanwhile: it would start another runner, and end in the middle of that.
            process.send_signal(signal.SIGSTOP)
            for pid in sorted(below) if who == ALL_BELOW else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 10
        while (gone_on(below) or any(temporary.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert gone_on(below) == []
        assert list(temporary.iterdir()) == []


def gone_on(pids: set[int]) -> list[int]:
    """Those of the processes that are alive; the init of a container may take seconds to reap what has ended."""
    return [pid for pid in pids if not proc.is_dead(pid)]


@pytest.mark.skipif(os.geteuid() != 0, reason="for root alone another user runs the programs")
def test_a_temporary_folder_that_only_root_may_enter_is_passed_over(level: Level) -> None:
    with own_temporary_directory() as temporary:
        temporary.chmod(0o700)
        with contextlib.closing(Sandbox(level)) as sandbox:
            assert echo(sandbox) == b"x\n"
            assert list(temporary.iterdir()) == []


def test_the_probe_sees_a_sandbox_that_does_not_answer(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_PROBE", "raise SystemError")
    with pytest.raises(Unavailable, match="the probe failed"):
        levels.open_box(level)
