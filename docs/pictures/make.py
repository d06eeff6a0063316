"""Make the pictures of the documentation again: `make pictures` (needs Debian's chromium).

The sample's report, and a comparison of two halves of the sample's responses.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from playwright.sync_api import sync_playwright

import analyzer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAMPLE = Path("examples") / "sample"  # relative, since the page shows the policy as it was given
MOST_BYTES = 150_000


def main() -> int:
    """Write report.png and comparison.png beside this file; returns 1 where one is too large to be kept in git."""
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = pq.read_table(SAMPLE / "rollouts.parquet")
        early = pc.less(table["sample_idx"], 4)
        parts = {"sample": table, "first_half": table.filter(early), "second_half": table.filter(pc.invert(early))}
        for part, rows in parts.items():
            pq.write_table(rows, folder / f"{part}.parquet")
            analyzer.analyze(
                rollouts=folder / f"{part}.parquet",
                model_path=SAMPLE / "tokenizer",
                output_dir=folder / part,
                cache_dir=folder / "cache",
            )
        analyzer.compare([folder / "first_half", folder / "second_half"], output_dir=folder / "comparison")
        pictures = {"report": folder / "sample", "comparison": folder / "comparison"}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1080, "height": 1000}, color_scheme="light")
            for picture, source in pictures.items():
                page.goto((source / "report.html").as_uri())
                page.screenshot(path=HERE / f"{picture}.png", animations="disabled")
            browser.close()
    return int(any((HERE / f"{picture}.png").stat().st_size > MOST_BYTES for picture in pictures))


if __name__ == "__main__":
    sys.exit(main())
