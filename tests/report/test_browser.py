"""The page in a real browser: it opens, sorts, filters, shows texts, follows keys, and asks nothing of anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer.report import write_report

pytestmark = pytest.mark.browser
SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sample"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium on this machine")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the bundled sample."""
    import analyzer

    folder = tmp_path_factory.mktemp("sample")
    analyzer.analyze(
        rollouts=SAMPLE / "rollouts.parquet",
        model_path=SAMPLE / "tokenizer",
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        backend="sequential",
    )
    return write_report(folder / "out")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, opened; whatever it says on the console, raises or asks for is a failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("dialog", lambda dialog: trouble.append(dialog.message))
    opened.on("request", lambda request: None if request.url.startswith("file:") else trouble.append(request.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    assert trouble == []
    context.close()


def ids(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#rows [role=row] [role=cell]:first-child").all_inner_texts()]


def test_it_sorts_and_filters(page: Any) -> None:
    assert page.locator("#found").inner_text() == "200 problems"
    page.locator("#head button", has_text="passes").click()
    assert page.locator("#rows [role=row]").first.locator("[role=cell]").nth(2).inner_text() == "0 of 8"
    page.locator("#head button", has_text="passes").click()
    assert page.locator("#rows [role=row]").first.locator("[role=cell]").nth(2).inner_text() == "8 of 8"
    page.select_option("#f-bucket", label="hard")
    assert page.locator("#found").inner_text() == "47 problems"
    first = ids(page)[0]
    page.fill("#search", first)
    assert first in ids(page)
    assert len(ids(page)) < 47
    page.fill("#search", "no such words anywhere")
    assert page.locator("#found").inner_text() == "0 problems"


def test_a_problem_opens_by_click_and_by_link_and_keys_move_on(page: Any) -> None:
    page.locator("#rows [role=row]").first.click()
    viewer = page.locator("#viewer")
    viewer.wait_for(state="visible")
    first = viewer.locator("h3").inner_text()
    assert "Prompt" in viewer.inner_text()
    assert viewer.locator("article").count() == 8
    assert page.url.endswith(f"#p={first}")
    page.keyboard.press("j")
    page.wait_for_function(f"document.querySelector('#viewer-title').textContent !== '{first}'")
    page.keyboard.press("k")
    page.wait_for_function(f"document.querySelector('#viewer-title').textContent === '{first}'")
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_the_explorer_keeps_what_its_command_says(page: Any) -> None:
    page.locator("#recipes button", has_text="prime").first.click()
    command = page.locator("#command").inner_text()
    assert '--where "0.2 <= pass_rate <= 0.8"' in command
    page.evaluate(
        "document.getElementById('low').value = 50; document.getElementById('low').dispatchEvent(new Event('input'))"
    )
    assert "0.5 <= pass_rate" in page.locator("#command").inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_it_fits_its_window_in_both_themes(browser: Any, report: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    context.close()


def test_it_can_be_read_without_javascript(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(report.as_uri())
    assert opened.locator("svg.chart").count() >= 3
    assert opened.locator("#explorer").is_hidden()
    assert "need JavaScript" in opened.locator("noscript").inner_text()
    context.close()
