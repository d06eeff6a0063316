"""What a release says of itself: one version everywhere, data files that exist. `.ci/dist` builds and installs it."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import analyzer
from analyzer.commands.all import main

ROOT = Path(__file__).resolve().parent.parent


def setup_cfg() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_the_version_and_its_date_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == citation["version"] == analyzer.__version__
    assert newest[2] == str(citation["date-released"])
    assert changelog.index("## [Unreleased]") < newest.start()
    assert citation["license"] == setup_cfg()["metadata"]["license"]


def test_the_pythons_that_are_named_are_those_that_are_tested() -> None:
    named = re.findall(r"Python :: (3\.\d+)$", setup_cfg()["metadata"]["classifiers"], re.MULTILINE)
    tested = re.search(r"for version in (.*?);", (ROOT / ".ci" / "pythons").read_text(encoding="utf-8"))
    assert tested is not None
    assert named == tested[1].split()
    assert setup_cfg()["options"]["python_requires"] == f">={named[0]}"


def test_the_sample_is_copied_with_recipes_that_name_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(tmp_path / "new")]) == 0
    assert "analyze-rollouts --config configs/percentile.yaml" in capsys.readouterr().out
    recipe = yaml.safe_load((tmp_path / "new" / "configs" / "percentile.yaml").read_text(encoding="utf-8"))
    assert (tmp_path / "new" / recipe["rollouts"]).is_file()
    assert (tmp_path / "new" / recipe["model_path"] / "tokenizer.json").is_file()
    assert main(["sample", str(tmp_path / "new")]) == 2  # what a user changed is not overwritten
    assert "already exists; name another folder" in capsys.readouterr().err
    assert main(["sample"]) == 2


def test_a_wheel_holds_every_file_of_the_sample() -> None:
    patterns = [
        pattern
        for values in setup_cfg()["options.data_files"].values()
        for pattern in re.split(r"[\n,]+", values)
        if pattern
    ]
    packed = {path for pattern in patterns for path in ROOT.glob(pattern)}
    folders = (ROOT / "configs", ROOT / "examples" / "sample")
    assert packed == {path for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_what_is_built_runs_the_sample_from_a_fresh_environment() -> None:
    words = [str(ROOT / ".ci" / "dist"), sys.executable]  # the Python that has `build`
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Total problems: 200") == 4  # two analyses with the wheel, two with the sdist
