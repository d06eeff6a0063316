"""Published rules: each keeps what a plain pandas computation keeps, and says what it cannot tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyzer.commands.lists import LISTS
from analyzer.errors import ConfigError
from analyzer.selection import recipes
from analyzer.selection.select import select
from tests.selection.conftest import passes_of, settings

Frame = pd.DataFrame
PLAIN: dict[str, Callable[[Frame], Any]] = {
    "skywork": lambda t: (t.k >= 1) & (t.k <= t.num_scored - 1),
    "polaris": lambda t: t.k < t.num_scored,
    "polaris_stage": lambda t: t.mean_reward <= 0.9,
    "dapo": lambda t: t.std_reward > 0,
    "prime": lambda t: t.pass_rate.between(0.2, 0.8),
    "open_r1": lambda t: t.pass_rate.between(0.1, 0.6, inclusive="neither"),
    "intellect_2": lambda t: t.pass_rate <= 0.5,
    "nemo_gym": lambda t: t.pass_rate <= 0.875,
    "olmo_3": lambda t: t.pass_rate <= 0.625,
    "llama_nemotron": lambda t: t.pass_rate < 0.75,
    "roll": lambda t: t.pass_rate.between(0.1, 0.95),
    "mimo_vl": lambda t: (t.k > 0) & (t.pass_rate <= 0.9),
    "nemotron_3_super": lambda t: t.pass_rate < 1,
    "openresearcher": lambda t: (t.k / t.num_scored >= 1 / 6) & (t.k / t.num_scored <= 4 / 6),
    "prime_rl_pools": lambda t: t.pass_rate <= 1,
    "informative": lambda t: t.flag == "",
}


def table_of(analysis: Path) -> Frame:
    table = pd.read_parquet(analysis / "problem_metrics.parquet")
    return table.assign(k=passes_of(table))


def test_every_recipe_is_compared() -> None:
    assert set(PLAIN) == {recipe.name for recipe in recipes.RECIPES}


@pytest.mark.parametrize("name", PLAIN)
def test_a_recipe_keeps_what_pandas_keeps(sample_analysis: Path, tmp_path: Path, name: str) -> None:
    table = table_of(sample_analysis)
    if name == "informative" and not {"flag", "informative@8"} <= set(table.columns):
        pytest.skip("this version has no flags and no informative share")
    take = 10_000 if name == "informative" else None
    expected = set(table[PLAIN[name](table)].data_idx)
    made = select(settings(analysis=sample_analysis, output=tmp_path / "o.parquet", recipe=name, take=take))
    assert set(made.problems["difficulty_data_idx"]) == expected
    assert 0 < len(expected) == made.rows
    assert made.manifest["recipe"]["name"] == name


def test_pools_give_weights_instead_of_dropping(sample_analysis: Path, tmp_path: Path) -> None:
    made = select(settings(analysis=sample_analysis, output=tmp_path / "o.parquet", recipe="prime_rl_pools")).problems
    rate = made["difficulty_pass_rate"]
    expected = rate.map(lambda p: 0.2 if p <= 0.25 else 1.0 if p <= 0.75 else 0.2)
    assert made["difficulty_weight"].tolist() == expected.tolist()
    assert made["difficulty_weight"].nunique() == 2


def test_the_sorted_recipe_goes_from_easy_to_hard(sample_analysis: Path, tmp_path: Path) -> None:
    made = select(settings(analysis=sample_analysis, output=tmp_path / "o.parquet", recipe="nemotron_3_super"))
    assert made.problems["difficulty_pass_rate"].is_monotonic_decreasing


def test_informative_takes_the_likeliest(sample_analysis: Path, tmp_path: Path) -> None:
    if "informative@8" not in table_of(sample_analysis):
        pytest.skip("this version has no informative share")
    made = select(settings(analysis=sample_analysis, output=tmp_path / "o.parquet", recipe="informative", take=30))
    best = table_of(sample_analysis)["informative@8"].nlargest(30)
    assert made.problems["difficulty_informative@8"].min() == best.min()
    with pytest.raises(ConfigError, match="give --take N"):
        select(settings(analysis=sample_analysis, output=tmp_path / "p.parquet", recipe="informative"))


def test_informative_knows_groups_of_any_size(sample_analysis: Path, tmp_path: Path) -> None:
    def kept(size: int) -> set[int]:
        flags = {"recipe": "informative", "take": 40, "group_size": size, "overwrite": True}
        return set(select(settings(analysis=sample_analysis, output=tmp_path / "o.parquet", **flags)).problems.index)

    made = select(
        settings(analysis=sample_analysis, output=tmp_path / "p.parquet", recipe="informative", take=40, group_size=2)
    )
    assert made.problems["difficulty_pass_rate"].between(0.3, 0.7).all()  # 2 p (1 - p) is largest at one half
    assert len(kept(8)) == len(kept(16)) == 40


def test_recipes_that_coincide_at_this_n_are_named(sample_analysis: Path) -> None:
    def at(**flags: Any) -> Any:
        return select(settings(analysis=sample_analysis, dry_run=True, **flags)).manifest["at_this_n"]

    found = at(recipe="roll")
    assert found["n"] == 8
    assert found["passes_kept"] == "1 to 7"
    assert {"skywork", "dapo", "mimo_vl"} <= set(found["same_as"])
    assert at(where="passes == 0 or passes in [3, 5]")["passes_kept"] == "0, 3, 5"
    assert at(where="0.2 <= pass_rate <= 0.8 and bucket != ''")["same_as"] == ["prime"]
    assert at(where="data_source == 'openai/gsm8k'") is None


def test_an_unknown_recipe_names_the_nearest(sample_analysis: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'skywork'"):
        select(settings(analysis=sample_analysis, dry_run=True, recipe="skyworks"))


def test_the_list_names_source_and_n_of_each() -> None:
    shown = {entry.name: " ".join(entry.about) for entry in LISTS["recipe"]()}
    for recipe in recipes.RECIPES:
        assert recipe.reference in shown[recipe.name]
        assert recipe.n is None or f"n = {recipe.n} samples" in shown[recipe.name]
