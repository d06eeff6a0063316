"""--help of every command: groups, required flags first, 80 columns, the name called, an example that parses."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import analyzer
from analyzer.commands.all import NAMES, find, main
from analyzer.commands.parsing import help_text, parse
from analyzer.config import Group
from tests import processes

ROOT = Path(__file__).resolve().parents[2]


ENVIRONMENT = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT, timeout=120)


def shown_by(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        find(name).main(["--help"])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_in_one_group_and_required_ones_are_first(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = shown_by(name, capsys, monkeypatch)
    assert max(map(len, shown.splitlines())) <= 80
    sections = re.split(r"^([a-z][a-z -]*):\n", shown, flags=re.MULTILINE)
    texts = dict(zip(sections[1::2], sections[2::2], strict=True))
    titles = list(texts)
    expected = ["required", *(group.value for group in Group), "general", "example", "exit codes"]
    assert titles == [title for title in expected if title in titles]
    assert titles[0] == "required"
    assert titles[-3:] == ["general", "example", "exit codes"]
    for field in dataclasses.fields(find(name).settings):
        place = "required" if field.metadata["required"] else field.metadata["group"].value
        text = re.search(rf"^  --{field.name}[ ,\n].*?(?=^  -|\Z)", texts[place], re.MULTILINE | re.DOTALL)
        assert text is not None, field.name
        assert "".join(help_text(field).split()) in "".join(text[0].split())
        assert "null" not in text[0]
        assert "None" not in text[0]
        # A comma from Python 3.13 on, where it has two names: argparse writes the value behind the last alone.
        assert len(re.findall(rf"\n  --{field.name}[ ,\n]", shown)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_help_ends_with_an_example_that_the_command_takes_and_its_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = shown_by(name, capsys, monkeypatch)
    example, codes = re.split(r"^example:\n|^exit codes:\n", shown, flags=re.MULTILINE)[1:]
    words = shlex.split(example.replace("\\\n", " "))
    command = find(name)
    while words and not words[0].startswith("-"):
        del words[0]
    parse(command.settings, command.adjust(words), "", "")
    assert re.findall(r"^  (\d+) ", codes, re.MULTILINE) == (
        ["0", "1", "2", "3", "74", "75"] if command.unscored else ["0", "1", "2", "74", "75"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_usage_has_the_name_that_was_called(name: str, tmp_path: Path) -> None:
    dashed = name.replace("_", "-")
    installed = tmp_path / dashed  # as an installer writes it
    installed.write_text(
        f"#!{sys.executable}\nimport sys\nfrom analyzer.commands.{name} import {name}\nsys.exit({name}())\n"
    )
    installed.chmod(0o755)
    for words, usage in [
        ([f"scripts/{name}.py"], f"python scripts/{name}.py"),
        (["-m", "analyzer", name], f"python -m analyzer {name}"),
        (["-m", "analyzer", dashed], f"python -m analyzer {name}"),
        ([str(installed)], dashed),
    ]:
        done = processes.run([*words, "--help"], cwd=ROOT, env=ENVIRONMENT)
        assert (done.returncode, done.stderr) == (0, "")
        assert " ".join(done.stdout.split()).startswith(f"usage: {usage} ")
        assert f"\n  {usage}" in done.stdout


HEAVY = (
    *(
        "transformers",
        "tokenizers",
        "torch",
        "sklearn",
        "scipy",
        "pandas",
        "pyarrow",
        "aiohttp",
        "openai",
        "numpy",
        "sympy",
        "joblib",
        "dask",
    ),
    "ray",
)


def test_neither_help_nor_version_nor_an_empty_configuration_imports_anything_heavy() -> None:
    """One after the other in one new interpreter: where nothing has been imported in the end, none of them did."""
    lines = [[name, "--help"] for name in NAMES] + [
        ["analyze_rollouts", flag] for flag in ("--version", "--print_config")
    ]
    code = (
        "import runpy, sys\n"
        f"for name, flag in {lines}:\n"
        "    sys.argv = [f'{name}.py', flag]\n"
        "    try: runpy.run_path(f'scripts/{name}.py', run_name='__main__')\n"
        "    except SystemExit as end: code = end.code or 0\n"
        f"    print(name, flag, code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.stderr.splitlines() == [f"{name} {flag} 0 []" for name, flag in lines]
    assert len(done.stdout.splitlines()) > 100


def test_the_package_alone_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert re.findall(r"^  (\w+) ", shown, re.MULTILINE) == [*NAMES, "sample", "completion"]
        assert max(map(len, shown.splitlines())) <= 80
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{analyzer.__version__}\n"


def test_the_command_cache_has_the_name_that_was_called_too() -> None:
    for words, usage in [
        (["scripts/analyze_rollouts.py", "cache"], "python scripts/analyze_rollouts.py cache"),
        (["-m", "analyzer", "analyze_rollouts", "cache"], "python -m analyzer analyze_rollouts cache"),
    ]:
        done = processes.run([*words, "--help"], cwd=ROOT, env=ENVIRONMENT)
        assert (done.returncode, done.stderr) == (0, "")
        assert " ".join(done.stdout.split()).startswith(f"usage: {usage} [flags]")
        assert f"\n  {usage} --prune" in done.stdout


def test_a_misspelt_command_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse-rollouts"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "error: there is no command 'analyse-rollouts' (did you mean 'analyze_rollouts'?); "
        "`python -m analyzer` lists them\n"
    )


def test_flags_without_a_command_are_those_of_the_main_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rollouts", "none.parquet"]) == 2
    assert "--output_dir is required" in capsys.readouterr().err


def test_scripts_console_commands_and_modules_are_the_same_commands() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    entries = setup["options.entry_points"]["console_scripts"].split("\n")
    assert {line.partition(" =")[0] for line in entries if line} == {name.replace("_", "-") for name in NAMES}
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == set(NAMES)


def test_a_python_without_the_packages_gets_one_line_from_the_module_too(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    for words in ([], ["analyze_rollouts", "--help"], ["completion", "bash"]):
        done = run(tmp_path / "bare" / "bin" / "python", "-m", "analyzer", *words)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert done.stderr.startswith("error: ")
