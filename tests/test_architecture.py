"""docs/architecture.md and the READMEs of the folders are true of the code."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "analyzer"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
DOORS = sorted(path.parent for path in PACKAGE.rglob("README.md"))
TOP = """.ci .dockerignore .gitignore .pre-commit-config.yaml CHANGELOG.md CITATION.cff CONTRIBUTING.md Dockerfile
LICENSE MANIFEST.in Makefile README.md SECURITY.md analyzer benchmarks configs constraints.txt docs examples
pyproject.toml ruff.toml scripts setup.cfg tests"""
OF_WEIGHT = 300  # lines of code from which on a folder within a folder has a README of its own


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_has_a_door_that_says_what_is_behind_it(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert [word for word in ("**Call**", "**Relies on**", "**Proven by**") if word not in readme] == []
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", readme)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert f"{folder.name}/" in PAGE


@pytest.mark.parametrize("folder", DOORS, ids=lambda folder: folder.relative_to(PACKAGE).as_posix())
def test_a_readme_names_files_that_are_there(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", readme)
    named += [
        f"analyzer/{name}" for name in re.findall(r"`(?:analyzer/)?(\w+/[\w/]+\.\w+)`", readme) if name[:5] != "tests"
    ]
    assert [path for path in named if not (ROOT / path).exists() and not path.startswith("analyzer/benchmarks")] == []
    assert [
        name for name in re.findall(r"`(_?\w+\.py)`", readme) if name[:5] != "test_" and not list(PACKAGE.rglob(name))
    ] == []
    assert len(readme.splitlines()) <= 14


def test_every_folder_of_weight_has_a_readme() -> None:
    def lines(folder: Path) -> int:
        return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in folder.glob("*.py"))

    inner = {path.parent for path in PACKAGE.glob("*/*/__init__.py")}
    assert [folder for folder in sorted(inner) if lines(folder) >= OF_WEIGHT and folder not in DOORS] == []


@pytest.mark.parametrize("folder", DOORS, ids=lambda folder: folder.relative_to(PACKAGE).as_posix())
def test_a_package_with_names_of_its_own_says_which_are_public(folder: Path) -> None:
    name = ".".join(("analyzer", *folder.relative_to(PACKAGE).parts))
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    defined = {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    }
    public = set(getattr(importlib.import_module(name), "__all__", ()))
    assert defined - public == set()
    assert [one for one in public if not hasattr(importlib.import_module(name), one)] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*\.[A-Za-z_]+)`", PAGE))))
def test_every_function_on_the_page_is_there(name: str) -> None:
    if name.endswith((".py", ".parquet", ".cfg", ".json")):
        assert list(ROOT.rglob(name)), name
        return
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(f"analyzer.{module}"), attribute)


def test_the_picture_of_the_rooms_names_what_lies_flat() -> None:
    flat = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    unnamed = {name for name in flat if name not in PAGE and name.removesuffix(".py") not in PAGE}
    assert unnamed <= {"progress.py", "result.py"}
    assert len(flat) + 2 <= 14


def test_the_imports_on_the_page_are_those_that_are_enforced() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = setup["importlinter:contract:down"]["layers"].split("\n")
    enforced = [
        {name.strip() for name in layer.split(":")} for layer in layers if layer.strip() not in ("", "__main__")
    ]
    shown = re.search(r"^    (commands >.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert [{name.strip() for name in layer.split(",")} for layer in shown[1].split(">")] == enforced


def test_the_tests_have_the_folders_of_the_package() -> None:
    """As CONTRIBUTING.md says; what is in no folder there concerns all of the program."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    across = set(re.findall(r"`(\w+)/`", page[page.index("has a folder of its own") :].partition(").")[0]))
    here = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert here - across == {
        folder.name for folder in FOLDERS if list((ROOT / "tests" / folder.name).glob("test_*.py"))
    }
    assert {folder.name for folder in FOLDERS} - here == set()


def test_nothing_lies_at_the_top_that_does_not_belong_there() -> None:
    """Such as the outputs of an analysis that was tried there."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout, which knows its files")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"git lists no files: {listed.stderr.strip()}")
    assert sorted({path.partition("/")[0] for path in listed.stdout.splitlines()} - set(TOP.split())) == []
