"""The page in a real browser: it opens, sorts, filters, shows texts, follows keys, and asks nothing of anywhere."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer.report import write_report
from analyzer.report.analysis import Analysis
from analyzer.report.viewer import Viewer
from tests.commands import analyzed, parquet
from tests.report.test_page import HOSTILE

pytestmark = pytest.mark.browser
HOSTILE_TEXT = "\n".join(HOSTILE) + "\u2066\ufeff<svg onload=alert(2)><a href='javascript:alert(3)'>x</a>"
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
    expect = pytest.importorskip("playwright.sync_api").expect
    page.locator("#rows [role=row]").first.click()
    viewer = page.locator("#viewer")
    viewer.wait_for(state="visible")
    first = viewer.locator("h3").inner_text()
    assert "Prompt" in viewer.inner_text()
    assert viewer.locator("article").count() == 8
    assert page.url.endswith(f"#p={first}")
    page.keyboard.press("j")
    expect(viewer.locator("h3")).not_to_have_text(first)
    page.keyboard.press("k")
    expect(viewer.locator("h3")).to_have_text(first)
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
    # Before selecting, the groups of 8 with passes and failures are those that the summary counts.
    card = page.locator(".card", has_text="informative groups").locator(".value").inner_text()
    assert f"failures: {float(card.removesuffix(' %')):.0f} % before" in page.locator("#kept-note").inner_text()


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


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three hostile analyses, of which the last solves more; returns its folder."""
    import analyzer

    folder = tmp_path_factory.mktemp("comparison")
    for name, solved in (("a", 2), ("<i>b", 2), ("c" * 80, 14)):
        rows = [
            {
                "prompt": f"{p} {HOSTILE_TEXT}",
                "response": f"{HOSTILE_TEXT * (2000 if (p, s) == (0, 0) else 1)}\n#### {p if s < solved else 'no'}",
                "data_idx": f"<b>{p}</b>{HOSTILE[p % len(HOSTILE)]}",
                "sample_idx": s,
                "finish_reason": HOSTILE[s % len(HOSTILE)],
                "original_data_source": f"openai/gsm8k{HOSTILE[p % 2]}",
                "original_reward_model": {"style": "rule", "ground_truth": str(p)},
            }
            for p in range(12)
            for s in range(16)
        ]
        analyzer.analyze(
            rollouts=parquet(folder / f"{solved}.parquet", rows),
            model_path=SAMPLE / "tokenizer",
            output_dir=folder / name,
            cache_dir=folder / "cache",
            backend="sequential",
            reward_fn="last_number",
            no_report=True,
            overwrite=True,
        )
    analyzer.compare([folder / name for name in ("a", "<i>b", "c" * 80)], output_dir=folder / "out")
    return folder / "out"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
@pytest.mark.parametrize("scripts", [True, False])
def test_a_comparison_fits_its_window_and_hostile_text_does_nothing_in_it(
    browser: Any, comparison: Path, width: int, scheme: str, scripts: bool
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts
    )
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith("file:") else trouble.append(request.url))
    page.goto((comparison / "report.html").as_uri())
    assert "More than chance" in page.locator("#verdict").inner_text()
    if scripts:  # the page has none itself: only the test needs them to measure
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    details = page.locator("section[aria-labelledby=changed] details")
    assert details.count() >= 10
    details.nth(1).locator("summary").click()
    details.nth(1).locator("article").first.wait_for(state="visible")
    assert details.nth(1).locator("article").count() == 2
    assert "reward 1" in " ".join(details.nth(1).locator("article").nth(1).inner_text().split())
    text = page.locator("body").inner_text() + page.title()
    assert not set(text) & set("\u202e\u200b\u2066\ufeff\x1b\x07\x00")
    assert (
        page.locator("script, main img, main i, main svg[onload], main iframe, main a[href^=javascript]").count() == 0
    )
    assert trouble == []
    context.close()


