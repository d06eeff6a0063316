"""What a user's function depends on: each module of the user's own, each variable it reads, and no more than that."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analyzer import rewards
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, EXIT_USER, RewardError
from analyzer.grading import Limits, nursery
from analyzer.rewards.custom import data_files
from analyzer.rewards.custom.dependencies import _Installed
from analyzer.rewards.custom.reward import Custom
from analyzer.schema import Problem, Score, Status
from analyzer.scoring import Scorer
from tests.commands import SAMPLE, Outcome

pytestmark = pytest.mark.usefixtures("warm_zygotes")
LIMITS = Limits(cpu_seconds=2)
PROBLEM = Problem("a source", "5")
HEAD = "def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kw):\n"


@pytest.fixture(autouse=True)
def _close_zygotes() -> Iterator[None]:
    nursery.close_all()
    yield
    nursery.close_all()


def source(file: Path | str, **kwargs: Any) -> dict[str, Any]:
    """What the fingerprint of a run holds of the function in a file, loaded again."""
    nursery.close_all()
    reward = rewards.build(f"{file}:compute_score", kwargs)
    assert isinstance(reward, Custom)
    return reward.identity()


def score(file: Path, responses: int = 1, **kwargs: Any) -> list[Score]:
    return source_and_score(file, responses, **kwargs)[1]


def source_and_score(file: Path, responses: int = 1, **kwargs: Any) -> tuple[dict[str, Any], list[Score]]:
    """As `source`, and the scores of the same process."""
    nursery.close_all()
    reward = rewards.build(f"{file}:compute_score", kwargs)
    assert isinstance(reward, Custom)
    with closing(Scorer(reward, LIMITS)) as scorer:
        return reward.identity(), scorer.score(PROBLEM, ["x"] * responses)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_process_that_is_forked_for_a_test_depends_on_what_one_that_starts_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONUS", "0.5")
    write(tmp_path / "helper.py", "import yaml\nVALUE = 1.0\n")
    file = write(tmp_path / "mine.py", "import os, helper\nBONUS = os.environ['BONUS']\n" + USES)
    forked = source(file)
    monkeypatch.setattr(nursery, "subprocess", subprocess)
    assert source(file) == forked
    assert {"PyYAML"} < {*forked["distributions"]}


# ---------------------------------------------------------------- modules

USES = HEAD + "    return helper.VALUE\n"


def on_pythonpath(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    write(folder / "mine.py", "import helper\n" + USES)
    return folder / "elsewhere" / "helper.py"


def in_an_editable_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As pip leaves one: a distribution in site-packages that lists a .pth file, and the package somewhere else."""
    site = folder / "lib" / "site-packages"
    write(site / "helper-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
    write(site / "helper-1.0.dist-info" / "RECORD", "__editable__.helper-1.0.pth,,\nhelper-1.0.dist-info/METADATA,,\n")
    write(site / "helper-1.0.dist-info" / "direct_url.json", '{"dir_info": {"editable": true}}')
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(folder / "checkout"))
    write(folder / "mine.py", "import helper\n" + USES)
    return folder / "checkout" / "helper" / "__init__.py"


def dropped_into_site_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(folder / "lib" / "site-packages"))
    write(folder / "mine.py", "import helper\n" + USES)
    return folder / "lib" / "site-packages" / "helper.py"


def beside_the_real_file_of_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(folder / "real" / "real.py", "import helper\n" + USES)
    (folder / "mine.py").symlink_to(folder / "real" / "real.py")
    return folder / "real" / "helper.py"


def imported_when_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    write(folder / "mine.py", HEAD + "    import helper\n    return helper.VALUE\n")
    return folder / "elsewhere" / "helper.py"


def imported_by_name_when_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    write(folder / "mine.py", "import importlib\n" + HEAD + "    return importlib.import_module('helper').VALUE\n")
    return folder / "elsewhere" / "helper.py"


