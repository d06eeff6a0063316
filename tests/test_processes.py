"""A forked command is, to all who look at it, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.processes import PIPE, ROOT, Process

SELF = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), os.environ.get("GIVEN"), os.environ.get("LEFT_OUT"), __name__,
                  sys.path[0], os.getsid(0) == os.getpid(), sys.stdin.read(), sys.stdout.isatty()]))
print("to stderr", file=sys.stderr)
"""

ENDS = {
    "falls off the end": "import atexit; atexit.register(print, 'at exit'); print('said')",
    "a number": "import sys; sys.exit(75)",
    "a sentence": "import sys; sys.exit('no room')",
    "at once": "import os; os._exit(3)",
    "an error": "import atexit; atexit.register(print, 'at exit'); raise ValueError('no room')",
    "an exit code past a byte": "import sys; sys.exit(-1)",
    "nothing said": "import sys; sys.exit(None)",
    "something else said": "import sys; sys.exit(['no', 'room'])",
    "a thread goes on": "import threading, time; threading.Timer(0.05, print, ['from the thread']).start()",
    "what it says does not fit": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('said')",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
}


@pytest.mark.parametrize("way", ["script", "-m", "-c"])
def test_it_sees_what_a_new_interpreter_sees(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEFT_OUT", "1")
    (tmp_path / "seen_by.py").write_text(SELF)
    words = {"script": [str(tmp_path / "seen_by.py")], "-m": ["-m", "seen_by"], "-c": ["-c", SELF]}[way]
    env = {name: value for name, value in os.environ.items() if name != "LEFT_OUT"} | {"GIVEN": "é"}
    forked = processes.run([*words, "a", "--b"], cwd=tmp_path, env=env)
    started = subprocess.run(
        [sys.executable, *words, "a", "--b"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert json.loads(forked.stdout) == json.loads(started.stdout)
    assert (forked.returncode, forked.stderr) == (0, started.stderr)


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_it_ends_as_a_new_interpreter_ends(code: str) -> None:
    forked = processes.run(["-c", code])
    # A shell starts what runs in the background with SIGINT ignored, which a new interpreter leaves so.
    started = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_it_can_be_talked_to_and_killed() -> None:
    code = "import os; print(os.getpid(), os.getsid(0), flush=True); print(input()[::-1], flush=True); input()"
    with Process(["-c", code], stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid} {process.pid}\n"
        process.stdin.write("abc\n")
        process.stdin.flush()
        assert process.stdout.readline() == "cba\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.communicate() == ("", "")
        assert process.returncode == -signal.SIGKILL


def test_a_shell_finds_it_by_the_name_of_python(tmp_path: Path) -> None:
    python = processes.python(tmp_path)
    code = "import signal as s, sys; s.signal(s.SIGUSR1, lambda *_: sys.exit(75)); print('on', flush=True); s.pause()"
    with subprocess.Popen(
        ["sh", "-c", f'exec {python} -c "$0"', code],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGUSR1)
    assert process.returncode == 75
    killed = subprocess.run([python, "-c", ENDS["killed"]], check=False)
    assert killed.returncode == -signal.SIGKILL


def test_what_python_reads_as_it_starts_cannot_be_given() -> None:
    with pytest.raises(ValueError, match="PYTHONHASHSEED is read when Python starts"):
        Process(["-c", ""], env={**os.environ, "PYTHONHASHSEED": "7"})


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_each_command_says_the_same_forked_or_started(script: str) -> None:
    words = [str(ROOT / "scripts" / script), "--no_such_flag"]
    forked = processes.run(words)
    started = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert forked.returncode == 2
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
