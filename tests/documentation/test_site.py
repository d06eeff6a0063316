"""`make site`: the pages become a site without a warning, offline, and the site loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "make_site.py"

if importlib.util.find_spec("zensical") is None:
    pytest.skip("needs zensical (the extra site)", allow_module_level=True)


def build(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, script, folder], env=nowhere, capture_output=True, text=True, timeout=120, check=False
    )


def loading(site: Path) -> list[str]:
    """The pages of a site that load something from elsewhere."""
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]* src="https?:|<link[^>]* href="https?:""")
    pages = list(site.rglob("*.html"))
    assert pages
    return [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))]


@pytest.mark.slow  # tests/test_docs.py follows every link
def test_the_site_is_built_without_warnings_and_loads_nothing(tmp_path: Path) -> None:
    done = build(SCRIPT, tmp_path / "docs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    site = tmp_path / "docs" / "site"
    built = {page.relative_to(site / "docs").with_suffix(".md").as_posix() for page in site.glob("docs/**/*.html")}
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    assert {page.replace("README", "index") for page in pages} == built
    assert loading(site) == []


def test_a_small_site_is_built_and_a_link_to_a_heading_that_does_not_exist_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("docs/make_site.py", "docs/zensical.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "docs" / "README.md").write_text("# Pages\n\n## A heading\n\n[start](../README.md)\n")
    links = {"a-heading": True, "no-such-heading": False}
    for heading, built in links.items():
        (tmp_path / "README.md").write_text(f"# Start\n\n[there](docs/README.md#{heading})\n")
        done = build(tmp_path / "docs" / "make_site.py", tmp_path / "build")
        assert (done.returncode == 0) == built, done.stdout + done.stderr
    assert loading(tmp_path / "build" / "site") == []