def imported_by_what_is_imported_when_called(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    write(folder / "mine.py", HEAD + "    from package import between\n    return between.value()\n")
    write(folder / "elsewhere" / "package" / "__init__.py", "")
    write(
        folder / "elsewhere" / "package" / "between.py",
        "def value():\n    from .helper import VALUE\n    return VALUE\n",
    )
    return folder / "elsewhere" / "package" / "helper.py"


def run_from_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    helper = folder / "elsewhere" / "helper.py"
    write(folder / "mine.py", f"import sys\nsys.path.insert(0, {str(helper.parent)!r})\nimport helper\n" + USES)
    return helper


HELPERS = [
    on_pythonpath,
    in_an_editable_install,
    dropped_into_site_packages,
    beside_the_real_file_of_a_link,
    imported_when_called,
    imported_by_name_when_called,
    imported_by_what_is_imported_when_called,
    run_from_a_path,
]


@pytest.mark.parametrize("place", HELPERS, ids=lambda place: place.__name__)
def test_a_helper_is_part_of_the_fingerprint_wherever_it_lies(
    place: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = place(tmp_path, monkeypatch)
    write(helper, "VALUE = 0.25\n")
    first, (score_then,) = source_and_score(tmp_path / "mine.py")
    write(helper, "VALUE = 0.75\n")
    changed, (score_now,) = source_and_score(tmp_path / "mine.py")
    assert (changed != first, score_then.reward, score_now.reward) == (True, 0.25, 0.75)


def test_what_is_the_same_has_the_same_fingerprint_with_a_call_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = imported_by_what_is_imported_when_called(tmp_path, monkeypatch)
    write(helper, "VALUE = 0.25\n")
    called, _ = source_and_score(tmp_path / "mine.py")
    assert source(tmp_path / "mine.py") == called


def test_a_helper_in_an_archive_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "helpers.zip"))
    file = write(tmp_path / "mine.py", "import helper\n" + USES)
    found = []
    for value in ("0.25", "0.75"):
        with zipfile.ZipFile(tmp_path / "helpers.zip", "w") as archive:
            archive.writestr("helper.py", f"VALUE = {value}\n")
        found.append(source(file))
    assert found[0] != found[1]


def test_a_module_that_no_source_names_is_refused_in_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    write(tmp_path / "elsewhere" / "helper.py", "VALUE = 1.0\n")
    file = write(tmp_path / "mine.py", HEAD + "    return __import__('hel' + 'per').VALUE\n")
    scores = score(file, responses=3)
    assert [one.status for one in scores] == [Status.ERROR] * 3
    assert "it loads the module helper while it is called" in scores[0].detail


