"""The recipes of configs/: small, with keys and names that exist, and pointing at the embedded sample."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyzer import rewards
from analyzer.buckets import names
from analyzer.commands.analyze_rollouts import analyze_rollouts
from tests.commands import SAMPLE, TOKENIZER, Outcome, flags, known_tokenizer, parquet, rollouts

ROOT = Path(__file__).resolve().parents[2]
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
def test_a_reward_recipe_names_rewards_that_exist_for_data_sources_that_are_known(recipe: Path) -> None:
    for pattern, route in read(recipe)["reward_routes"].items():
        assert isinstance(rewards.build(route), rewards.BaseReward)
        known = [source for name in rewards.names() for source in rewards.find(name).data_sources]
        assert pattern in known or [source for source in known if fnmatchcase(source, pattern)] or pattern == "amc*"


def test_the_recipe_of_verls_routes_says_what_is_done_without_it() -> None:
    routes = read(ROOT / "configs" / "rewards" / "verl.yaml")["reward_routes"]
    for pattern, route in routes.items():
        assert rewards.default_route(pattern.replace("*", "2024" if pattern == "aime*" else "nq")) == route


@pytest.mark.parametrize("recipe", REWARD_RECIPES, ids=lambda recipe: recipe.stem)
def test_a_reward_recipe_routes_what_it_names_and_works_with_a_dry_run(
    recipe: Path, tmp_path: Path, analyze: Callable[..., Outcome], warm_zygotes: None
) -> None:
    routes = read(recipe)["reward_routes"]
    sources = {pattern.replace("*", "x"): route for pattern, route in routes.items()}
    rows = [row | {"original_data_source": source} for source in sources for row in rollouts(1, 2)]
    rows = [row | {"data_idx": at // 2} for at, row in enumerate(rows)]
    outcome = analyze(parquet(tmp_path / "r.parquet", rows), config=recipe, dry_run=True)
    assert outcome.code == 0, outcome.err
    for source, route in sources.items():
        (line,) = [line for line in outcome.out.splitlines() if f"  {source}: " in line]
        assert line.endswith(route)
    assert not outcome.folder.exists()


def command_of(recipe: Path) -> list[str]:
    """The words of the command in the header of a recipe, without the name of the command."""
    header = re.search(
        r"^#     analyze-rollouts (.*(?:(?<=\\)\n.*)*)", recipe.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert header is not None
    return shlex.split(header[1].replace("\\\n#", " "))


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], warm_zygotes: None
) -> Callable[..., tuple[int, str, str]]:
    """The command in this process, in a folder where the paths of the recipes lead to the files of the checkout."""
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    known_tokenizer(tmp_path / "cache", tmp_path / "examples" / "sample" / "tokenizer")

    def run(*words: str) -> tuple[int, str, str]:
        code = analyze_rollouts([*words, "--cache_dir", "cache"])
        return code, *capsys.readouterr()

    return run


def test_every_recipe_runs_as_its_header_says_one_after_the_other(
    tmp_path: Path, run_here: Callable[..., tuple[int, str, str]]
) -> None:
    """In one folder, as a user goes through them: no command may find the outputs of another in its way."""
    folders = set()
    for recipe in [*STRATEGY_RECIPES, *REWARD_RECIPES]:
        before = set(tmp_path.glob("demo_output/*"))
        code, _, err = run_here(*command_of(recipe), "--no_report", "--outputs", "problems")
        assert code == 0, (recipe.name, err)
        (made,) = set(tmp_path.glob("demo_output/*")) - before
        folders.add(made.name)
        summary = json.loads((made / "summary.json").read_bytes())
        assert summary["total_problems"] == 200
        reward = read(recipe).get("reward_routes", {}).get("openai/gsm8k", "gsm8k")
        assert summary["settings"]["rewards"]["openai/gsm8k"]["path"].split(":")[0].split(".")[2] == reward
    assert folders == {recipe.stem for recipe in [*STRATEGY_RECIPES, *REWARD_RECIPES]}


@pytest.mark.parametrize("recipe", REWARD_RECIPES, ids=lambda recipe: recipe.stem)
def test_a_reward_recipe_goes_with_a_strategy_recipe_on_the_command_line(
    recipe: Path, run_here: Callable[..., tuple[int, str, str]]
) -> None:
    words = flags(config=ROOT / "configs" / "pass_rate.yaml") + flags(config=recipe, dry_run=True)
    code, out, err = run_here(*words, *flags(rollouts=SAMPLE, model_path=TOKENIZER, output_dir="out"))
    assert code == 0, err
    route = read(recipe)["reward_routes"]["openai/gsm8k"]
    assert any("openai/gsm8k" in line and route in line for line in out.splitlines())


@pytest.mark.parametrize("recipe", REWARD_RECIPES, ids=lambda recipe: recipe.stem)
def test_a_reward_recipe_holds_routes_only_so_that_it_goes_with_any_other(recipe: Path) -> None:
    settings = read(recipe)
    assert set(settings) == {"reward_routes"}
    assert all(isinstance(route, str) for route in settings["reward_routes"].values())
