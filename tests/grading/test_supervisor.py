"""The bounded child: every call gets its reply in bounded time and memory, and the next call is fine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import RewardError
from analyzer.grading import Limits, Reply, Target, nursery
from analyzer.grading.supervisor import Supervisor
from analyzer.schema import Status
from tests.grading.processes import gone, marked
from tests.grading.targets import _LOOKS

TARGET = Target("tests.grading.targets:Target", {"mark": "m"})
LIMITS = Limits(cpu_seconds=0.1, wall_factor=8, memory_bytes=200 << 20)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(TARGET, LIMITS)
    yield supervisor
    supervisor.close()


@pytest.fixture(scope="module", autouse=True)
def _close_zygotes() -> Iterator[None]:
    yield
    nursery.close_all()


def test_the_target_is_built_with_its_options_and_loaded_once(supervisor: Supervisor) -> None:
    assert supervisor.call("about") == Reply(Status.OK, ["m", True])


def test_garbage_is_collected_in_calls_and_not_while_the_reward_is_loaded(supervisor: Supervisor) -> None:
    assert supervisor.call("garbage") == Reply(Status.OK, [False, True, True])
    assert supervisor.call("pid").value == supervisor.call("pid").value != os.getpid()


def test_text_crosses_as_it_is(supervisor: Supervisor) -> None:
    text = "\ud800 \0 \U0001f600 \u202e é " + "x" * 1_000_000
    assert supervisor.call("echo", text).value == text


@pytest.mark.parametrize(
    ("method", "args", "status", "detail"),
    [
        ("unscored", (), Status.LIMIT, "too long"),
        ("gold_error", (), Status.GOLD_ERROR, "no number"),
        ("fail", ("ValueError",), Status.ERROR, "ValueError: bad value (targets.py, line "),
        ("fail", ("SystemExit",), Status.ERROR, "SystemExit: 0"),
        ("fail", ("KeyboardInterrupt",), Status.ERROR, "KeyboardInterrupt"),
        ("fail", ("Mute",), Status.ERROR, "Mute"),
        ("recurse", (), Status.ERROR, "RecursionError"),
        ("unencodable", (), Status.INVALID_RESULT, "set is not a JSON value"),
        ("no_such_method", (), Status.ERROR, "AttributeError"),
        ("fail", ("MemoryError",), Status.MEMORY, "memory limit"),
        ("hoard", (), Status.MEMORY, "memory limit"),
        ("exit", (0,), Status.CRASH, "exit status 0"),
        ("kill_itself", ("SIGSEGV",), Status.CRASH, "SIGSEGV"),
        ("kill_itself", ("SIGABRT",), Status.CRASH, "SIGABRT"),
        ("spin", (), Status.TIMEOUT, "0.1 s of CPU time"),
        ("spin_in_c", (), Status.TIMEOUT, "0.1 s of CPU time"),
        ("sleep", (60,), Status.TIMEOUT, "not done after 0.8 s"),
        ("fork_and_hang", (), Status.TIMEOUT, "0.1 s of CPU time"),
        ("fork_and_crash", (), Status.CRASH, "SIGABRT"),
    ],
)
def test_a_call_that_fails_says_how_and_the_next_one_is_fine(
    supervisor: Supervisor, method: str, args: tuple[Any, ...], status: Status, detail: str
) -> None:
    reply = supervisor.call(method, *args)
    assert (reply.status, reply.value) == (status, None)
    assert detail in reply.detail
    assert supervisor.call("echo", "next") == Reply(Status.OK, "next")


def test_what_cannot_be_sent_is_an_input_error(supervisor: Supervisor) -> None:
    assert supervisor.call("echo", object()).status is Status.INPUT_ERROR


def test_waiting_is_not_held_against_the_cpu_budget(supervisor: Supervisor) -> None:
    assert supervisor.call("sleep", 0.3).value == "awake"


def test_a_call_about_several_items_has_the_time_of_all(supervisor: Supervisor) -> None:
    assert supervisor.call("burn", 0.2).status is Status.TIMEOUT
    assert supervisor.call("burn", 0.2, items=4).value == "done"


def test_time_used_by_earlier_calls_does_not_count(supervisor: Supervisor) -> None:
    assert {supervisor.call("burn", 0.05).value for _ in range(4)} == {"done"}


def test_a_crash_is_tried_once_more_in_a_fresh_child(supervisor: Supervisor, tmp_path: Path) -> None:
    assert supervisor.call("crash_once", str(tmp_path / "a")).value == "second time"
    assert supervisor.call("crash_once", str(tmp_path / "b"), retry=False).status is Status.CRASH


def test_output_is_discarded_and_never_taken_for_a_reply(supervisor: Supervisor) -> None:
    assert supervisor.call("print_a_lot").value == "printed"
    assert supervisor.call("echo", 1).value == 1


@pytest.mark.parametrize(
    "what", ["cwd", "environ", "recursion", "umask", "alarm", "stdout", "thread", "process", "memory", "nothing"]
)
def test_a_child_whose_state_was_changed_is_replaced(supervisor: Supervisor, what: str) -> None:
    before = supervisor.call("pid").value
    assert supervisor.call("change", what).value == what
    assert (supervisor.call("pid").value == before) == (what == "nothing")


@pytest.mark.parametrize("cls", ["Settings", "SettingsOfLoaded"])
@pytest.mark.parametrize("name", _LOOKS)
def test_a_setting_that_a_call_changes_is_as_before_for_the_next_without_a_new_child(cls: str, name: str) -> None:
    limits = Limits(cpu_seconds=30, memory_bytes=2 << 30)
    with closing(Supervisor(Target(f"tests.grading.targets:{cls}"), limits)) as supervisor:
        fresh = supervisor.call("look", name).value
        with closing(Supervisor(Target(f"tests.grading.targets:{cls}"), limits)) as other:
            first = other.call("change", name)
            assert first.status is Status.OK
            assert other.call("look", name).value == fresh
            assert other.call("change", name).value == first.value  # and it is the same process


def test_a_child_whose_streams_were_closed_is_replaced(supervisor: Supervisor) -> None:
    before = supervisor.call("pid").value
    assert supervisor.call("close_streams").value == "closed"
    assert supervisor.call("pid").value != before


def test_random_numbers_are_the_same_for_every_call(supervisor: Supervisor) -> None:
    draws = {supervisor.call("draw").value for _ in range(3)}
    supervisor.call("change", "cwd")
    assert draws == {supervisor.call("draw").value}


def test_a_fork_that_comes_back_does_not_answer_too(supervisor: Supervisor) -> None:
    assert supervisor.call("fork_and_return").value == 1
    assert [supervisor.call("echo", n).value for n in range(20)] == list(range(20))


def test_a_child_is_replaced_after_so_many_calls(supervisor: Supervisor) -> None:
    pids = [supervisor.call("pid").value for _ in range(2001)]
    assert len(set(pids[:2000])) == 1
    assert pids[2000] != pids[0]


@pytest.mark.parametrize("method", ["spin", "fork_and_hang", "fork_and_crash", "hoard"])
def test_no_process_is_left_when_the_zygote_is_closed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROCESS_LEFT", method)
    mark = f"NO_PROCESS_LEFT={method}"
    supervisor = Supervisor(Target(TARGET.path, {"mark": method}), LIMITS)
    supervisor.call("change", "process")
    supervisor.call(method)
    supervisor.call("pid")
    assert len(marked(mark)) == 2  # zygote and child; the daemons of the other calls are gone already
    supervisor.close()
    assert len(marked(mark)) == 1
    nursery.close_all()
    assert gone(mark, seconds=3)


def test_closing_the_zygotes_takes_running_children_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROCESS_LEFT", "all")
    supervisor = Supervisor(Target(TARGET.path, {"mark": "all"}), LIMITS)
    supervisor.start()
    assert len(marked("NO_PROCESS_LEFT=all")) == 2
    nursery.close_all()
    assert gone("NO_PROCESS_LEFT=all", seconds=3)
    assert supervisor.call("echo", 1).value == 1
    supervisor.close()


def in_threads(number: int, work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * number

    def run(n: int) -> None:
        results[n] = work(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_threads_each_have_a_child_and_share_a_zygote() -> None:
    def work(n: int) -> Any:
        supervisor = Supervisor(TARGET, LIMITS)
        try:
            hanging = supervisor.call("spin") if n else supervisor.call("echo", 0)
            echoes = [supervisor.call("echo", [n, i]).value for i in range(200)]
            return hanging.status, echoes, supervisor.call("pid").value, supervisor.call("zygote").value
        finally:
            supervisor.close()

    first, second = in_threads(2, work)
    assert (first[0], second[0]) == (Status.OK, Status.TIMEOUT)
    assert first[1] == [[0, i] for i in range(200)]
    assert second[1] == [[1, i] for i in range(200)]
    assert first[2] != second[2]
    assert first[3] == second[3]


def test_a_zygote_outlives_the_thread_that_started_it() -> None:
    target = Target(TARGET.path, {"mark": "thread"})

    def work(_: int) -> Any:
        supervisor = Supervisor(target, LIMITS)
        zygote = supervisor.call("zygote").value
        supervisor.close()
        return zygote

    (started,) = in_threads(1, work)
    time.sleep(0.1)
    assert work(0) == started


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.faults)])
def test_workers_of_joblib_see_the_same(backend: str) -> None:
    """A run on loky's, whose processes that grade are killed, is in tests/faults."""
    joblib = pytest.importorskip("joblib")
    from tests.grading.targets import outcomes

    expected = [outcomes()] * 2
    assert joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(outcomes)() for _ in range(2)) == expected


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("no_such_package:Reward", {}, "No module named 'no_such_package'"),
        ("tests.grading.targets:Absent", {}, "has no attribute 'Absent'"),
        ("tests.grading.targets:Target", {"unknown": 1}, "unexpected keyword argument 'unknown'"),
        ("tests.grading.targets:FailsToLoad", {}, "ImportError: libgrade.so is missing (targets.py, line "),
        ("tests.grading.targets:ExitsOnLoad", {}, "ended the process (exit status 7)"),
        ("tests.grading.targets:CrashesOnLoad", {}, "ended the process (SIGSEGV)"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_reported_at_start(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardError) as error:
        Supervisor(Target(path, options, "my reward"), LIMITS).start()
    assert "my reward" in str(error.value)
    assert message in str(error.value)


def test_a_reward_that_starts_threads_when_loaded_is_loaded_in_each_child() -> None:
    supervisor = Supervisor(Target("tests.grading.targets:StartsThread"), LIMITS)
    assert supervisor.call("works").value is True
    supervisor.call("spin")
    assert supervisor.call("works").value is True
    supervisor.close()


def test_the_environment_is_the_run_s_but_for_what_changes_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SETTING", "kept")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("SYMPY_USE_CACHE", "no")
    supervisor = Supervisor(Target(TARGET.path, {"mark": "environment"}), LIMITS)
    names = ["MY_SETTING", "PYTHONHASHSEED", "SYMPY_USE_CACHE", "SYMPY_GROUND_TYPES", "OMP_NUM_THREADS"]
    assert supervisor.call("environment", names).value == ["kept", "0", None, "python", "1"]
    supervisor.close()
