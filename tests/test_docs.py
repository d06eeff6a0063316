"""The documentation keeps up with the code: every flag is on its page, every link leads somewhere."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from analyzer import buckets
from analyzer.config import AnalysisSettings
from analyzer.generation import GenerationSettings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


@pytest.mark.parametrize(
    ("page", "settings"), [("analyze_rollouts", AnalysisSettings), ("generate_rollouts", GenerationSettings)]
)
def test_every_flag_is_on_the_page_of_its_command(page: str, settings: type) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    missing = [field.name for field in dataclasses.fields(settings) if not re.search(rf"`(--)?{field.name}\b", text)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_strategy_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in buckets.names() if f"`{name}`" not in text] == []