def test_problems_can_be_filtered_by_one_status(browser: Any, tmp_path: Path) -> None:

    rows = [
        {
            "prompt": f"What is {p}?",
            "response": None if (p, s) == (1, 0) else f"\\boxed{{{p}}}",
            "data_idx": p,
            "sample_idx": s,
            "original_data_source": "math",
            "original_reward_model": {"style": "rule", "ground_truth": "" if p == 2 else str(p)},
        }
        for p in range(6)
        for s in range(4)
    ]
    analyzed(
        tmp_path,
        rows,
        model_path=SAMPLE / "tokenizer",
        reward_fn="math_verify",
        max_unscored=1.0,
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    found = {}
    for option in page.locator("#f-status option").all_inner_texts():
        page.select_option("#f-status", label=option)
        found[option] = sorted(ids(page))
    assert found == {
        "any": ["0", "1", "2", "3", "4", "5"],
        "all scored": ["0", "3", "4", "5"],
        "some unscored": ["1", "2"],
        "none scored": ["2"],
        "some gold_error": ["2"],
        "some input_error": ["1"],
    }
    context.close()


def test_it_can_be_read_without_javascript(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(report.as_uri())
    assert opened.locator("svg.chart").count() >= 3
    assert opened.locator("#explorer").is_hidden()
    assert "need JavaScript" in opened.locator("noscript").inner_text()
    context.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis whose every text is hostile, with a response of a megabyte; returns its folder."""
    import analyzer

    rows = [
        {
            "prompt": HOSTILE_TEXT,
            "response": (HOSTILE_TEXT * 6000 if (p, s) == (0, 0) else HOSTILE_TEXT) + f"\n#### {p + s}",
            "data_idx": f"<b>{p}</b>{HOSTILE[p]}",
            "sample_idx": s,
            "finish_reason": HOSTILE[s],
            "original_data_source": f"openai/gsm8k{HOSTILE[p]}",
            "original_reward_model": {"style": "rule", "ground_truth": str(p) if p else HOSTILE_TEXT},
        }
        for p in range(3)
        for s in range(3)
    ]
    folder = tmp_path_factory.mktemp("hostile")
    analyzer.analyze(
        rollouts=parquet(folder / "r.parquet", rows),
        model_path=SAMPLE / "tokenizer",
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        backend="sequential",
        reward_fn="exact_match",
    )
    return folder / "out"


def test_hostile_text_does_nothing_in_the_report(browser: Any, hostile: Path) -> None:
    look_through(browser, (hostile / "report.html").as_uri(), own="file:")


def test_hostile_text_does_nothing_in_the_viewer_and_all_of_a_response_can_be_read(browser: Any, hostile: Path) -> None:
    with Viewer(Analysis(hostile)) as viewer:
        thread = threading.Thread(target=viewer.serve_forever)
        thread.start()
        try:
            look_through(browser, viewer.url, own=f"http://127.0.0.1:{viewer.port}/")
        finally:
            viewer.shutdown()
            thread.join()


def look_through(browser: Any, address: str, own: str) -> None:
    """Open every problem of the page; whatever it runs, raises or asks of elsewhere is a failure."""
    expect = pytest.importorskip("playwright.sync_api").expect
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith(own) else trouble.append(request.url))
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    viewer = page.locator("#viewer")
    for at in range(3):
        page.locator("#rows [role=row]").nth(at).click()
        expect(viewer.locator("article")).to_have_count(3)
        assert viewer.locator("h3").inner_text().startswith("<b>")
        # Long texts are boxes that scroll: without the focus, by mouse alone.
        assert viewer.locator("pre").count() == viewer.locator("pre[tabindex='0']").count() > 0
        if own != "file:" and (whole := viewer.get_by_text("show all")).count():
            whole.first.click()
            expect(viewer.get_by_text("show all")).to_have_count(0)
            shown = viewer.locator("article").first.locator("pre").inner_text()
            assert len(shown) > 900_000
        page.keyboard.press("Escape")
    text = page.locator("body").inner_text() + page.title()
    assert not set(text) & set("\u202e\u200b\u2066\ufeff\x1b\x07\x00")
    assert page.locator("main img, main svg[onload], main iframe, main a[href^=javascript]").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 4
    assert trouble == []
    context.close()


def test_links_to_a_problem_open_it_and_closing_gives_the_focus_back(browser: Any, report: Path) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{report.as_uri()}#p=17")
    expect(page.locator("#viewer-title")).to_have_text("17")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert "#p=" not in page.url
    page.locator("a[href^='#p=']").first.click()  # of a flagged problem
    expect(page.locator("#viewer")).to_be_visible()
    page.goto(f"{report.as_uri()}#p=%E0%A4%A")
    expect(page.locator("html[data-ready]")).to_have_count(1)
    context.close()


def test_it_prints_charts_and_tables_without_controls(browser: Any, report: Path, tmp_path: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("#explorer").is_hidden()
    assert page.locator("svg.chart").first.is_visible()
    # On paper: dark ink whatever the screen has, the colours of the legend, and what is folded away on the screen.
    style = "getComputedStyle(document.querySelector({!r})).getPropertyValue({!r})"
    assert page.evaluate(style.format("body", "color")) == "rgb(29, 35, 41)"
    assert page.evaluate(style.format(".legend .key", "print-color-adjust")) == "exact"
    assert page.locator("details table").last.bounding_box()["height"] > 100
    assert page.locator("#problems").is_hidden()
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    context.close()


def test_the_viewer_searches_all_prompts(browser: Any, hostile: Path) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    with Viewer(Analysis(hostile)) as viewer:
        thread = threading.Thread(target=viewer.serve_forever)
        thread.start()
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(viewer.url)
            page.wait_for_selector("html[data-ready]")
            page.fill("#search", "calc")
            expect(page.locator("#found")).to_have_text("3 problems")
            page.fill("#search", "no such prompt")
            expect(page.locator("#found")).to_have_text("0 problems")
        finally:
            context.close()
            viewer.shutdown()
            thread.join()


def test_a_problem_says_how_many_of_its_responses_are_in_the_page(browser: Any, tmp_path: Path) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "data_idx": 0, "original_data_source": "sums"}
    rows = [{**row, "sample_idx": sample, "reward": float(sample % 2)} for sample in range(20)]
    page = browser.new_context().new_page()
    page.goto(f"{write_report(analyzed(tmp_path, rows)).as_uri()}#p=0")
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#viewer h4").all_inner_texts()[-1] == "8 of 20 responses"
    page.context.close()
