"""README's commands run as they are written, and what README and docs print is what the programs print."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.commands.analyze_rollouts import analyze_rollouts
from analyzer.errors import EXIT_OK
from tests import processes
from tests.commands import known_tokenizer
from tests.documentation import files
from tests.documentation.commands import PAGES, ROOT, Command, Outcome, commands, run, server

BINARIES = Path(sys.prefix) / "bin"
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a `python` that forks what it runs; the other programs of this environment are next on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{BINARIES}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as on one core: a worker more takes longer than it has to do here
        yield processes.python(tmp_path_factory.mktemp("bin")).parent


def checkout(folder: Path) -> Path:
    """A folder that looks like a checkout to a command; what is not committed yet is in it, too.

    The cache beside it, which `run` names to the commands, knows the sample's tokenizer.
    """
    made = folder / "checkout"
    made.mkdir()
    for name in ("scripts", "examples", "configs", "analyzer"):
        (made / name).symlink_to(ROOT / name)
    known_tokenizer(folder / "cache" / "rollout-analyzer", made / "examples" / "sample" / "tokenizer")
    return made


IMPORTS_MUCH = re.compile(r"--reward_fn math_verify|^import analyzer")
"""Sympy, or pandas: these of README's commands run in the process of the test, but in `make test-slow`."""


@pytest.fixture(scope="module")
def readme(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """The commands of README, run one after the other in a checkout."""
    folder = checkout(tmp_path_factory.mktemp("readme"))
    files.for_page("README", folder)
    with server(0) as port:
        some = [command for command in commands(README) if not IMPORTS_MUCH.search(command.text)]
        return [run(command, folder, binaries, port) for command in some]


def said_by(script: str, outcomes: list[Outcome]) -> str:
    """What the first command that runs a script said."""
    return next(outcome.said for outcome in outcomes if script in outcome.command.text)


def test_every_command_of_the_readme_runs_as_it_is_written(readme: list[Outcome]) -> None:
    assert [outcome.reason for outcome in readme if outcome.verdict == "fails"] == []
    left = {outcome.command.text for outcome in readme if outcome.verdict != "works"}
    assert {text.partition(" ")[0] for text in left} <= {"make", "pip"}  # tests/test_setup.py makes environments
    assert len(readme) - len(left) >= 7


def those_that_import_much() -> list[Command]:
    found = [command for command in commands(README) if IMPORTS_MUCH.search(command.text)]
    assert sorted(command.kind for command in found) == ["python", "sh"]
    return found


def test_so_do_those_that_import_much_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_zygotes: None
) -> None:
    folder = checkout(tmp_path)
    files.for_page("README", folder)
    monkeypatch.chdir(folder)
    for name, value in {"XDG_CACHE_HOME": tmp_path / "cache", "HF_HUB_OFFLINE": 1, "LOKY_MAX_CPU_COUNT": 1}.items():
        monkeypatch.setenv(name, str(value))
    for command in those_that_import_much():
        if command.kind == "python":
            exec(compile(command.text, f"README.md, line {command.line}", "exec"), {"__name__": "__main__"})
        else:
            program, script, *words = shlex.split(command.text)
            assert (program, script) == ("python", "scripts/analyze_rollouts.py")
            assert analyze_rollouts(words) == EXIT_OK


@pytest.mark.slow
def test_so_do_those_that_import_much_in_a_process_each(binaries: Path, tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    files.for_page("README", folder)
    outcomes = [run(command, folder, binaries) for command in those_that_import_much()]
    assert [outcome.reason for outcome in outcomes if outcome.verdict != "works"] == []


def assert_shown(page: Path, heading: str, said: str) -> None:
    block = re.search(rf"^ +=+\n +{heading}\n(?: .*\n|\n)*", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert block is not None
    shown = [line.strip() for line in block[0].strip().splitlines()]
    printed = [line.strip() for line in said.splitlines()]
    assert [line for line in shown if line not in printed] == []


def test_the_summary_in_the_readme_is_what_its_command_prints(readme: list[Outcome]) -> None:
    assert_shown(README, "ANALYSIS SUMMARY", said_by("analyze_rollouts.py", readme))


def test_the_estimates_on_pages_are_those_of_the_sample(readme: list[Outcome]) -> None:
    printed = " ".join(said_by("analyze_rollouts.py", readme).split())
    for page, heading in ((README, "How sure"), (README, "Difficulty"), (ROOT / "docs" / "difficulty.md", "How sure")):
        text = page.read_text(encoding="utf-8").partition(f"    {heading}:\n")[2].partition("\n\n")[0]
        assert text
        assert " ".join(text.split()) in printed


def test_the_report_on_the_page_of_selection_is_what_its_commands_print(tmp_path: Path, binaries: Path) -> None:
    page = ROOT / "docs" / "select_problems.md"
    command = next(command for command in commands(page) if "select_problems" in command.text)
    outcome = run(command, checkout(tmp_path), binaries)
    assert outcome.verdict == "works", outcome.reason
    assert_shown(page, "SELECTION", outcome.said)


def test_commands_are_found_in_blocks_in_tables_and_in_sentences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Run `make demo` or:\n\n```sh\npython a.py \\\n    --b\n```\n\n    analyze-rollouts --c\n    rest\n\n"
        "| x | `python d.py --e 1` |\n\n```python\nprint(1)\n```\n\n    output of it\n"
    )
    found = commands(page)
    assert [(command.line, command.kind) for command in found] == [
        (1, "sh"),
        (4, "sh"),
        (8, "sh"),
        (11, "sh"),
        (14, "python"),
    ]
    assert found[1].text == "python a.py \\\n    --b\n"
    assert found[2].text == "analyze-rollouts --c\nrest"


def test_no_page_is_left_out() -> None:
    assert {page.name for page in PAGES} >= {page.name for page in (ROOT / "docs").glob("*.md")}
