"""Zygotes that are forked from one that has imported what each of them imports: 0.03 s, not 0.15, or 0.6 with sympy.

What it cannot show: a mark in their environment, by which what they leave behind is found; their end with a worker that
is killed. Tests of those let the nursery start them.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import IO, Any

import pytest

from analyzer.grading import nursery
from tests import processes

# It ends with its parent, which is the server and not the worker; and the module that served is none of the user's own.
_BOOT = (
    "import os, sys; [sys.modules.pop(name) for name in [*sys.modules] if name.partition('.')[0] == 'tests'];"
    + nursery._BOOT.replace("json.load(sys.stdin);", "json.load(sys.stdin); config['worker'] = os.getppid();")
)
assert "getppid" in _BOOT


_CUSTOM = ("analyzer.grading.zygote", "analyzer.rewards.custom.reward", "analyzer.rewards.custom.functions")
_MATH = (
    *("analyzer.grading.zygote", "analyzer.rewards.math_verify.reward", "analyzer.rewards.math_prime"),
    *("sympy", "math_verify", "latex2sympy2_extended", "pylatexenc.latex2text"),
)


@functools.cache
def _server(imported: tuple[str, ...]) -> processes.Server:
    return processes.start_server(f"zygotes/{imported[1]}", imported, nursery._environment())


def _popen(command: Sequence[str], stdin: IO[bytes], **options: Any) -> processes.Process:
    assert list(command) == [sys.executable, "-P", "-c", nursery._BOOT]
    path = json.load(stdin)["path"]
    stdin.seek(0)
    of_the_user = not path.startswith(("analyzer.rewards.", "tests.rewards.")) or ".custom." in path
    imported = _CUSTOM if of_the_user else _MATH
    return processes.Process(["-c", _BOOT], server=functools.partial(_server, imported), stdin=stdin, **options)


@contextmanager
def warm_zygotes() -> Iterator[None]:
    """Zygotes that this process starts meanwhile are forked."""
    nursery.close_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nursery, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": _popen}))
        yield
        nursery.close_all()
