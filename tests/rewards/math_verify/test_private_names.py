"""What math_verify takes from Math-Verify, latex2sympy2_extended and ANTLR's runtime, private names above all.

A release that renames one of them breaks the reward, or changes it without a word: setup.cfg caps the two packages for
that. Raise a cap after this table and the tests that hold the reward against the package have passed with the release.
"""

from __future__ import annotations

import ast
import configparser
import importlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("math_verify", "latex2sympy2_extended", "antlr4")

TAKEN = {
    "math_verify": {"LatexExtractionConfig", "verify"},
    "math_verify.grader": {
        *("should_treat_as_complex", "get_pct_val", "is_assignment_relation", "is_equation", "take_last_relation")
    },
    "latex2sympy2_extended": {"convert_to_pct", "normalize_latex"},
    "latex2sympy2_extended.latex2sympy2": {"PSParser", "_Latex2Sympy", "comma_number_regex"},
    "latex2sympy2_extended.sets": {"FiniteSet"},
    "antlr4": {"PredictionMode", "Token"},
    "antlr4.PredictionContext": {"PredictionContext"},
    "antlr4.atn.ATN": {"ATN"},
    "antlr4.atn.ATNState": {"ATNState", "RuleStopState", "StarLoopEntryState"},
    "antlr4.atn.ParserATNSimulator": {"ParserATNSimulator"},
    "antlr4.atn.SemanticContext": {"SemanticContext"},
    "antlr4.atn.Transition": {"Transition"},
    "antlr4.error.ErrorStrategy": {"BailErrorStrategy"},
}
"""Module -> names that analyzer/rewards/math_verify imports from it."""

OVERRIDDEN = {
    ("latex2sympy2_extended.latex2sympy2", "_Latex2Sympy"): ("__init__", "create_parser", "parse", "parse_number"),
    ("antlr4.atn.ParserATNSimulator", "ParserATNSimulator"): (
        *("adaptivePredict", "computeStartState", "applyPrecedenceFilter"),
    ),
}
"""Class -> methods that ours overrides, or calls from outside."""


def imported() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "analyzer/rewards/math_verify").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                yield from ((str(node.module), alias.name) for alias in node.names)


def test_the_names_that_are_taken_are_these() -> None:
    taken: dict[str, set[str]] = {}
    for module, name in imported():
        taken.setdefault(module, set()).add(name)
    assert taken == TAKEN


@pytest.mark.parametrize("module", TAKEN)
def test_each_name_is_there(module: str) -> None:
    assert [name for name in TAKEN[module] if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize(("module", "name"), OVERRIDDEN)
def test_each_method_that_is_relied_on_is_there(module: str, name: str) -> None:
    methods = vars(getattr(importlib.import_module(module), name))
    assert [method for method in OVERRIDDEN[module, name] if method not in methods] == []


@pytest.mark.parametrize("package", ["math-verify", "latex2sympy2_extended"])
def test_the_version_is_capped_and_the_one_that_is_installed_is_within(package: str) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [line for line in config["options"]["install_requires"].splitlines() if line and not line.startswith("#")]
    (requirement,) = (one for one in map(Requirement, lines) if one.name == package)
    assert any(specifier.operator == "<" for specifier in requirement.specifier)
    assert requirement.specifier.contains(metadata.version(package))
