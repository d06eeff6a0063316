"""Build the documentation as a site: `make site`, then open build/docs/site/index.html.

The pages keep their places relative to one another, so every link works on the site as it does in the repository; files
that a page links to (examples, configurations) are copied beside them. Nothing is downloaded. Warnings are errors.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "docs", "docs/decisions", "examples", "benchmarks", "analyzer/*")


def main(folder: Path) -> int:
    """Copy the pages to `folder`/pages and build `folder`/site; returns the exit code of zensical."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = [page for part in FOLDERS for page in sorted(ROOT.glob(f"{part}/*.md" if part else "*.md"))]
    for source in {target for page in pages for target in (page, *linked(page))}:
        copy = folder / "pages" / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    shutil.copyfile(ROOT / "docs" / "zensical.toml", folder / "zensical.toml")
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=False).returncode


def linked(page: Path) -> list[Path]:
    """The files that a page links to."""
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    return [target for link in links if (target := (page.parent / link).resolve()).is_file()]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"))
