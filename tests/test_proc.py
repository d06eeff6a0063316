"""What /proc says of a process agrees with what is known of it otherwise."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from analyzer import proc


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_cpu_time_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    burn(0.05)
    assert proc.cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)

    def no_such_clock(_: int) -> float:
        raise OSError

    monkeypatch.setattr(proc.time, "clock_gettime", no_such_clock)  # type: ignore[attr-defined]
    assert proc.cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)


def test_a_process_that_has_ended_is_dead_reaped_or_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert not proc.is_dead(process.pid)
    assert process.pid in proc.children()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert proc.is_dead(process.pid)
    process.communicate()
    assert proc.is_dead(process.pid)
    assert process.pid not in proc.children()
    with pytest.raises(ProcessLookupError):
        proc.cpu_seconds(process.pid)


def test_children_are_found_on_kernels_that_do_not_list_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        listed = proc.children()

        class Path(type(proc.Path("/"))):  # type: ignore[misc]
            def read_text(self, *args: str) -> str:
                if self.name == "children":
                    raise FileNotFoundError
                return str(super().read_text(*args))

        monkeypatch.setattr(proc, "Path", Path)
        assert sorted(proc.children()) == sorted(listed)
        assert child.pid in listed
        child.kill()


def test_this_process_has_memory_and_threads() -> None:
    assert proc.mapped_bytes() > proc.resident_bytes() > 1 << 20
    assert proc.thread_count() >= 1


def test_a_process_that_is_to_die_with_another_does() -> None:
    alive, held = os.pipe()
    ready, says = os.pipe()
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            proc.die_with(os.getppid())
            os.write(held, str(os.getpid()).encode())
            os.write(says, b"ready")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 100)
        os._exit(0)
    for end in (held, ready, says):
        os.close(end)
    os.waitpid(middle, 0)
    inner = int(os.read(alive, 100))
    ended = select.select([alive], [], [], 10)[0] and os.read(alive, 1) == b""  # the last that held the pipe is gone
    os.close(alive)
    if not ended:
        os.kill(inner, signal.SIGKILL)
    assert ended


def test_a_process_that_is_to_die_with_one_that_is_gone_dies_at_once() -> None:
    child = os.fork()
    if child == 0:
        proc.die_with(os.getppid() + 10_000_000)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
