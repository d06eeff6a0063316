"""Every data_source gets its reward, and docs/rewards.md says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer import rewards

PAGE = Path(__file__).parents[2] / "docs" / "rewards.md"
ROWS = {
    cells[2].strip().strip("`"): cells[1]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if len(cells := line.split("|")) == 7
}


@pytest.mark.parametrize("name", rewards.names())
def test_the_page_of_rewards_has_each_reward_and_its_data_sources(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{name}`" in page
    for source in rewards.find(name).data_sources:
        assert f"`{source}`" in ROWS[name]


@pytest.mark.parametrize(
    ("data_source", "name"),
    [
        ("openai/gsm8k", "gsm8k"),
        ("HuggingFaceH4/MATH-500", "math_boxed"),
        ("math", "math_dapo"),
        ("aime_2024", "math_dapo"),
        ("searchR1_popqa", "search_qa"),
        ("TIGER-Lab/MMLU-Pro", "multiple_choice"),
        ("OpenAI/gsm8k", None),
        ("gsm8k", None),
        ("", None),
    ],
)
def test_a_data_source_is_routed_by_its_exact_name_or_glob(data_source: str, name: str | None) -> None:
    assert rewards.default_route(data_source) == name
