"""A signal at any moment of a process is one line at most and the documented exit code."""

from __future__ import annotations

import configparser
import re
import signal
from pathlib import Path

import pytest

from analyzer import __version__
from analyzer.commands import entry
from analyzer.commands.all import NAMES
from analyzer.errors import EXIT_INTERRUPTED
from analyzer.workers import interrupts
from tests import processes

ROOT = Path(__file__).resolve().parents[2]

MOMENTS = {  # what sends the signal -> exit code, stdout, stderr
    "importlib.import_module = lambda name: os.kill(os.getpid(), {0}); entry.main()": (
        EXIT_INTERRUPTED,
        "",
        "error: stopped by {1} before it began\n",
    ),
    "atexit.register(lambda: os.kill(os.getpid(), {0})); sys.argv[1:] = ['--version']; sys.exit(entry.main())": (
        0,
        f"{__version__}\n",
        "",
    ),
    "sys.argv[1:] = ['nonsense']; code = entry.main(); os.kill(os.getpid(), {0}); sys.exit(code)": (
        2,
        "",
        "error: there is no command 'nonsense'; `python -m analyzer` lists them\n",
    ),
    "weakref.finalize(sys, os.kill, os.getpid(), {0}).atexit = True; sys.argv[1:] = ['--version']; entry.main()": (
        0,
        f"{__version__}\n",
        "",
    ),
}


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_while_python_imports_or_ends_is_no_traceback(number: signal.Signals) -> None:
    for moment, (code, out, err) in MOMENTS.items():
        program = "import atexit, importlib, os, sys, weakref\nfrom analyzer.commands import entry\n"
        done = processes.run(["-c", program + moment.format(int(number), number.name)])
        assert (done.returncode, done.stdout, done.stderr) == (code, out, err.format(None, number.name)), moment


def test_every_way_into_a_command_listens_for_signals_first() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = dict(re.findall(r"(\S+) = (\S+)", setup["options.entry_points"]["console_scripts"]))
    assert scripts == {name.replace("_", "-"): f"analyzer.commands.entry:{name}" for name in NAMES}
    for path in (*(ROOT / "scripts").glob("*.py"), ROOT / "analyzer" / "__main__.py"):
        name = "main" if path.stem == "__main__" else path.stem
        (imported,) = re.findall(r"^from analyzer.*import.*", path.read_text(), re.MULTILINE)
        assert imported.startswith(f"from analyzer.commands.entry import {name}")
    assert (entry.SIGNALS, entry.EXIT_INTERRUPTED) == (interrupts.SIGNALS, EXIT_INTERRUPTED)
