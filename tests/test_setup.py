"""Setting up: the wrong Python, one without the packages, an environment of another Python; each is one line."""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from analyzer.errors import to_install

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "analyze_rollouts",
    "filter_difficulty",
    "generate_rollouts",
    "select_problems",
    "view_analysis",
    "compare_analyses",
)


@pytest.fixture(scope="module")
def old_pythons() -> list[str]:
    """Pythons older than 3.11, as different as there are: python3 of RHEL 8 is 3.6, python of many clusters is 2.7."""
    # Those of pyenv itself first: what it puts on the PATH finds them anew each time, in 0.1 s.
    places = [*map(str, Path.home().glob(".pyenv/versions/*/bin")), *os.environ["PATH"].split(os.pathsep)]
    found = []
    for name in ("python3.10", "python3.9", "python3.8", "python3.7", "python3.6", "python2.7"):
        paths = (path for place in places if (path := shutil.which(name, path=place)))
        found += itertools.islice((path for path in paths if run(path, "-c", "")[0] == 0), 1)
    if not found:
        pytest.skip("there is no Python older than 3.11 here")
    return found


@pytest.fixture(scope="module")
def old_python(old_pythons: list[str]) -> str:
    """The newest of them."""
    return old_pythons[0]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return str(folder / "bin" / "python")


def run(*words: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE", "VIRTUAL_ENV"))}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_names_the_python_it_needs_in_one_line(old_pythons: list[str], command: str) -> None:
    # All scripts begin alike: one is tried with every Python, the others with the newest and the oldest.
    for python in old_pythons if command == COMMANDS[0] else {old_pythons[0], old_pythons[-1]}:
        code, out, err = run(python, ROOT / "scripts" / f"{command}.py", "--help")
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        version = re.search(r"and this is ([23])\.\d+\.\d+ \((.*)\); `make demo PYTHON=", err)
        assert version is not None
        assert err.startswith("error: rollout-analyzer needs Python 3.11 or newer, ")


@pytest.mark.parametrize("words", [("analyze_rollouts", "--help"), (), ("completion", "bash")], ids=str)
def test_the_module_names_the_python_it_needs_in_one_line(old_pythons: list[str], words: tuple[str, ...]) -> None:
    for python in old_pythons:
        if python.endswith("python2.7"):
            continue  # cannot read an annotation
        code, out, err = run(python, "-m", "analyzer", *words, cwd=ROOT)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert err.startswith("error: rollout-analyzer needs Python 3.11 or newer, and this is 3.")


@pytest.mark.parametrize("file", ["__init__.py", "__main__.py", "commands/__init__.py"])
def test_python_3_6_can_read_what_runs_before_the_version_is_checked(file: str) -> None:
    """Holds on machines without an old Python; `from __future__ import annotations` came with 3.7."""
    source = (ROOT / "analyzer" / file).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        *((command, ("--help",)) for command in COMMANDS),
        (COMMANDS[0], ("--rollouts", "x.parquet")),
        (COMMANDS[0], ()),
    ],
    ids=str,
)
def test_one_line_names_the_packages_that_a_python_lacks(
    bare_python: str, command: str, words: tuple[str, ...]
) -> None:
    code, out, err = run(bare_python, ROOT / "scripts" / f"{command}.py", *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"error: {bare_python} cannot import ")
    # What to run: the environment of the checkout where there is one, else how to get it.
    assert (f"use {ROOT}/.venv/bin/python" in err) or (f"`make demo` in {ROOT} creates" in err)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and the files that it looks at."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.cfg", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def python_of(checkout: Path) -> str:
    return run(checkout / ".venv" / "bin" / "python", "-c", "import sys, pip; print(sys.version_info[:2])")[1].strip()


HERE = str(sys.version_info[:2])


@pytest.fixture
def quick_python(tmp_path: Path) -> str:
    """This Python, but for pip in the environments that it makes: a file that is taken for it, and there 3 s sooner."""
    path = tmp_path / "quick" / "python"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n"
        f'[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"\n'
        "without=; for folder; do [ $folder = --without-pip ] && without=pip; done; shift 2\n"
        f'{sys.executable} -m venv --without-pip "$@" && cd "$folder"/lib/python3.*/site-packages\n'
        '[ "$without" ] || touch pip.py\n'
    )
    path.chmod(0o755)
    return str(path)


