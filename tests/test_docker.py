"""The Dockerfile names files that exist and are not ignored, and the Python and flags that the package has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from analyzer.commands.all import NAMES, find
from analyzer.commands.parsing import parse
from tests.test_release import setup_cfg

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()


def test_every_file_that_is_copied_exists_and_is_part_of_the_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    context = {line[1:] for line in ignore if line.startswith("!")}
    copied = [word for step in STEPS if step.startswith("COPY") for word in step.split()[1:-1]]
    copied = [word for word in copied if not word.startswith(("--from", "/"))]
    assert copied
    assert "*" in ignore
    assert set(copied) == context
    assert all((ROOT / name).exists() for name in copied)


def test_what_the_package_is_built_of_is_copied() -> None:
    metadata, options = setup_cfg()["metadata"], setup_cfg()["options.data_files"]
    needed = {metadata["license_files"], metadata["long_description"].removeprefix("file: ")}
    needed |= {path.split("/")[0] for value in options.values() for path in value.split()}
    copied = {word.split("/")[0] for step in STEPS if step.startswith("COPY") for word in step.split()[1:-1]}
    assert needed <= copied


def test_it_takes_a_python_and_extras_that_are_supported() -> None:
    versions = {version for step in STEPS if (version := re.sub(r"^FROM python:([\d.]+)-slim.*", r"\1", step)) != step}
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in setup_cfg()["metadata"]["classifiers"]
    extras = re.search(r"'\.\[(.*?)\]'", DOCKERFILE)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(setup_cfg()["options.extras_require"])


def test_its_commands_are_ours_with_flags_that_they_take() -> None:
    commands = re.findall(r"\b(analyze-rollouts) ([^&\"\n]+)", " ".join(STEPS))
    assert len(commands) == 3
    for name, words in commands:
        command = find(name.replace("-", "_"))
        assert command.name in NAMES
        # Recipes are named from where the sample is.
        given = [str(ROOT / word) if word.startswith("configs/") else word for word in shlex.split(words)]
        parse(command.settings, given, "", "")
