"""The documentation keeps up with the code: every link leads somewhere, every name exists."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analyzer import buckets

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = ROOT / "Makefile"
FOLDERS = ("", "docs/", "docs/decisions/", "benchmarks/", "examples/", "analyzer/*/")
PROGRAMS = ("analyzer", "scripts", "configs", "examples", "benchmarks")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}*.md"))


def test_the_page_of_all_flags_is_that_of_the_settings() -> None:
    spec = importlib.util.spec_from_file_location("make_flags", ROOT / "docs" / "make_flags.py")
    assert spec is not None
    assert spec.loader is not None
    make_flags = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_flags)
    written = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    assert written == make_flags.page(), "docs/flags.md is out of date: run `make flags`"


def test_every_page_that_a_program_names_is_there() -> None:
    places = [ROOT / "Makefile", *(path for folder in PROGRAMS for path in sorted((ROOT / folder).rglob("*")))]
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in places
        if path.suffix in (".py", ".yaml", ".sh", "") and path.is_file()
    }
    named = [(path, page) for path, text in texts.items() for page in re.findall(r"docs/[a-z_/]+\.md", text)]
    assert len(named) > 20
    assert [(str(path), page) for path, page in named if not (ROOT / page).is_file()] == []


def test_every_file_of_ours_that_a_page_names_is_there() -> None:
    """But for those that CONTRIBUTING.md has a reader write; scripts are also those of other programs."""
    named = [
        (page.name, path)
        for page in PAGES
        for path in re.findall(
            r"`((?:analyzer|tests|benchmarks|configs|examples)/[\w/]+\.\w+)`", page.read_text("utf-8")
        )
    ]
    assert len(named) > 50
    assert [
        (page, path) for page, path in named if not re.search("my_|luck", path) and not (ROOT / path).is_file()
    ] == []


def test_the_lengths_of_files_that_pages_give_are_about_right() -> None:
    texts = [page.read_text("utf-8") for page in ROOT.glob("docs/decisions/*.md")]
    given = [found for text in texts for found in re.findall(r"`(analyzer/[\w/]+\.py)` \((\d+) lines\)", text)]
    given += [
        (path, lines) for text in texts for lines, path in re.findall(r"(\d+) lines in `(analyzer/[\w/]+\.py)`", text)
    ]
    assert len(given) >= 3
    actual = [(path, int(lines), len((ROOT / path).read_text("utf-8").splitlines())) for path, lines in given]
    assert [(path, lines, now) for path, lines, now in actual if abs(now - lines) > 0.1 * now] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", _without_code(page))
    for file, anchor in links:
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in _anchors(target), f"{file}#{anchor}"


def _without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """The names under which GitHub and the site know the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_holds_the_marks_of_a_merge(page: Path) -> None:
    marks = re.findall(r"^(?:<{7}|>{7}|={7}|\|{7})(?: .*)?$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert marks == []


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1200


def test_every_strategy_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in buckets.names() if f"`{name}`" not in text] == []


def test_every_extra_that_is_named_can_be_installed_by_that_name() -> None:
    """Installers know an extra with an underscore by another name, and pip 23 by no other."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(setup["options.extras_require"])
    assert not [extra for extra in extras if "_" in extra]
    for file in [*PAGES, *ROOT.glob("analyzer/**/*.py")]:
        named = re.findall(r"'(?:rollout-analyzer|\.)\[([^\]]+)\]'", file.read_text(encoding="utf-8"))
        written = {extra for names in named for extra in names.split(",") if "{" not in extra}  # not what code fills in
        assert written <= extras, file


def test_every_target_of_the_makefile_does_something() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    phony = re.search(r"\.PHONY: (.*)", MAKEFILE.read_text(encoding="utf-8"))
    assert phony is not None
    targets = phony[1].split()
    for target in targets:
        done = subprocess.run([make, "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, check=True)
        assert b"Nothing to be done" not in done.stdout, target