def test_make_with_an_old_python_names_the_version_it_needs(old_python: str, checkout: Path) -> None:
    code, _, err = run("make", "demo", f"PYTHON={old_python}", cwd=checkout)
    assert code == 2
    assert "error: rollout-analyzer needs Python 3.11 or newer, and" in err
    assert "name another one: make demo PYTHON=python3.12" in err
    assert not (checkout / ".venv").exists()


def test_make_with_a_python_that_is_not_there_says_that_too(checkout: Path) -> None:
    code, _, err = run("make", "venv", "PYTHON=python-of-nowhere", cwd=checkout)
    assert code == 2
    assert "error: rollout-analyzer needs Python 3.11 or newer, and python-of-nowhere is" in err


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "with pip"])
def test_an_environment_of_an_old_python_is_created_again(
    old_python: str, checkout: Path, quick_python: str, quick: bool
) -> None:
    python = quick_python if quick else sys.executable
    assert run(old_python, "-m", "venv", "--without-pip", checkout / ".venv")[0] == 0
    code, out, err = run("make", "venv", f"PYTHON={python}", cwd=checkout)
    assert (code, "has another Python, or is incomplete: creating it again" in out) == (0, True), err
    assert python_of(checkout) == HERE
    (checkout / ".venv" / "of_the_user").touch()
    assert run("make", "venv", f"PYTHON={python}", cwd=checkout)[0] == 0
    assert (checkout / ".venv" / "of_the_user").exists()  # a good one is kept


def test_an_environment_of_another_supported_python_is_kept_unless_python_names_one(
    checkout: Path, quick_python: str
) -> None:
    other = another_python()
    assert run(other, "-m", "venv", "--without-pip", checkout / ".venv")[0] == 0
    (site,) = (checkout / ".venv" / "lib").glob("python3.*/site-packages")
    (site / "pip.py").touch()  # enough to be taken for whole, and there 3 s sooner than pip
    (checkout / ".venv" / ".demo").touch()
    wanted = run("make", "-n", "demo", cwd=checkout)[1]
    assert "-m venv" not in wanted  # the user chose it
    assert "-m venv" in run("make", "-n", "demo", f"PYTHON={sys.executable}", cwd=checkout)[1]
    code, out, err = run("make", "venv", f"PYTHON={quick_python}", cwd=checkout)
    assert (code, "has another Python" in out) == (0, True), err
    assert python_of(checkout) == HERE


def another_python() -> str:
    """A Python of 3.11 or newer, but not this version."""
    for minor in (11, 12, 13, 14):
        for path in [*Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"), shutil.which(f"python3.{minor}")]:
            if path and (3, minor) != sys.version_info[:2] and run(str(path), "-c", "import venv, ensurepip")[0] == 0:
                return str(path)
    pytest.skip("there is no other Python of 3.11 or newer here")


def test_an_environment_whose_creation_was_interrupted_is_created_again(checkout: Path, quick_python: str) -> None:
    venv.create(checkout / ".venv", with_pip=False)
    assert run("make", "venv", f"PYTHON={quick_python}", cwd=checkout)[0] == 0
    assert python_of(checkout) == HERE


def test_a_stamp_of_an_environment_that_is_gone_is_not_believed(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    assert "-m venv" in run("make", "-n", "setup", f"PYTHON={sys.executable}", cwd=checkout)[1]


def test_the_demo_says_how_much_it_installs_before_it_does(checkout: Path) -> None:
    planned = run("make", "-n", "demo", f"PYTHON={sys.executable}", cwd=checkout)[1].splitlines()
    (said,) = [at for at, line in enumerate(planned) if re.search(r"echo .* about \d+ MB, .* minutes", line)]
    (installs,) = [at for at, line in enumerate(planned) if "pip install" in line]
    assert said < installs
    assert "[" not in planned[installs]  # no extras: not the tools of developers
    assert "--quiet" not in planned[installs]  # pip shows its progress


def test_make_alone_lists_its_targets(checkout: Path) -> None:
    code, out, _ = run("make", cwd=checkout)
    assert code == 0
    assert {"make demo", "make test", "make check"} <= {" ".join(line.split()[:2]) for line in out.splitlines()}


def test_an_extra_is_installed_from_the_checkout_that_runs() -> None:
    """The name rollout-analyzer means something to pip only where it came from a package index."""
    assert to_install("dask") == f"pip install -e '{ROOT}[dask]'"
