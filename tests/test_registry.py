"""The registry: found by name, loaded when first asked, never two of a name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from analyzer.errors import ConfigError
from analyzer.registry import Registry, did_you_mean


class Fruit(NamedTuple):
    """A variant."""

    name: str


@pytest.fixture
def fruits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Fruit]]:
    """A package with a variant in one module, and one that must never be imported."""
    package = tmp_path / "orchard"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "apple.py").write_text("import orchard\norchard.fruits.register(orchard.Fruit('apple'))\n")
    (package / "_shared.py").write_text("raise ImportError('what variants share is not a variant')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Fruit] = Registry("fruit", "orchard")
    module = __import__("orchard")
    vars(module).update(fruits=registry, Fruit=Fruit)
    yield registry
    for name in [name for name in sys.modules if name.startswith("orchard")]:
        del sys.modules[name]


def test_variants_are_found_in_their_modules_when_first_asked_for(fruits: Registry[Fruit]) -> None:
    assert "orchard.apple" not in sys.modules
    assert fruits.find("apple") == Fruit("apple")
    assert fruits.names() == ["apple"]


def test_one_variant_is_found_without_importing_the_others(fruits: Registry[Fruit]) -> None:
    for name in ("pear", "quince"):
        folder = Path(sys.modules["orchard"].__path__[0])
        (folder / f"{name}.py").write_text(f"import orchard\norchard.fruits.register(orchard.Fruit('{name}'))\n")
    assert fruits.get("pear") == Fruit("pear")
    assert "orchard.quince" not in sys.modules
    assert fruits.names() == ["apple", "pear", "quince"]


def test_a_thread_that_asks_while_another_imports_gets_all(fruits: Registry[Fruit]) -> None:
    folder = Path(sys.modules["orchard"].__path__[0])
    for name in ("pear", "quince"):
        code = "import orchard, time\ntime.sleep(0.2)\norchard.fruits.register(orchard.Fruit({name!r}))\n"
        (folder / f"{name}.py").write_text(code.format(name=name))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fruits.names(), range(4)))
    assert found == [["apple", "pear", "quince"]] * 4


def test_an_unknown_name_lists_all_and_the_nearest(fruits: Registry[Fruit]) -> None:
    with pytest.raises(ConfigError, match=r"no fruit is named 'aple' \(did you mean 'apple'\?\); there are: apple"):
        fruits.find("aple")
    assert fruits.get("aple") is None


def test_a_second_variant_of_a_name_is_refused(fruits: Registry[Fruit]) -> None:
    with pytest.raises(ConfigError, match="fruit 'apple' occurs twice"):
        [fruits.register(Fruit("apple")) for _ in range(2)]


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["apple"]) == ""
    assert did_you_mean("app-le", ["app_le"]) == " (did you mean 'app_le'?)"


def test_names_that_begin_with_the_given_word_are_suggested_together() -> None:
    known = ["verl_rollouts", "roll", "verl_validation", "verl_generation"]
    assert did_you_mean("verl", known) == " (did you mean 'verl_rollouts', 'verl_validation' or 'verl_generation'?)"
    assert did_you_mean("part", ["print_config"]) == ""
    assert did_you_mean("analyse", ["compare_analyses", "analyze_rollouts"]) == " (did you mean 'analyze_rollouts'?)"
