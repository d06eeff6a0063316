"""README's commands run as they are written, and what README and docs print is what the programs print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.documentation import files
from tests.documentation.commands import PAGES, ROOT, Command, commands, run, server

BINARIES = Path(sys.prefix) / "bin"
README = ROOT / "README.md"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout to a command; what is not committed yet is in it, too."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("scripts", "examples", "configs", "analyzer"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `python` that forks what it runs; the other programs of this environment are next on the path."""
    monkeypatch.setenv("PATH", f"{BINARIES}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    return processes.python(tmp_path / "bin").parent


def printed_by(command: Command, checkout: Path, binaries: Path) -> subprocess.CompletedProcess[str]:
    environment = f'export PATH="{binaries}:$PATH" XDG_CACHE_HOME="{checkout}/cache"'
    return subprocess.run(
        ["bash", "-ec", f"{environment}\n{command.text}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_every_command_of_the_readme_runs_as_it_is_written(checkout: Path, binaries: Path) -> None:
    files.for_page("README", checkout)
    with server(0) as port:
        outcomes = [run(command, checkout, binaries, port) for command in commands(README)]
    assert [outcome.reason for outcome in outcomes if outcome.verdict == "fails"] == []
    left = {outcome.command.text for outcome in outcomes if outcome.verdict != "works"}
    assert {text.partition(" ")[0] for text in left} <= {"make", "pip"}  # tests/test_setup.py makes environments
    assert len(outcomes) - len(left) >= 9


@pytest.mark.parametrize(
    ("page", "heading", "script"),
    [
        ("README.md", "ANALYSIS SUMMARY", "analyze_rollouts.py"),
        ("docs/select_problems.md", "SELECTION", "select_problems"),
    ],
)
def test_a_block_of_output_on_a_page_is_what_its_commands_print(
    checkout: Path, binaries: Path, page: str, heading: str, script: str
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(rf"^ +=+\n +{heading}\n(?: .*\n|\n)*", text, re.MULTILINE)
    assert block is not None
    command = next(command for command in commands(ROOT / page) if script in command.text)
    shown = [line.strip() for line in block[0].strip().splitlines()]
    printed = [line.strip() for line in printed_by(command, checkout, binaries).stdout.splitlines()]
    assert [line for line in shown if line not in printed] == []


def test_the_estimate_on_the_page_of_difficulty_is_the_samples(checkout: Path, binaries: Path) -> None:
    page = (ROOT / "docs" / "difficulty.md").read_text(encoding="utf-8")
    shown = " ".join(page.partition("    How sure:\n")[2].partition("\n\n")[0].split())
    command = next(command for command in commands(README) if "analyze_rollouts" in command.text)
    assert shown in " ".join(printed_by(command, checkout, binaries).stderr.split())


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
