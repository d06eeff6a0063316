"""The recipes of configs/: small, with keys and names that exist, and pointing at the embedded sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyzer.buckets import names

ROOT = Path(__file__).resolve().parent.parent
STRATEGY_RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
REWARD_RECIPES = sorted((ROOT / "configs" / "rewards").glob("*.yaml"))


def read(recipe: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(recipe.read_text(encoding="utf-8")))


def test_every_strategy_has_a_recipe_of_its_name() -> None:
    assert [recipe.stem for recipe in STRATEGY_RECIPES] == names()


@pytest.mark.parametrize("recipe", [*STRATEGY_RECIPES, *REWARD_RECIPES], ids=lambda recipe: recipe.stem)
def test_a_recipe_is_small_and_each_key_is_a_flag(recipe: Path) -> None:
    config = pytest.importorskip("analyzer.config", reason="needs the settings of the command")
    assert len(recipe.read_text(encoding="utf-8").splitlines()) <= 30
    assert set(read(recipe)) <= {field.name for field in dataclasses.fields(config.AnalysisSettings)}


@pytest.mark.parametrize("recipe", STRATEGY_RECIPES, ids=lambda recipe: recipe.stem)
def test_a_strategy_recipe_runs_on_the_sample_into_a_folder_of_its_own(recipe: Path) -> None:
    settings = read(recipe)
    assert (ROOT / settings["rollouts"]).is_file()
    assert (ROOT / settings["model_path"] / "tokenizer.json").is_file()
    assert settings["bucketing_strategy"] == recipe.stem
    assert settings["output_dir"] == f"demo_output/{recipe.stem}"


@pytest.mark.parametrize("recipe", REWARD_RECIPES, ids=lambda recipe: recipe.stem)
def test_a_reward_recipe_holds_routes_only_so_that_it_goes_with_any_other(recipe: Path) -> None:
    settings = read(recipe)
    assert set(settings) == {"reward_routes"}
    assert all(isinstance(route, str) for route in settings["reward_routes"].values())
