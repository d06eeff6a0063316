"""Shell completion in the shells themselves: what TAB offers after the words of a command line."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer import buckets, rewards
from analyzer.commands.all import NAMES, find, main
from tests import processes

ROOT = Path(__file__).resolve().parents[2]
Evaluate = Callable[[str], str]


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """A function from a shell to the line that makes it complete; what the line evaluates is made once."""
    folder = tmp_path_factory.mktemp("completion")

    def line(name: str) -> str:
        made = folder / name
        if not made.exists():
            made.write_text(processes.run(["-m", "analyzer", "completion", name], cwd=ROOT, check=True).stdout)
        return f'eval "$(cat {made})"'

    return line


def shell(name: str, *words: str, stdin: str, cwd: Path) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    done = subprocess.run(
        [path, *words], input=stdin, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def offered_by_bash(evaluate: Evaluate, line: str, cwd: Path) -> list[str]:
    """What bash offers where the cursor is at the end of a line."""
    words = line.split(" ")
    program = (
        f"{evaluate('bash')}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)})\nCOMP_CWORD={len(words) - 1}\n"
        f"spec=$(complete -p {words[0]}); function=$(sed -E 's/.*-F ([^ ]+) .*/\\1/' <<< \"$spec\")\n"
        f"$function {words[0]} {words[-1]!r} {words[-2]!r}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    return shell("bash", "--norc", stdin=program, cwd=cwd).split()


@pytest.mark.parametrize("name", [name.replace("_", "-") for name in NAMES])
def test_bash_offers_the_flags_of_every_command(evaluate: Evaluate, name: str, tmp_path: Path) -> None:
    fields = dataclasses.fields(find(name.replace("-", "_")).settings)
    flags = {f"--{flag}" for field in fields for flag in (field.name, *field.metadata["aliases"])}
    general = {"--help", "--version", "--config", "--print_config"}
    assert set(offered_by_bash(evaluate, f"{name} --", tmp_path)) == flags | general


def test_bash_offers_the_values_of_a_flag(evaluate: Evaluate, tmp_path: Path) -> None:
    assert offered_by_bash(evaluate, "analyze-rollouts --over", tmp_path) == ["--overwrite"]
    assert set(offered_by_bash(evaluate, "analyze-rollouts --reward_fn math_", tmp_path)) == {
        name for name in rewards.names() if name.startswith("math_")
    }
    assert set(offered_by_bash(evaluate, "analyze-rollouts --bucketing_strategy ", tmp_path)) == {
        *buckets.names(),
        "list",
    }
    assert set(offered_by_bash(evaluate, "select-problems --pick ", tmp_path)) == {"shortest", "best", "random", "all"}


def test_bash_offers_files_and_folders(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "rollouts.parquet").touch()
    (tmp_path / "an_analysis").mkdir()
    assert offered_by_bash(evaluate, "analyze-rollouts --rollouts roll", tmp_path) == ["rollouts.parquet"]
    assert offered_by_bash(evaluate, "select-problems --analysis ", tmp_path) == ["an_analysis"]


def test_zsh_completes_every_command_and_offers_their_flags(evaluate: Evaluate, tmp_path: Path) -> None:
    # A function of zsh's completion works in its line editor only; `_arguments` is what it is handed the flags by.
    program = (
        "autoload -U compinit; compinit -u -D\n"
        f"{evaluate('zsh')}\n"
        "_arguments() { print -l -- $@ }\n"
        + "".join(f"print ${{_comps[{name.replace('_', '-')}]}}\n" for name in NAMES)
        + "_shtab_analyze_rollouts\n"
    )
    lines = shell("zsh", "-f", stdin=program, cwd=tmp_path).splitlines()
    assert lines[: len(NAMES)] == [f"_shtab_{name}" for name in NAMES]
    assert any(line.startswith("--reward_fn[") and "math_verify" in line for line in lines)


def test_fish_offers_flags_values_and_folders(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "an_analysis").mkdir()
    lines = (
        *(f"{name.replace('_', '-')} --print_" for name in NAMES),
        "analyze-rollouts --over",
        "analyze-rollouts --reward_fn math_",
        "select-problems --pick ",
        "select-problems --analysis ",
    )
    program = f"{evaluate('fish')}\n" + "".join(f"complete -C '{line}'; echo .\n" for line in lines)
    said = shell("fish", "--no-config", "-c", program, stdin="", cwd=tmp_path)
    offered = [{line.partition("\t")[0] for line in part.splitlines()} for part in said.split("\n.\n")]
    assert offered[: len(NAMES)] == [{"--print_config"}] * len(NAMES)
    assert offered[len(NAMES) : -1] == [
        {"--overwrite"},
        {name for name in rewards.names() if name.startswith("math_")},
        {"shortest", "best", "random", "all"},
        {"an_analysis/"},
    ]


def test_another_shell_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["csh"], [], ["bash", "zsh"]):
        assert main(["completion", *words]) == 2
        assert capsys.readouterr().err == "error: name one shell: python -m analyzer completion {bash,zsh,fish}\n"