def test_an_installed_library_counts_by_its_version_and_its_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "site-packages"
    info = site / "helper-1.0.dist-info"
    monkeypatch.syspath_prepend(str(site))
    write(site / "helper.py", "VALUE = 1.0\n")
    write(info / "METADATA", "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
    write(info / "RECORD", "helper.py,sha256=abc,12\nhelper-1.0.dist-info/RECORD,,\n")
    file = write(tmp_path / "mine.py", "import helper\n" + USES)
    first = source(file)
    assert first["distributions"]["helper"] == "1.0"
    write(site / "helper.py", "VALUE = 1.0  # as shipped\n")
    assert source(file) == first
    write(info / "METADATA", "Metadata-Version: 2.1\nName: helper\nVersion: 1.1\n")
    assert source(file) != first


def test_a_file_belongs_to_the_distribution_that_lists_it_whatever_its_name_is() -> None:
    installed = _Installed()
    names = ("PyYAML", "python-dateutil", "six", "orjson", "pytest")
    listed = {
        str(place.locate()): name
        for name in names
        for place in importlib.metadata.files(name) or ()
        if place.suffix in (".py", ".so") and ".." not in place.parts
    }
    assert {*listed.values()} == {*names}
    found = {file: (installed.find(file) or ("", ""))[0] for file in listed}
    assert found == listed
    assert installed.find(f"{Path(next(iter(listed))).parents[1]}/six.pyx") is None


def test_one_installed_from_a_folder_counts_by_what_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install .` again after a change, with the version as it was."""
    site = tmp_path / "lib" / "site-packages"
    info = site / "helper-1.0.dist-info"
    monkeypatch.syspath_prepend(str(site))
    write(site / "helper.py", "VALUE = 1.0\n")
    write(info / "METADATA", "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
    write(info / "direct_url.json", '{"url": "file:///home/me/helper", "dir_info": {}}')
    write(info / "RECORD", "helper.py,sha256=abc,12\n")
    file = write(tmp_path / "mine.py", "import helper\n" + USES)
    first = source(file)
    write(info / "RECORD", "helper.py,sha256=def,12\n")
    assert source(file) != first


def test_the_standard_library_and_this_package_are_not_the_user_s(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", "import json, decimal, tomllib\n" + HEAD + "    return 1.0\n")
    bare = write(tmp_path / "bare" / "mine.py", HEAD + "    return 1.0\n")
    assert source(file)["distributions"] == source(bare)["distributions"]
    (tmp_path / "moved").mkdir()
    file.rename(tmp_path / "moved" / "mine.py")
    write(file, "")
    assert source(tmp_path / "moved" / "mine.py")["sha256"] != source(bare)["sha256"]


# ---------------------------------------------------------------- environment

READS = {
    "os.environ[...] at the top": "import os\nB = float(os.environ['BONUS'])\n" + HEAD + "    return B\n",
    "os.getenv in the call": "import os\n" + HEAD + "    return float(os.getenv('BONUS', '0'))\n",
    "os.environ.get in the call": "from os import environ as e\n" + HEAD + "    return float(e.get('BONUS', '0'))\n",
    "a name kept in a constant": "import os\nNAME = 'BONUS'\n" + HEAD + "    return float(os.environ.get(NAME, '0'))\n",
    "in": "import os\n" + HEAD + "    return 0.5 * ('BONUS' in os.environ and float(os.environ['BONUS']))\n",
    "expandvars": "import os.path\n" + HEAD + "    return float(os.path.expandvars('${BONUS}'))\n",
    "bytes": "import os\n" + HEAD + "    return float(os.environb[b'BONUS'])\n",
    "a copy": "import os\n" + HEAD + "    return float(dict(os.environ)['BONUS'])\n",
    "a name made up at the top": "import os\nB = float(os.environ['BO' + 'NUS'])\n" + HEAD + "    return B\n",
    "a helper": "import helper\n" + HEAD + "    return helper.bonus()\n",
}


@pytest.mark.parametrize("code", READS.values(), ids=READS)
def test_a_variable_that_the_function_reads_is_part_of_the_fingerprint(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "helper.py", "import os\ndef bonus():\n    return float(os.environ['BONUS'])\n")
    file = write(tmp_path / "mine.py", code)
    monkeypatch.setenv("BONUS", "0.5")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    first, (score_then,) = source_and_score(file)
    assert score_then.status is Status.OK
    assert [*first["environ"]] == ["BONUS"]
    assert "0.5" not in str(first["environ"])  # never the value itself
    monkeypatch.setenv("BONUS", "0.25")
    changed, (score_now,) = source_and_score(file)
    assert changed != first
    assert (score_now.status, score_now.reward == score_then.reward) == (Status.OK, False)


def test_a_variable_read_by_a_name_that_no_source_holds_is_refused_in_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONUS_MATH", "1")
    code = "import os\n" + HEAD + "    return float(os.environ.get('BONUS_' + 'math'.upper(), '0'))\n"
    scores = score(write(tmp_path / "mine.py", code), responses=3)
    assert [one.status for one in scores] == [Status.ERROR] * 3
    assert "it reads the environment variable BONUS_MATH by a name that is not in its source" in scores[0].detail
    named = "import os\n" + HEAD + "    return float(os.environ.get(kw['variable'], '0'))\n"
    (one,) = score(write(tmp_path / "named.py", named), variable="BONUS_MATH")
    assert (one.status, one.reward) == (Status.OK, 1.0)


HARMLESS = {
    "a program with the environment": "subprocess.run(['true'], env={**os.environ, 'X': '1'}, check=True)",
    "a program": "subprocess.run(['true'], check=True)",
    "a temporary file": "tempfile.TemporaryFile().close()",
    "the home folder": "os.path.expanduser('~')",
    "looking through it": "[name for name, value in os.environ.items() if value == '?']",
}


@pytest.mark.parametrize("line", HARMLESS.values(), ids=HARMLESS)
def test_what_python_reads_for_itself_is_not_refused(line: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", f"import os, subprocess, tempfile\n{HEAD}    {line}\n    return 1.0\n")
    (one,) = score(file)
    assert (one.status, one.reward) == (Status.OK, 1.0), one.detail


def test_a_worker_with_another_value_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "mine.py", READS["os.getenv in the call"])
    monkeypatch.setenv("BONUS", "0.5")
    reward = rewards.build(f"{file}:compute_score")
    nursery.close_all()  # as in a worker of another node
    monkeypatch.setenv("BONUS", "0.75")
    with (
        closing(Scorer(reward, LIMITS)) as scorer,
        pytest.raises(RewardError, match="variable BONUS, whose value differs"),
    ):
        scorer.score(PROBLEM, ["x"])


# ---------------------------------------------------------------- data files

HERE = "import json, logging, os, pathlib\nHERE = pathlib.Path(__file__).parent\n"
READS_FILES = (
    HERE
    + """
with os.scandir(HERE / "import") as entries:
    VALUES = [json.load(open(entry)) for entry in entries]
"""
    + HEAD
    + """
    places = [HERE / "beside.json", kw["option"], os.environ["TABLE"]]
    return sum(VALUES) + sum(float(json.load(open(place))) for place in places)
"""
)


def test_a_data_file_that_the_function_reads_is_part_of_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "mine" / "mine.py", READS_FILES)
    tables = [tmp_path / "mine" / "import" / "x.json", tmp_path / "mine" / "beside.json"]
    tables += [tmp_path / "here" / "option.json", tmp_path / "variable.json"]
    for table in (*tables, tmp_path / "here" / "unrelated.json"):
        write(table, "1")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TABLE", str(tables[-1]))
    before, (first,) = source_and_score(file, option="option.json")
    for table in tables:
        table.write_text("2")
    after, (second,) = source_and_score(file, option="option.json")
    assert (first.reward, second.reward) == (4.0, 8.0)
    assert list(before["files"]) == ["$TABLE", "beside.json", "import/x.json", "option.json"] == list(after["files"])
    assert not {*before["files"].values()} & {*after["files"].values()}
    assert {name for name in before if before[name] != after[name]} == {"files"}


NAMED = {
    "open(HERE / 'table.json')": ["table.json"],
    "open(os.path.join(os.path.dirname(__file__), 'table.json'), 'r')": ["table.json"],
    "(HERE / 'data' / 'inner.json').read_text()": ["inner.json"],
    "pathlib.Path('data/inner.json').open('rb')": ["data/inner.json"],
    "open(HERE / '..' / 'above.json')": ["above.json"],
    "open('here.json')": ["here.json"],
    # What it writes to, or seems to, would make each run another one.
    "open('table.json', 'a').write('x')": [],
    "open('table.json', mode='w')": [],
    "pathlib.Path('table.json').open('w+')": [],
    "(HERE / 'table.json').write_text('x')": [],
    "NAME = 'table.json'\nopen(NAME, 'wb')": [],
    "NAME = HERE / 'table.json'\nlogging.basicConfig(filename=NAME)": [],
    "LOG = 'reward.log'": [],
    "if __name__ == '__main__':\n    print(open('table.json').read())": [],
    "import mine": [],
}


def test_files_are_known_by_what_a_source_names_and_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in (
        "mine/table.json",
        "mine/data/inner.json",
        "above.json",
        "cwd/here.json",
        "mine/reward.log",
        "mine/mine.py",
    ):
        write(tmp_path / name, "1")
    for line, names in NAMED.items():
        found = data_files.named_in(ast.parse(f"{HERE}{line}\n"), str(tmp_path / "mine" / "mine.py"))
        assert list(data_files.digests(found)) == names, line


# ---------------------------------------------------------------- the command


def test_a_changed_helper_and_a_changed_variable_are_scored_anew_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyze: Callable[..., Outcome]
) -> None:
    write(tmp_path / "elsewhere" / "helper.py", "VALUE = 0.25\n")
    code = "import helper, os\n" + HEAD + "    return helper.VALUE + float(os.environ.get('BONUS', '0'))\n"
    write(tmp_path / "mine.py", code)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))

    def mean() -> float:
        nursery.close_all()  # a command finds no process of an earlier one
        outcome = analyze(SAMPLE, reward_fn=f"{tmp_path}/mine.py:compute_score", limit=2, overwrite=True)
        assert outcome.code == EXIT_OK, outcome.err
        return float(outcome.json("summary.json")["overall_metrics"]["mean_reward"])

    assert mean() == 0.25
    write(tmp_path / "elsewhere" / "helper.py", "VALUE = 0.50\n")
    assert mean() == 0.5
    monkeypatch.setenv("BONUS", "0.25")
    assert mean() == 0.75


BROKEN = {
    "a name at the top": ("X = undefined\n" + HEAD + "    return 1.0\n", "NameError: name 'undefined' is not defined"),
    "its own syntax": ("def f(:\n", "SyntaxError: invalid syntax (mine.py, line 1)"),
    "the syntax of what it imports": ("import helper\n", "(helper.py, line 1) (mine.py, line 1)"),
}


@pytest.mark.parametrize(("code", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line_without_our_internals(
    code: str, said: str, tmp_path: Path, analyze: Callable[..., Outcome]
) -> None:
    write(tmp_path / "helper.py", "def f(:\n")
    write(tmp_path / "mine.py", code)
    outcome = analyze(SAMPLE, reward_fn=f"{tmp_path}/mine.py:compute_score")
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert said in outcome.errors[0]
    assert "functions.py" not in outcome.err
    assert "bug" not in outcome.err


def test_a_name_error_in_the_call_is_the_function_s(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    write(tmp_path / "mine.py", HEAD + "    return undefined\n")
    outcome = analyze(SAMPLE, reward_fn=f"{tmp_path}/mine.py:compute_score", limit=2)
    assert outcome.code == EXIT_UNSCORED
    assert "NameError: name 'undefined' is not defined (mine.py, line 2)" in outcome.err
    assert "bug" not in outcome.err


def test_loading_costs_no_second(tmp_path: Path) -> None:
    """The look at all installed distributions is made once for a run."""
    script = (
        "import time; from analyzer.rewards.custom import dependencies as d;"
        "t = time.process_time(); d._Installed(); print(time.process_time() - t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert float(done.stdout) < 1.0
